"""Weekly facts to series to a page: figures worked out by hand, gaps that stay gaps, and a page that does no harm."""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from intentrec.config import Domain, Profile
from intentrec.monitoring import trend
from intentrec.monitoring.drift import Drift
from intentrec.monitoring.trend import Section, Series
from intentrec.monitoring.weeks import Newest, Week
from intentrec.reports import charts, trend_page
from tests.reports.pages import HOSTILE, harmless

FIRST = date(2026, 8, 3)
WEEK = timedelta(days=7)
NOW = datetime(2026, 8, 26, 12, tzinfo=UTC)


def profiles(events: dict | None = None, **features: dict) -> dict:
    return {"engagement_events": events or {}, "interactions": features}


def drifted(index: float | None, feature: str = "kind") -> Drift:
    return Drift(feature, index, 0.25, 2000, 9000)


@pytest.fixture
def three_weeks() -> list[Week]:
    """Two weeks of a range, then one of its own; the middle one has no profile."""
    span = (FIRST, FIRST + 2 * WEEK)
    counts = {"events.accepted": 80, "events.quarantined": 10, "events.duplicates": 6, "events.late": 4}
    counts |= {"events.read": 130, "events.outside": 30, "quarantine.reason.bad_duration": 7}
    first = profiles(
        {"position_s": {("null", ""): 1, ("other", ""): 3}},
        action_type={("value", "resume"): 3, ("value", "discover"): 1},
        kind={("value", "film"): 4},
        creator={("null", ""): 2, ("value", "ann"): 1, ("other", ""): 1},
        genres={("value", "crime"): 3, ("value", "war"): 1, ("null", ""): 9},
        **{"intent.age": {("value", "week"): 1, ("value", "older"): 3, ("null", ""): 5}},
    )
    return [
        Week(FIRST, {"interactions": 4, "sequences": 2}, counts, span, first, timedelta(days=3), 0, 2, [drifted(None)]),
        Week(FIRST + WEEK, {"interactions": 5}, counts, span),
        Week(
            FIRST + 2 * WEEK,
            {"interactions": 6, "sequences": 3},
            {**counts, "quarantine.reason.clock_skew": 5, "events.late": 0},
            (FIRST + 2 * WEEK, FIRST + 3 * WEEK),
            profiles(None, action_type={("value", "resume"): 1, ("value", "save"): 1}, kind={("value", "show"): 2}),
            timedelta(hours=-12),
            1,
            0,
            [drifted(0.4), drifted(0.1, "surface")],
            "2026-08-17_2026-08-24/report.html",
        ),
    ]


@pytest.fixture
def by_title(three_weeks: list[Week], streaming: Domain) -> dict[str, Section]:
    return {section.title: section for section in trend.sections(three_weeks, streaming)}


def values(section: Section) -> dict[str, list[float | None]]:
    rounded = [[None if v is None else round(v, 4) for v in each.values] for each in section.series]
    return dict(zip([each.label for each in section.series], rounded, strict=True))


def test_rows_and_rates(by_title: dict[str, Section]) -> None:
    assert values(by_title["Rows of every table"]) == {"interactions": [4, 5, 6], "sequences": [2, None, 3]}
    # Of 100 rows that belong to the week, and of 96 where none was late; rows outside it belong to others.
    late, less = 4 / 100, round(10 / 96, 4)
    assert values(by_title["Raw rows not accepted"]) == {
        "quarantined": [0.1, 0.1, less],
        "duplicates": [0.06, 0.06, 0.0625],
        "late": [late, late, 0],
    }
    assert values(by_title["Quarantine by reason"]) == {
        "bad_duration": [0.07, 0.07, round(7 / 96, 4)],
        "clock_skew": [0, 0, round(5 / 96, 4)],
    }
    assert (
        "loaded as one range show the range's share: 2026-08-03 to 2026-08-17." in by_title["Quarantine by reason"].note
    )


def test_nulls_and_shares_of_classes(by_title: dict[str, Section]) -> None:
    assert values(by_title["Null rates"]) == {
        "engagement_events.position_s": [0.25, None, None],
        "interactions.creator": [0.5, None, None],
        "interactions.kind": [0, None, 0],
    }
    assert values(by_title["Action types"]) == {
        "resume": [0.75, None, 0.5],
        "discover": [0.25, None, 0],
        "save": [0, None, 0.5],
    }
    assert values(by_title["Intent genre"]) == {"crime": [0.75, None, None], "war": [0.25, None, None]}
    assert values(by_title["Intent age"]) == {"older": [0.75, None, None], "week": [0.25, None, None]}
    assert values(by_title["Intent kind"]) == {"film": [1, None, 0], "show": [0, None, 1]}
    assert "Intent action_type" not in by_title, "it stands under its own title"


def test_freshness_audits_and_drift(by_title: dict[str, Section]) -> None:
    assert values(by_title["Freshness"]) == {"built after": [3, None, -0.5]}
    assert values(by_title["Audits"]) == {"failed": [0, None, 1], "warned": [2, None, 0]}
    assert values(by_title["Drift"]) == {"kind": [None, None, 0.4], "surface": [None, None, 0.1]}
    assert {each.bound for each in by_title["Drift"].series} == {0.25}


