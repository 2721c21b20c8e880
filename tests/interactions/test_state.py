"""Labels and the weekly state against one pass over the whole history."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.calendar import day_start_of
from intentrec.config import ROOT, Domain, load_domain
from intentrec.contracts import CATALOG, TITLE_STATE
from intentrec.events.catalog import snapshot_dates
from intentrec.interactions import state
from intentrec.interactions.build import Built, build
from tests.events.days import service_date_of
from tests.interactions import oracle
from tests.interactions.worlds import World, plain, random_world, rows_of, spark_visits

pytestmark = pytest.mark.slow

WEEK = timedelta(days=7)
OTHER = "other-"  # prefix of the user ids of a second world in the same tables


@pytest.fixture(scope="module")
def retail() -> Domain:
    """Online Retail, whose first weeks may be targets, too."""
    domain = load_domain(ROOT / "conf" / "online_retail.yaml")
    return domain.model_copy(update={"calendar": domain.calendar.model_copy(update={"censored_weeks": 0})})


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


@pytest.mark.parametrize(
    ("seed", "state_weeks", "weeks", "return_type"),
    [(11, 52, 5, None), (12, 1, 3, None), (13, 2, 4, "trailer")],  # as if a trailer took a play back
)
def test_labels_and_states_equal_one_pass(
    spark: SparkSession, streaming: Domain, seed: int, state_weeks: int, weeks: int, return_type: str | None
) -> None:
    events = streaming.events.model_copy(update={"return_type": return_type})
    domain = remembering(streaming.model_copy(update={"events": events}), state_weeks)
    world = random_world(seed, domain, weeks=weeks, users=30 // weeks, per_week=30)
    tie = oracle.hashes(spark, [event["event_id"] for event in world.events])
    visits = oracle.visits(world, domain, tie)
    result = built(spark, world, domain, weeks)

    expected = {
        key(visit): oracle.streaming_label(visit, oracle.known_before(visit, visits, domain), domain)
        for visit in visits
    }
    rows = rows_of(result.interactions)
    assert {key(row): row["action_type"] for row in rows} == expected
    assert len(set(expected.values())) >= 8
    after = {key(v): plain(oracle.title_after(v, oracle.known_before(v, visits, domain), domain)) for v in visits}
    assert {key(row): {name: row[name] for name in after[key(row)]} for row in rows} == after
    assert {row["last_finished"] for row in rows} == {row["listed"] for row in rows} == {True, False}
    targets = {key(row): row["is_target"] for row in rows}
    returning = {key(visit) for visit in visits if visit["event_counts"].get(return_type)}
    assert targets == {
        k: label not in ("save", "sample", "browse") and k not in returning for k, label in expected.items()
    }
    assert bool(return_type) == bool(returning)
    censored = streaming.calendar.history_start + 2 * WEEK
    assert all(row["left_censored"] == (row["event_date"] < censored) for row in rows)
    assert result.n_events == len(world.events)
    assert result.n_visits == len(rows)

    states: dict[date, dict] = {}
    for row in rows_of(result.states):
        states.setdefault(row["as_of"], {})[row["user_id"], row["title_id"]] = row
    for week in range(1, weeks + 1):
        as_of = domain.calendar.history_start + week * WEEK
        wanted = oracle.state(as_of, visits, domain)
        facts_of = [name for name in TITLE_STATE.names if name not in ("as_of", "user_id", "title_id")]
        assert {pair: {name: row[name] for name in facts_of} for pair, row in states[as_of].items()} == {
            pair: plain({name: row.get(name) for name in facts_of}) for pair, row in wanted.items()
        }


def test_rules_that_use_the_last_creator(spark: SparkSession, kuairand: Domain) -> None:
    """Feedback is rarer than in the other worlds, because otherwise it would decide every label."""
    world = random_world(14, kuairand, weeks=2, users=9, per_week=40)
    feedback = [{"long_view": "1"}, {"long_view": "0"}, {"long_view": "1"}, {"is_like": "1"}, None]
    rare = [{**event, "extra": feedback[number % 5] or event["extra"]} for number, event in enumerate(world.events)]
    world = replace(world, events=rare)
    visits = oracle.visits(world, kuairand, oracle.hashes(spark, [event["event_id"] for event in world.events]))
    expected = {
        key(visit): oracle.kuairand_label(visit, oracle.known_before(visit, visits, kuairand), kuairand)
        for visit in visits
    }
    rows = rows_of(built(spark, world, kuairand, 2).interactions)
    assert {key(row): row["action_type"] for row in rows} == expected
    assert {"replay", "same_author", "explore", "watch", "skip", "like"} <= set(expected.values())


@pytest.mark.parametrize("name", ["streaming", "kuairand"])
def test_the_future_changes_nothing(spark: SparkSession, request: pytest.FixtureRequest, name: str) -> None:
    """Events from a service day on are changed: every visit that ended before that day is unchanged.

    Both worlds are built at once, as the histories of different users with the same event ids.
    """
    domain = request.getfixturevalue(name)
    world = random_world(21, domain, weeks=2, users=8, per_week=40)
    # Inside a day a visit may go on, and then it has not ended.
    day = sorted(event["event_date"] for event in world.events)[len(world.events) * 2 // 3]
    moment = day_start_of(day, domain.calendar)
    other = random_world(22, domain, weeks=2, users=8, per_week=40)
    changed = [event for event in world.events if event["event_ts"] < moment]
    changed += [event for event in other.events if event["event_ts"] >= moment]
    renamed = [{**event, "user_id": OTHER + event["user_id"]} for event in changed]
    rows = rows_of(built(spark, replace(world, events=world.events + renamed), domain, 2).interactions)

    def past(prefix: str) -> list[dict]:
        own = [row for row in rows if row["user_id"].startswith(OTHER) == bool(prefix)]
        found = [
            {
                **row,
                "user_id": row["user_id"].removeprefix(prefix),
                "session_id": row["session_id"].removeprefix(prefix),
            }
            for row in own
            if row["end_ts"] < moment
        ]
        assert len(own) > len(found)
        return sorted(found, key=key)

    assert past("") == past(OTHER)
    assert len(past("")) > 100


def test_a_visit_is_known_only_after_its_end(spark: SparkSession, streaming: Domain) -> None:
    """Two devices around a week's start: a short play during a longer one ends first, and does not see it."""
    monday = day_start_of(streaming.calendar.history_start + WEEK, streaming.calendar)
    world = random_world(21, streaming, weeks=2, users=1)
    template = next(event for event in world.events if event["event_type"] == "play") | {"extra": {}}

    def play(user: str, name: str, item: str, minutes: int, length: int, position: float) -> dict:
        start = monday + timedelta(minutes=minutes)
        day = service_date_of(start, streaming.calendar)
        own = {"event_id": name, "user_id": user, "item_id": item, "event_ts": start, "event_date": day}
        return {**template, **own, "duration_s": 60.0 * length, "position_s": position}

    users = {"same": ("film0-0", 0.0), "same_to_its_end": ("film0-0", 6000.0), "another": ("film1-0", 6000.0)}
    plays = [
        each
        for user, (item, position) in users.items()
        for each in (
            play(user, "before", "film0-0", -3000, 30, 60.0),
            play(user, "long", item, -30, 120, position),
            play(user, "short", "film0-0", 5, 10, 60.0),
            play(user, "after", item, 200, 10, 60.0),
        )
    ]
    result = built(spark, replace(world, events=plays), streaming, 2)
    found = {(row["user_id"], row["start_ts"]): row["action_type"] for row in rows_of(result.interactions)}
    labels = [[found[user, monday + timedelta(minutes=minutes)] for minutes in (5, 200)] for user in users]
    # At minute 5 the long play is not over, so that it cannot matter; at minute 200 it is: with its 6000 s the
    # film was seen to its end.
    assert [early for early, _ in labels] == ["resume"] * 3
    assert [late for _, late in labels] == ["resume", "rewatch", "rewatch"]
    states = [row for row in rows_of(result.states) if row["as_of"] == streaming.calendar.history_start + WEEK]
    assert {row["user_id"]: row["last_touch_ts"] for row in states} == dict.fromkeys(
        users, monday - timedelta(minutes=2970)
    )
    assert len(states) == len(users)
    assert result.n_events == len(plays)


