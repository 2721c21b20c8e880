"""Sessions, visits and the catalogue facts on them."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from intentrec.config import Domain
from intentrec.events.catalog import snapshot_dates
from tests.interactions import oracle
from tests.interactions.worlds import plain, random_world, rows_of, spark_visits

pytestmark = pytest.mark.slow

KEY = ("user_id", "start_ts", "title_id")
NOON = datetime(2026, 8, 4, 19, tzinfo=UTC)
DAY = date(2026, 8, 4)
FILM0, FILM1, SHOW = "film0-0", "film1-0", "show0-0"
# One user per case: the plays of an afternoon as (seconds after noon, duration, item).
PLAYS: dict[str, list[tuple[float, float, str]]] = {
    # The long film is still playing when the short one ends. 30 minutes after the film's end is the same session.
    "at_gap": [(0, 7200, FILM0), (60, 10, FILM1), (7200 + 1800, 5, SHOW)],
    "beyond_gap": [(0, 7200, FILM0), (60, 10, FILM1), (7200 + 1800.000001, 5, SHOW)],
    "next_day": [(0, 60, FILM0), (30, 60, FILM0)],
    "one_instant": [(0, 0, FILM0), (0, 0, FILM1)] * 6,
    **{f"tie{number}": [(0, 0, FILM0), (0, 0, FILM1)] for number in range(6)},
}


def by_key(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: tuple(row[name] for name in KEY))


@pytest.mark.parametrize("name", ["streaming", "kuairand"])
def test_visits_equal_a_plain_loop(spark: SparkSession, request: pytest.FixtureRequest, name: str) -> None:
    domain: Domain = request.getfixturevalue(name)
    world = random_world(1, domain, users=16, per_week=60)
    tie = oracle.hashes(spark, [event["event_id"] for event in world.events])

    expected = by_key([plain(row) for row in oracle.visits(world, domain, tie)])
    found = by_key(rows_of(spark_visits(spark, world, domain)))

    assert len(found) > 400
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert len({tuple(row[name] for name in KEY) for row in found}) == len(found)
    events = sum(sum(row["event_counts"].values()) for row in found)
    assert events == len(world.events)


@pytest.fixture(scope="module")
def cases(spark: SparkSession, streaming: Domain) -> dict[str, list[dict]]:
    """Visits of every user of PLAYS, in order."""
    world = random_world(0, streaming, weeks=1)
    template = {**world.events[0], "event_date": DAY, "event_type": "play", "position_s": None}
    events = [
        {
            **template,
            "user_id": user,
            "event_id": f"e{index}-{user[-1]}",
            "event_ts": NOON + timedelta(seconds=at),
            "duration_s": float(length),
            "item_id": item,
            "event_date": DAY + timedelta(days=1) if user == "next_day" and index else DAY,
        }
        for user, plays in PLAYS.items()
        for index, (at, length, item) in enumerate(plays)
    ]
    found: dict[str, list[dict]] = {user: [] for user in PLAYS}
    rows = rows_of(spark_visits(spark, replace(world, events=events), streaming))
    for row in sorted(rows, key=lambda row: (row["start_ts"], row["tie"])):
        found[row["user_id"]].append(row)
    return found


def sessions(visits: list[dict]) -> list[list[str]]:
    """Titles of each session's visits, in order."""
    found: dict[str, list[str]] = {}
    for row in visits:
        found.setdefault(row["session_id"], []).append(row["title_id"])
    return list(found.values())


def test_a_session_ends_a_gap_after_the_end_of_all_earlier_events(cases: dict[str, list[dict]]) -> None:
    assert sessions(cases["at_gap"]) == [["film0", "film1", "show0"]]
    assert sessions(cases["beyond_gap"]) == [["film0", "film1"], ["show0"]]


def test_a_session_ends_where_the_service_day_starts(cases: dict[str, list[dict]]) -> None:
    assert sessions(cases["next_day"]) == [["film0"], ["film0"]]


def test_events_of_one_title_at_one_instant_are_one_visit(cases: dict[str, list[dict]]) -> None:
    found = cases["one_instant"]
    assert sorted(row["title_id"] for row in found) == ["film0", "film1"]
    assert [row["event_counts"] for row in found] == [{"play": 6}, {"play": 6}]


def test_ties_are_ordered_by_event_ids_alone(cases: dict[str, list[dict]]) -> None:
    """Which of two titles at the same instant comes first depends only on the hashes of event ids."""
    assert {cases[f"tie{number}"][0]["title_id"] for number in range(6)} == {"film0", "film1"}


def test_rows_do_not_depend_on_partitions_or_order(spark: SparkSession, kuairand: Domain) -> None:
    """Nor do sums of signals: the sum of 0.1 and 2.7 as doubles depends on the order."""
    world = random_world(5, kuairand, users=3, per_week=60)
    shuffled = replace(world, events=random.Random(9).sample(world.events, len(world.events)))
    first = spark_visits(spark, world, kuairand)
    second = spark_visits(spark, shuffled, kuairand).repartition(7)
    assert sorted(map(repr, first.collect())) == sorted(map(repr, second.collect()))


def test_facts_are_those_of_the_snapshot_at_that_date(spark: SparkSession, streaming: Domain) -> None:
    """A later snapshot changes nothing before its date."""
    world = random_world(3, streaming, weeks=3)
    last = max(row["snapshot_date"] for row in world.catalog)
    changed = [
        {**row, "kind": "other", "genres": ["other"], "runtime_s": 1.0} if row["snapshot_date"] == last else row
        for row in world.catalog
    ]

    def before(rows: list[dict]) -> list[dict]:
        return by_key([row for row in rows if row["event_date"] < last])

    first = rows_of(spark_visits(spark, world, streaming))
    second = rows_of(spark_visits(spark, replace(world, catalog=changed), streaming))
    assert before(first) == before(second)
    assert by_key(first) != by_key(second)


def test_snapshots_are_the_last_before_and_those_within(spark: SparkSession, streaming: Domain) -> None:
    catalog = random_world(0, streaming, weeks=4).catalog_frame(spark)
    start = streaming.calendar.history_start
    week = timedelta(days=7)
    assert snapshot_dates(catalog, start + 2 * week, start + 3 * week) == [start + 2 * week]
    inside = start + 1.5 * week
    assert snapshot_dates(catalog, inside, inside + week) == [start + week, start + 2 * week]
    assert snapshot_dates(catalog, start - 2 * week, start - week) == []
