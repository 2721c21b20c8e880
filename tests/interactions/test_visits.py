"""Sessions, runs and the facts on them."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.events.catalog import snapshot_dates
from intentrec.interactions import build
from tests.interactions import oracle
from tests.interactions.worlds import World, plain, random_world, rows_of, spark_runs

pytestmark = pytest.mark.slow

KEY = ("user_id", "start_ts", "title_id")


def by_key(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: tuple(row[name] for name in KEY))


@pytest.mark.parametrize("name", ["streaming", "kuairand"])
@pytest.mark.parametrize("seed", [1, 2])
def test_runs_equal_a_plain_loop(spark: SparkSession, request: pytest.FixtureRequest, name: str, seed: int) -> None:
    domain: Domain = request.getfixturevalue(name)
    world = random_world(seed, domain, users=8, per_week=60)
    tie = oracle.hashes(spark, [event["event_id"] for event in world.events])

    expected = by_key([plain(row) for row in oracle.runs(world, domain, tie)])
    found = by_key(rows_of(spark_runs(spark, world, domain)))

    assert len(found) > 200
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert len({tuple(row[name] for name in KEY) for row in found}) == len(found)
    events = sum(sum(row["event_counts"].values()) for row in found)
    assert events == len(world.events)


def one_day(domain: Domain, *plays: tuple[float, float, str]) -> World:
    """A world of one user: (seconds after noon, duration, item), ids e0, e1, ..."""
    world = random_world(0, domain, weeks=1)
    noon = datetime(2026, 8, 4, 19, tzinfo=UTC)
    template = {**world.events[0], "event_date": date(2026, 8, 4), "event_type": "play", "position_s": None}
    events = [
        {
            **template,
            "event_id": f"e{index}",
            "event_ts": noon + timedelta(seconds=at),
            "duration_s": float(length),
            "item_id": item,
        }
        for index, (at, length, item) in enumerate(plays)
    ]
    return replace(world, events=events)


def sessions(spark: SparkSession, world: World, domain: Domain) -> list[list[str]]:
    """Titles of each session's runs, in order."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows_of(spark_runs(spark, world, domain)), key=lambda row: (row["start_ts"], row["tie"])):
        found.setdefault(row["session_id"], []).append(row["title_id"])
    return list(found.values())


def test_a_session_ends_after_the_gap_from_the_end_of_all_before(spark: SparkSession, streaming: Domain) -> None:
    # The long film is still playing when the short one ends; 30 minutes after the film's end is still the session.
    at_gap = one_day(streaming, (0, 7200, "film0-0"), (60, 10, "film1-0"), (7200 + 1800, 5, "show0-0"))
    assert sessions(spark, at_gap, streaming) == [["film0", "film1", "show0"]]
    beyond = one_day(streaming, (0, 7200, "film0-0"), (60, 10, "film1-0"), (7200 + 1800.000001, 5, "show0-0"))
    assert sessions(spark, beyond, streaming) == [["film0", "film1"], ["show0"]]


def test_a_session_ends_where_the_service_day_starts(spark: SparkSession, streaming: Domain) -> None:
    world = one_day(streaming, (0, 60, "film0-0"), (30, 60, "film0-0"))
    tomorrow = {**world.events[1], "event_date": date(2026, 8, 5)}
    assert sessions(spark, replace(world, events=[world.events[0], tomorrow]), streaming) == [["film0"], ["film0"]]


def test_events_of_one_title_at_one_instant_are_one_run(spark: SparkSession, streaming: Domain) -> None:
    items = ["film0-0", "film1-0"] * 6
    world = one_day(streaming, *((0, 0, item) for item in items))
    found = rows_of(spark_runs(spark, world, streaming))
    assert sorted(row["title_id"] for row in found) == ["film0", "film1"]
    assert [row["event_counts"] for row in found] == [{"play": 6}, {"play": 6}]


def test_order_of_ties_means_nothing(spark: SparkSession, streaming: Domain) -> None:
    """Which of two titles at one instant comes first depends on event ids alone."""
    firsts = set()
    for shift in range(6):
        world = one_day(streaming, (0, 0, "film0-0"), (0, 0, "film1-0"))
        renamed = [{**event, "event_id": f"{event['event_id']}-{shift}"} for event in world.events]
        found = rows_of(spark_runs(spark, replace(world, events=renamed), streaming))
        firsts.add(min(found, key=lambda row: row["tie"])["title_id"])
    assert firsts == {"film0", "film1"}


def test_rows_do_not_depend_on_partitions_or_order(spark: SparkSession, kuairand: Domain) -> None:
    """Sums of signals too: 0.1 and 2.7 do not add up to the same double in every order."""
    world = random_world(5, kuairand, users=3, per_week=60)
    shuffled = replace(world, events=random.Random(9).sample(world.events, len(world.events)))
    first = spark_runs(spark, world, kuairand)
    second = spark_runs(spark, shuffled, kuairand).repartition(7)
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

    first = rows_of(spark_runs(spark, world, streaming))
    second = rows_of(spark_runs(spark, replace(world, catalog=changed), streaming))
    assert before(first) == before(second)
    assert by_key(first) != by_key(second)


def test_an_item_that_the_catalogue_does_not_hold_is_refused(spark: SparkSession, streaming: Domain) -> None:
    world = one_day(streaming, (0, 60, "film0-0"), (60, 60, "nowhere"))
    with pytest.raises(PipelineError, match=r"'nowhere'.*2026-08-04.*run ingest again"):
        build.require_known(spark_runs(spark, world, streaming))


def test_snapshots_are_the_last_before_and_those_within(spark: SparkSession, streaming: Domain) -> None:
    catalog = random_world(0, streaming, weeks=4).catalog_frame(spark)
    start = streaming.calendar.history_start
    week = timedelta(days=7)
    assert snapshot_dates(catalog, start + 2 * week, start + 3 * week) == [start + 2 * week]
    inside = start + 1.5 * week
    assert snapshot_dates(catalog, inside, inside + week) == [start + week, start + 2 * week]
    assert snapshot_dates(catalog, start - 2 * week, start - week) == []