def test_of_many_classes_the_most_frequent_are_shown(streaming: Domain) -> None:
    many = {("value", f"a{n:02}"): n + 1 for n in range(30)}
    found = {s.title: s for s in trend.sections([Week(FIRST, profiles=profiles(action_type=many))], streaming)}
    shown = found["Action types"]
    assert [each.label for each in shown.series] == [f"a{n:02}" for n in range(29, 9, -1)]
    assert shown.series[0].values == [30 / 465]
    assert "The 20 most frequent of 30" in shown.note


def drawn(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """Points of the chart's named lines; where nothing was measured, the line has a gap."""
    (axes,) = figure.axes
    lines = {str(line.get_gid()): np.asarray(line.get_xydata()) for line in axes.lines if line.get_gid()}
    return {name: [(x, y) for x, y in points if not math.isnan(y)] for name, points in lines.items()}


def test_a_chart_has_gaps_where_nothing_was_measured() -> None:
    days = [FIRST + n * WEEK for n in range(5)]
    values = [0.1, 0.2, None, 0.5, 0.4]
    figure = charts.weekly(days, values, 0.25, "0.500")
    lines = drawn(figure)
    assert lines["values"] == [(0, 0.1), (1, 0.2), (3, 0.5), (4, 0.4)]
    assert np.isnan(np.asarray(figure.axes[0].lines[1].get_ydata())[2]), "the line is broken at the third week"
    assert lines["beyond"] == [(3, 0.5), (4, 0.4)]
    assert {y for _, y in lines["bound"]} == {0.25}
    low, high = figure.axes[0].get_ylim()
    assert low < 0 < 0.5 < high, "zero is on the chart"
    assert [text.get_text() for text in figure.texts] == ["0.500", "2026-08-03", "2026-08-31"]
    shown = trend_page.panel(Series("kind", values, bound=0.25), days, trend.INDEX)
    assert (shown.label, shown.latest) == ("kind", "0.400")
    assert shown.alt == "kind by week, latest 0.400, beyond the bound in the weeks from 2026-08-24, 2026-08-31"
    assert shown.uri == charts.svg_uri(figure), "the same data make the same bytes"


def test_charts_of_few_values() -> None:
    two = [FIRST, FIRST + WEEK]
    nothing = charts.weekly(two, [0, 0], None, "0.00%")
    assert {y for _, y in drawn(nothing)["values"]} == {0}, "all on one line"
    assert set(drawn(nothing)) == {"values"}
    assert trend_page.panel(Series("late", [0, 0]), two, trend.SHARE).latest == "0.00%"
    one = charts.weekly([FIRST], [0.5], None, "50.00%")
    assert drawn(one)["values"] == [(0, 0.5)]
    assert [text.get_text() for text in one.texts] == ["50.00%", "2026-08-03"]
    below = charts.weekly(two, [-1, 1], None, "1.0 d")
    low, high = below.axes[0].get_ylim()
    assert low < -1 < 1 < high
    assert trend_page.panel(Series("built after", [-1, 1]), two, trend.DAYS).latest == "1.0 d"
    assert trend_page.panel(Series("kind", [0.2, None], bound=0.25), two, trend.INDEX).latest == "n/a"


def test_the_page_tells_what_drifted(three_weeks: list[Week], streaming: Domain) -> None:
    page = harmless(trend_page.html(three_weeks, [Newest("sequences", FIRST + 3 * WEEK, 2)], streaming, NOW))
    seen = " ".join(page.texts)
    assert "3 weeks, the latest from 2026-08-17; 1 of 2 model inputs drifted beyond the bound; 1 critical" in seen
    assert "drift of kind 0.400 , bound 0.250, over 2,000 rows" in seen
    assert "drift of surface" not in seen
    assert "sequences 2026-08-24 2 Reports of runs" in seen
    assert page.links[-1] == "2026-08-17_2026-08-24/report.html"
    told = [str(attributes["alt"]) for tag, attributes in page.tags if tag == "img"]
    assert [alt for alt in told if "beyond" in alt] == [
        "kind by week, latest 0.400, beyond the bound in the week from 2026-08-17"
    ]


def test_hostile_names_stay_text(streaming: Domain) -> None:
    label = {("value", HOSTILE): 3}
    week = Week(
        FIRST,
        {"interactions": 1},
        {"events.accepted": 1, f"quarantine.reason.{HOSTILE}": 1},
        (FIRST, FIRST + WEEK),
        profiles(None, action_type=label, genres=label),
        drift=[drifted(0.9, HOSTILE)],
    )
    text = trend_page.html([week], [], streaming, NOW)
    assert "{{ 7*7 }}" in text
    without = text.replace("http://evil.example/p.png", "")  # as text it may stand there
    page = harmless(without)
    assert page.texts.count(HOSTILE.replace("http://evil.example/p.png", "")) >= 3


def test_a_domain_without_weeks_has_a_page(profile: Profile, streaming: Domain) -> None:
    page = trend_page.render(profile, streaming, NOW)
    assert page == Path(profile.reports) / "streaming" / "trend.html"
    seen = " ".join(harmless(page.read_text("utf-8")).texts)
    assert "no week has been built yet" in seen
    assert "No table holds anything yet." in seen