def test_a_return_takes_the_purchase_back(spark: SparkSession, retail: Domain) -> None:
    """In the same week and in a later one. Bought and returned at one moment is returned; a new purchase counts.

    Every user buys the pot first; the states are those after the last week.
    """
    first = day_start_of(retail.calendar.history_start, retail.calendar)
    users = {
        "keeps": [("purchase", 9)],
        "same week": [("return", 2), ("purchase", 3)],
        "later": [("return", 8), ("purchase", 9)],
        "at once": [("return", 0), ("purchase", 9)],
        "for good": [("purchase", 1), ("return", 9)],
    }
    events: list[dict] = []
    labels: dict[str, list] = {}
    for user, later in users.items():
        for number, (kind, days) in enumerate([("purchase", 0), *later]):
            when = first + timedelta(days=days, hours=5)
            events.append(
                {
                    "event_date": service_date_of(when, retail.calendar),
                    "event_id": f"{user}-{number}",
                    "user_id": user,
                    "account_id": user,
                    "item_id": "pot",
                    "event_ts": when,
                    "arrived_at": when,
                    "event_type": kind,
                    "duration_s": 0.0,
                    "position_s": None,
                    "surface": "shop",
                    "device": "unknown",
                    "extra": {"quantity": "-1" if kind == "return" else "1"},
                }
            )
    facts = dict.fromkeys(CATALOG.names) | {"item_id": "pot", "title_id": "pot", "kind": "product", "genres": []}
    item = facts | {"snapshot_date": retail.calendar.history_start, "release_ts": first - timedelta(days=400)}
    result = built(spark, World(events, [item]), retail, 2)
    for row in sorted(rows_of(result.interactions), key=lambda row: row["start_ts"]):
        labels.setdefault(row["user_id"], []).append((row["action_type"], row["is_target"]))
    bought, again, back = ("explore", True), ("reorder", True), ("return", False)
    assert labels == {
        "keeps": [bought, again],
        "same week": [bought, back, bought],
        "later": [bought, back, bought],
        "at once": [back, bought],
        "for good": [bought, again, back],
    }
    last = [row for row in rows_of(result.states) if row["as_of"] == retail.calendar.history_start + 2 * WEEK]
    assert {row["user_id"]: row["last_item_id"] for row in last} == {
        user: None if user == "for good" else "pot" for user in users
    }
    assert all((row["last_play_ts"] is None) == (row["last_item_id"] is None) for row in last)


def test_state_is_empty_again_after_the_last_fact_expired(spark: SparkSession, streaming: Domain) -> None:
    domain = remembering(streaming, 1)
    start = domain.calendar.history_start
    found = spark_visits(spark, random_world(31, domain, weeks=1, users=2), domain)
    found = found.where(F.col("end_ts") < F.lit(day_start_of(start + 5 * timedelta(days=1), domain.calendar)))
    first = state.fold(state.empty(spark), found, start + WEEK, domain).localCheckpoint()
    assert {row["as_of"] for row in first.collect()} == {start + WEEK}
    assert state.fold(first, found.limit(0), start + 2 * WEEK, domain).isEmpty()
