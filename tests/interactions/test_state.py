"""Labels and the weekly state against one pass over everything that was remembered."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from pyspark.sql import SparkSession

from intentrec.calendar import day_start_of
from intentrec.config import Domain
from intentrec.contracts import TITLE_STATE
from intentrec.errors import PipelineError
from intentrec.events.catalog import snapshot_dates
from intentrec.interactions import state
from intentrec.interactions.build import Built, build, require_all
from tests.events.days import service_date_of
from tests.interactions import oracle
from tests.interactions.worlds import World, plain, random_world, rows_of

pytestmark = pytest.mark.slow

WEEK = timedelta(days=7)


def remembering(domain: Domain, state_weeks: int) -> Domain:
    """The domain with a short memory, so that facts expire within a small world."""
    changed = domain.interactions.model_copy(update={"state_weeks": state_weeks})
    return domain.model_copy(update={"interactions": changed})


def built(spark: SparkSession, world: World, domain: Domain, weeks: int) -> Built:
    start = domain.calendar.history_start
    catalog = world.catalog_frame(spark)
    all_weeks = [start + week * WEEK for week in range(weeks)]
    dates = snapshot_dates(catalog, start, start + weeks * WEEK)
    return build(world.event_frame(spark), catalog, state.empty(spark), all_weeks, dates, domain)


def key(row: dict) -> tuple:
    return row["user_id"], row["start_ts"], row["title_id"]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "state_weeks"), [(11, 52), (12, 1), (13, 2)])
def test_labels_and_states_equal_one_pass(spark: SparkSession, streaming: Domain, seed: int, state_weeks: int) -> None:
    weeks, domain = 5, remembering(streaming, state_weeks)
    world = random_world(seed, domain, weeks=weeks, users=6, per_week=30)
    tie = oracle.hashes(spark, [event["event_id"] for event in world.events])
    runs = oracle.runs(world, domain, tie)
    result = built(spark, world, domain, weeks)

    expected = {key(run): oracle.streaming_label(run, oracle.known_before(run, runs, domain), domain) for run in runs}
    rows = rows_of(result.interactions)
    assert {key(row): row["action_type"] for row in rows} == expected
    assert len(set(expected.values())) >= 8
    targets = {key(row): row["is_target"] for row in rows}
    assert targets == {k: label not in ("save", "sample", "browse") for k, label in expected.items()}
    censored = streaming.calendar.history_start + 2 * WEEK
    assert all(row["left_censored"] == (row["event_date"] < censored) for row in rows)
    assert result.events == len(world.events)
    assert result.runs == len(rows)

    states: dict[date, dict] = {}
    for row in rows_of(result.states):
        states.setdefault(row["as_of"], {})[row["user_id"], row["title_id"]] = row
    for week in range(1, weeks + 1):
        as_of = domain.calendar.history_start + week * WEEK
        wanted = oracle.state(as_of, runs, domain)
        facts_of = [name for name in TITLE_STATE.names if name not in ("as_of", "user_id", "title_id")]
        assert {pair: {name: row[name] for name in facts_of} for pair, row in states[as_of].items()} == {
            pair: plain({name: row.get(name) for name in facts_of}) for pair, row in wanted.items()
        }


@pytest.mark.slow
def test_labels_that_ask_for_the_last_creator(spark: SparkSession, kuairand: Domain) -> None:
    """Feedback is rarer than in the other worlds, or it would decide every label."""
    world = random_world(14, kuairand, weeks=3, users=6, per_week=40)
    feedback = [{"long_view": "1"}, {"long_view": "0"}, {"long_view": "1"}, {"is_like": "1"}, None]
    rare = [{**event, "extra": feedback[number % 5] or event["extra"]} for number, event in enumerate(world.events)]
    world = replace(world, events=rare)
    runs = oracle.runs(world, kuairand, oracle.hashes(spark, [event["event_id"] for event in world.events]))
    expected = {
        key(run): oracle.kuairand_label(run, oracle.known_before(run, runs, kuairand), kuairand) for run in runs
    }
    rows = rows_of(built(spark, world, kuairand, 3).interactions)
    assert {key(row): row["action_type"] for row in rows} == expected
    assert {"replay", "same_author", "explore", "watch", "skip", "like"} <= set(expected.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["streaming", "kuairand"])
def test_the_future_changes_nothing(spark: SparkSession, request: pytest.FixtureRequest, name: str) -> None:
    """Other events from a service day on: every run that ended before its start stays as it was."""
    domain = request.getfixturevalue(name)
    world = random_world(21, domain, weeks=3, users=5, per_week=40)
    # Inside a day a run may go on, and then it has not ended.
    day = sorted(event["event_date"] for event in world.events)[len(world.events) * 2 // 3]
    moment = day_start_of(day, domain.calendar)
    other = random_world(22, domain, weeks=3, users=5, per_week=40)
    future = [event for event in other.events if event["event_ts"] >= moment]
    changed = replace(world, events=[e for e in world.events if e["event_ts"] < moment] + future)

    def past(result: Built) -> list[dict]:
        return sorted((row for row in rows_of(result.interactions) if row["end_ts"] < moment), key=key)

    first, second = built(spark, world, domain, 3), built(spark, changed, domain, 3)
    assert past(first) == past(second)
    assert len(past(first)) > 100


@pytest.mark.slow
def test_what_is_not_over_is_not_known(spark: SparkSession, streaming: Domain) -> None:
    """Two devices around a week's start: what is played during a longer play, and ends first, knows nothing of it."""
    monday = day_start_of(streaming.calendar.history_start + WEEK, streaming.calendar)
    world = random_world(21, streaming, weeks=2, users=1)
    template = next(event for event in world.events if event["event_type"] == "play") | {"extra": {}}

    def play(name: str, item: str, minutes: int, length: int, position: float) -> dict:
        start = monday + timedelta(minutes=minutes)
        day = service_date_of(start, streaming.calendar)
        own = {"event_id": name, "item_id": item, "event_ts": start, "event_date": day}
        return {**template, **own, "duration_s": 60.0 * length, "position_s": position}

    labels = []
    for item, position in (("film0-0", 0.0), ("film0-0", 6000.0), ("film1-0", 6000.0)):
        plays = [
            play("before", "film0-0", -3000, 30, 60.0),
            play("long", item, -30, 120, position),
            play("short", "film0-0", 5, 10, 60.0),
            play("after", item, 200, 10, 60.0),
        ]
        result = built(spark, replace(world, events=plays), streaming, 2)
        found = {row["start_ts"]: row["action_type"] for row in rows_of(result.interactions)}
        labels.append([found[monday + timedelta(minutes=minutes)] for minutes in (5, 200)])
        (later,) = [row for row in rows_of(result.states) if row["as_of"] == streaming.calendar.history_start + WEEK]
        assert later["last_touch_ts"] == monday - timedelta(minutes=2970)
    # At minute 5 the long play is not over, so that it cannot matter; at minute 200 it is: with its 6000 s the
    # film was seen to its end.
    assert [early for early, _ in labels] == ["resume"] * 3
    assert [late for _, late in labels] == ["resume", "rewatch", "rewatch"]
    assert result.events == len(plays)


def test_state_is_empty_again_after_the_last_fact_expired(spark: SparkSession, streaming: Domain) -> None:
    domain = remembering(streaming, 1)
    start = domain.calendar.history_start
    world = random_world(31, domain, weeks=3, users=2)
    first_week = [event for event in world.events if event["event_date"] < start + timedelta(days=5)]
    result = built(spark, replace(world, events=first_week), domain, 3)
    assert {row["as_of"] for row in rows_of(result.states)} == {start + WEEK}


def test_an_event_without_a_run_is_noticed(spark: SparkSession, streaming: Domain) -> None:
    world = random_world(41, streaming, weeks=1, users=2)
    unknown = replace(world, events=[{**world.events[0], "event_type": "poke"}, *world.events[1:]])
    result = built(spark, unknown, streaming, 1)
    with pytest.raises(PipelineError, match=r"events.types"):
        require_all(unknown.event_frame(spark), result)
