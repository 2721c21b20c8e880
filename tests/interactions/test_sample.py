"""A week of a delivery of a few lines, under a domain file with mistakes that only the rows can show."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.config import ActionType, Domain, Intent
from intentrec.interactions.conditions import compared_texts
from intentrec.interactions.sample import Sample, sample
from intentrec.storage.runs import Run
from tests.conftest import profile_under
from tests.sources.landing import deliver, event, events_of, item, snapshot_of

pytestmark = pytest.mark.slow

WEEK, DAY = date(2026, 8, 3), date(2026, 8, 4)
RULES = {
    "on_tv": "r.device = 'tv'",
    "on_big_screen": "r.device in ('tv', 'proyector')",
    "played_again": "s.days_since_play > 1",
    "listed": "array_contains(r.genres, 'drama') and r.event_counts['list_add'] > 0",
}


@pytest.fixture(scope="module")
def found(spark: SparkSession, streaming: Domain, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    values = {
        "events": streaming.events.model_copy(update={"types": ["play", "list_add"], "signals": ["stars", "coins"]}),
        "interactions": streaming.interactions.model_copy(
            update={
                "action_types": [ActionType(name=name, when=when) for name, when in RULES.items()],
                "target_when": "action_type <> 'on_tvv'",
            }
        ),
        "intents": [Intent(name="kind", column="kind"), Intent(name="genre", column="genres")],
    }
    profile = profile_under(tmp_path_factory.mktemp("sample"))
    run = Run("validate", WEEK, WEEK + timedelta(days=7), streaming.model_copy(update=values), profile)
    landing = Path(run.profile.landing, run.domain.domain)
    deliver(snapshot_of(landing, WEEK), [item(), item(item_id="i2", title_id="t2"), item(item_id=None)])
    lines = [
        event(stars=4),
        event(event_id="e2", item_id="i2", user_id="u2", device="phone"),
        event(event_id="e3", event_type="plai"),
        event(event_id="e4", event_type="PLAY", event_ts="yesterday"),
        event(event_id="e5", item_id="i9"),
        event(event_id="e6", event_ts="2026-08-01T12:00:00Z"),
        event(stars=4),
        "no JSON",
    ]
    deliver(events_of(landing, DAY), lines)
    return sample(spark, run)


def test_rows_are_counted_by_outcome_and_by_reason_with_an_example(found: Sample) -> None:
    counts = {"outside": 1, "late": 0, "quarantined": 4, "duplicates": 1, "replaced": 0, "accepted": 2}
    assert dict(found.events) == counts
    assert {name: found.items[name] for name in ("read", "accepted", "quarantined")} == {
        "read": 3,
        "accepted": 2,
        "quarantined": 1,
    }
    assert found.whole
    shown = [(each.record, each.reason, each.rows, each.where.rpartition("/")[2]) for each in found.refusals]
    assert shown == [
        ("event", "unknown_event_type", 2, "part-0.jsonl.gz:3"),
        ("catalog", "missing_item_id", 1, "part-0.jsonl.gz:3"),
        ("event", "bad_type_event_ts", 1, "part-0.jsonl.gz:4"),
        ("event", "unknown_item", 1, "part-0.jsonl.gz:5"),
        ("event", "unreadable_line", 1, "part-0.jsonl.gz:8"),
    ]
    assert found.refusals[-1].example == "no JSON"
    assert (found.users, found.titles, list(found.days)) == (2, 2, [DAY])
    assert sum(found.hours.values()) == 2


def test_rules_are_tried_on_the_visits(found: Sample) -> None:
    assert dict(found.labels.visits) == {"on_tv": 1, None: 1}
    assert dict(found.labels.matches) == {"on_tv": 1, "on_big_screen": 1, "played_again": 0, "listed": 0}
    assert found.labels.targets == 1


def test_what_no_row_carries_is_warned_of(found: Sample) -> None:
    rules = "interactions.action_types"
    assert list(found.warnings) == [
        "events.signals: no accepted event has the signal coins",
        "events.types: no accepted event has the event_type list_add",
        f'{rules}: 1 visits match no rule, and build_interactions refuses them: let the last rule have `when: "true"`',
        f"{rules}: on_big_screen labels no visit: the rules before it label all 1 visits that it matches",
        f"{rules}: played_again labels no visit: it matches no visit; the sample has no history before its week",
        f"{rules}: listed labels no visit: it matches no visit",
        f"{rules} (on_big_screen): 'proyector' is not a value of r.device in the sample",
        f"{rules} (listed): 'list_add' is not a value of r.event_counts in the sample",
        "interactions.target_when: 'on_tvv' is not an action type (did you mean on_tv?)",
        "intents (kind): the sample's targets have only the value 'film' of kind",
    ]


def test_texts_that_are_compared_are_found_with_their_columns(spark: SparkSession) -> None:
    condition = "not (r.device <> 'tv') or lower(r.kind) = 'film' or r.fraction > 0.5 or 'x' <=> r.surface"
    condition += " or exists(r.genres, genre -> genre = 'drama')"
    assert compared_texts(spark, condition) == {("r.device", "tv"), ("r.surface", "x")}
