"""The page and the text about one user, on made-up facts: complete, and harmless whatever titles and labels hold."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from matplotlib.patches import Rectangle

from intentrec.inference.explanation import LOG_WEIGHT, OTHER_CLASSES, Neighbour, TitleScore
from intentrec.interactions.recent import Recent
from intentrec.local import explain_cli
from intentrec.registry.explained import Explained, Recommended, Written, written
from intentrec.registry.releases import NO_VERSION
from intentrec.reports import charts
from intentrec.reports.explanation_page import before, html, rule
from tests.reports.pages import HOSTILE, Page, harmless

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
RECENT = Recent(
    NOON, "t1", "resume", "r1", "s.listed", {"last_play_ts": NOON, "last_fraction": 0.5, "listed": True}, ()
)
RELEASE = {
    "release_id": "release-1",
    "as_of": date(2026, 9, 7),
    "active": True,
    "model_name": "intentrec-x",
    "model_version": "3",
    "mlflow_run_id": "mlflow-1",
    "config_hash": "config-1",
    "code_version": "commit-1",
}


def made_up(text: str) -> Explained:
    """A user of V4; `text` is a title, a label, a class and a rule."""
    parts = TitleScore(
        "t1",
        -2.0,
        {"vectors": 1.25, "neighbours": -0.5},
        {LOG_WEIGHT: -3.0, OTHER_CLASSES: 0.25},
        {text: 0.75, "browse": 0.25},
        [Neighbour("t2", 4, -0.5)],
    )
    return Explained(
        RELEASE,
        date(2026, 9, 7),
        [RECENT, replace(RECENT, title_id=text, action_type=text, when=text, earlier=(text,))],
        {"action_type": {text: 0.625, "browse": 0.375}},
        {"action_type": 1.0},
        "action_type",
        "action_type",
        [Recommended(1, "t1", -2.0, True, parts)],
        {"t1": text},
        [Written("catalog", 7, None)],
        True,
    )


def test_a_hostile_title_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    page, plain = Page(html(made_up(HOSTILE), "a-pseudonym")), harmless(html(made_up("plain"), "a-pseudonym"))
    assert page.tags == plain.tags
    assert f"{HOSTILE} (t1)" in page.texts
    assert sum(tag == "img" for tag, _ in page.tags) == 4  # probabilities, attention weights, parts, classes
    explain_cli.show(made_up("[bold red]x[/]"), "a-pseudonym")
    assert "[bold red]x[/] (t1)" in capsys.readouterr().out


def test_page_and_text_hold_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    explain_cli.show(made_up("discover"), "a-pseudonym")
    said, page = capsys.readouterr().out, " ".join(Page(html(made_up("discover"), "a-pseudonym")).texts)
    numbers = ("-2.0000", "+1.2500", "-0.5000", "-3.0000", "+0.2500", "0.7500", "0.6250", "0.3750", "1.0000")
    versions = ("release-1", "mlflow-1", "config-1", "commit-1", "version 3 of intentrec-x", "catalog", "7")
    for text in (
        *numbers,
        *versions,
        "s.listed",
        "last fraction 0.50",
        "a-pseudonym",
        "which the domain file no longer",
    ):
        assert text in said
        assert text in page


def test_a_naive_baseline_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    release = {**RELEASE, "model_name": "markov", "model_version": NO_VERSION}
    title = Recommended(1, "t1", 4.0, None, None)
    found = replace(made_up("x"), release=release, intents={}, attention={}, recommended=[title])
    explain_cli.show(found, "a-pseudonym")
    page = harmless(html(found, "a-pseudonym"))
    for text in (capsys.readouterr().out, " ".join(page.texts)):
        assert "made by the naive baseline markov, which has lists only" in text
        assert "4.0000" in text
        assert "Predicted intents" not in text
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_what_a_rule_saw() -> None:
    assert before(RECENT) == "last play 2026-09-01 12:00 UTC, last fraction 0.50, listed"
    later = replace(RECENT, state={}, earlier=("browse", "resume"))
    assert before(later) == "nothing known at the start of the week; then in this week: browse, resume"
    assert rule(replace(RECENT, when=None)) == (
        "unknown: the label is of rules version r1, and the domain file has other rules now"
    )
    lost = replace(RECENT, when=None, rules_version=None)
    assert rule(lost).startswith("unknown: `interactions` has other rows")
    assert before(lost) == "unknown"


def test_negative_parts_are_stacked_to_the_left() -> None:
    (axes,) = charts.stacks([[2.0, -1.0, 0.5], [-1.0, -2.0, 0.0]]).axes
    drawn = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    spans = [sorted((bar.get_x(), bar.get_x() + bar.get_width())) for bar in drawn]
    assert spans == [[0, 2], [-1, 0], [-1, 0], [-3, -1], [2, 2.5], [0, 0]]
    assert axes.get_xlim() == pytest.approx((-3, 2.5), abs=0.1)


def test_the_first_attempt_wrote_a_version() -> None:
    """A later one found the rows unchanged."""
    attempts = [{"outputs": {"catalog": 4}}, {"outputs": {"catalog": 4, "sequences": 2}}, {"outputs": {"catalog": 5}}]
    found = written({"sequences": 2, "catalog": 4, "interactions": 1}, attempts)
    assert [(each.table, each.attempt) for each in found] == [
        ("catalog", attempts[0]),
        ("interactions", None),
        ("sequences", attempts[1]),
    ]
