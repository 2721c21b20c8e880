"""What a whole delivery is, on weeks of numbers: every bound, what it is compared with, and what is left alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from intentrec.config import ROOT, Delivery, Domain, load_domain
from intentrec.events.completeness import Breach, Numbers, breaches, explanation

FIRST = date(2026, 8, 3)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
W1, W2, W3 = FIRST + WEEK, FIRST + 2 * WEEK, FIRST + 3 * WEEK
SAT, SUN = W2 + 5 * DAY, W2 + 6 * DAY


def daily(week: date, rows: int, without: tuple[date, ...] = ()) -> dict[date, int]:
    """`rows` events on each day of a week but some."""
    days = (week + DAY * number for number in range(7))
    return {day: rows for day in days if day not in without}


# Two weeks of 700 and 1,400 events; snapshots of 10 and 14 items. The medians are 1,050 and 12.
BEFORE = Numbers(accepted=daily(FIRST, 100) | daily(W1, 200), items={FIRST: 10, W1: 14})
GOOD = Numbers(accepted=daily(W2, 150), items={W2: 12})


def ruled(domain: Domain, closed_weeks: tuple[date, ...] = (), **changes: object) -> Domain:
    """The domain with other bounds."""
    delivery = Delivery.model_validate(changes)
    quality = domain.quality.model_copy(update={"delivery": delivery, "closed_weeks": list(closed_weeks)})
    return domain.model_copy(update={"quality": quality})


@pytest.mark.parametrize(
    ("delivered", "key", "value", "bound"),
    [
        pytest.param(replace(GOOD, items={W2: 1}), "min_items", 1, 9.6, id="a catalogue of 1 item where 12 are usual"),
        pytest.param(replace(GOOD, items={W2: 37}), "max_items", 37, 36, id="three times the catalogue"),
        pytest.param(replace(GOOD, items={}, refused_items={W2: 9}), "min_items", 0, 9.6, id="no item is accepted"),
        pytest.param(replace(GOOD, refused_items={W2: 4}), "min_accepted", 0.75, 0.8, id="items refused"),
        pytest.param(replace(GOOD, refused={W2: 400}), "min_accepted", 0.7241, 0.8, id="events refused"),
        pytest.param(replace(GOOD, accepted=daily(W2, 150, (SUN,))), "open_days", 6, 7, id="a whole day is missing"),
        pytest.param(
            replace(GOOD, accepted={SAT: 500, SUN: 550}), "open_days", 2, 7, id="five of seven days are missing"
        ),
        pytest.param(replace(GOOD, accepted=daily(W2, 74)), "min_events", 518, 525, id="under half of the events"),
        pytest.param(replace(GOOD, accepted=daily(W2, 451)), "max_events", 3157, 3150, id="three times the events"),
    ],
)
def test_each_bound_is_named_with_its_figures(
    streaming: Domain, delivered: Numbers, key: str, value: float, bound: float
) -> None:
    found = [each for each in breaches(W2, W3, delivered, BEFORE, ruled(streaming)) if each.key == key]
    (breach,) = found
    assert (breach.value, breach.bound) == (pytest.approx(value, abs=1e-4), pytest.approx(bound))
    assert breach.start == W2
    assert breach.end == (W2 + DAY if "items" in key or delivered.refused_items else W3)
    assert f"quality.delivery.{key}" in str(breach)
    assert str(W2) in str(breach)


@pytest.mark.parametrize(
    ("delivered", "rule"),
    [
        pytest.param(GOOD, {}, id="a whole week"),
        pytest.param(replace(GOOD, items={}), {}, id="no snapshot: the last one still holds"),
        pytest.param(replace(GOOD, accepted=daily(W2, 150, (SUN,))), {"closed_days": [SUN]}, id="a holiday"),
        pytest.param(
            replace(GOOD, accepted=daily(W2, 150, (SUN,))),
            {"open_days": ["mon", "tue", "wed", "thu", "fri", "sat"]},
            id="closed on Sundays",
        ),
        pytest.param(replace(GOOD, accepted=daily(W2, 160), refused={W2: 280}), {}, id="exactly the least share"),
        pytest.param(replace(GOOD, accepted=daily(W2, 75)), {}, id="exactly half of the median"),
        pytest.param(replace(GOOD, accepted=daily(W2, 450)), {}, id="exactly three times the median"),
    ],
)
def test_within_the_bounds_nothing_is_said(streaming: Domain, delivered: Numbers, rule: dict) -> None:
    assert breaches(W2, W3, delivered, BEFORE, ruled(streaming, **rule)) == []


@pytest.mark.parametrize(
    ("refused", "keys"), [({}, []), ({FIRST: 28}, ["min_accepted"])], ids=["few rows", "28 of 29 refused"]
)
def test_a_first_week_is_judged_by_its_shares_alone(
    streaming: Domain, refused: Mapping[date, int], keys: list[str]
) -> None:
    first = Numbers(accepted={FIRST + 2 * DAY: 1}, refused=refused, items={FIRST: 1})
    assert [each.key for each in breaches(FIRST, W1, first, Numbers(), ruled(streaming))] == keys


def test_a_week_is_compared_with_the_weeks_before_it_only(streaming: Domain) -> None:
    """Neither its own former rows nor later weeks count, and of the weeks before it the last `weeks`."""
    own_and_later = {**BEFORE.accepted, **daily(W2, 9000), **daily(W3, 9000)}
    stored = replace(BEFORE, accepted=own_and_later, items={**BEFORE.items, W2: 900, W3: 900})
    assert breaches(W2, W3, GOOD, stored, ruled(streaming)) == []
    assert breaches(FIRST, W1, replace(GOOD, accepted=daily(FIRST, 1), items={}), stored, ruled(streaming)) == []
    last_only = breaches(W2, W3, replace(GOOD, accepted=daily(W2, 90)), BEFORE, ruled(streaming, weeks=1))
    assert [(each.key, each.bound) for each in last_only] == [("min_events", 700.0)]


def test_every_week_and_snapshot_of_a_range_is_judged(streaming: Domain) -> None:
    """The weeks of the range count as weeks before; a closed week is no breach and no measure."""
    weeks = {**daily(FIRST, 100), **daily(W2, 100), **daily(W3, 10)}
    whole_range = Numbers(accepted=weeks, items={FIRST: 10, FIRST + DAY: 10, W2: 2})
    found = breaches(FIRST, W3 + WEEK, whole_range, Numbers(), ruled(streaming, closed_weeks=(W1,)))
    assert [(each.start, each.key) for each in found] == [(W2, "min_items"), (W3, "min_events")]
    open_weeks = breaches(FIRST, W3 + WEEK, whole_range, Numbers(), ruled(streaming))
    assert (W1, "open_days") in [(each.start, each.key) for each in open_weeks]


def test_an_explanation_is_one_line_with_the_reasons(streaming: Domain) -> None:
    found = breaches(W2, W3, replace(GOOD, refused={W2: 9450}), BEFORE, ruled(streaming))
    assert explanation(found, {"clock_skew": 2, "unknown_item": 9448}) == (
        "[2026-08-17, 2026-08-24): share of accepted events 0.1, quality.delivery.min_accepted demands at least 0.8 "
        "(1,050 of 10,500) (refused for unknown_item 9,448, clock_skew 2)"
    )
    many = [Breach(W2, W3, "accepted events", n, 10, "min_events") for n in range(7)]
    assert explanation(many, {"clock_skew": 1}).endswith(
        "accepted events 4, quality.delivery.min_events demands at least 10; and 2 more"
    )


def test_bounds_that_no_delivery_meets_are_refused() -> None:
    with pytest.raises(ValueError, match="min_items is greater than max_items"):
        Delivery(min_items=2, max_items=1)


REAL = {
    "online_retail": "select (moment::timestamp - interval 4 hour)::date, count(*) from ("
    "select InvoiceDate as moment from read_csv('{data}/online-retail/online_retail.csv.gz', all_varchar = true) "
    "where InvoiceDate >= '2010-12-10' union all "
    "select InvoiceDate from '{data}/online-retail/online_retail_2009_2010.parquet' where \"Customer ID\" is not null"
    ") group by 1",
    "movielens": "select (timestamp '1970-01-01' + to_seconds(column3))::date, count(*) from "
    "read_csv('{data}/movielens-100k/u.data', sep = '\\t', header = false) group by 1",
    "kuairand": "select (timestamp '1970-01-01 08:00' + to_milliseconds(time_ms))::date, count(*) from "
    "read_csv('{data}/kuairand/log_standard_*.csv.gz') where time_ms >= 1650816000000 group by 1",
}


@pytest.mark.extended
@pytest.mark.parametrize("name", REAL)
def test_the_shipped_files_call_each_week_of_the_real_data_whole(shared_data: Path, name: str) -> None:
    domain = load_domain(ROOT / "conf" / f"{name}.yaml")
    rows = dict(duckdb.sql(REAL[name].format(data=shared_data)).fetchall())
    first = domain.calendar.history_start
    assert min(rows) >= first
    weeks = (max(rows) - first) // WEEK + 1
    assert breaches(first, first + weeks * WEEK, Numbers(rows), Numbers(), domain) == []
