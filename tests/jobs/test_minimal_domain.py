"""A domain with nothing but ids, items and times: what it lacks is null, and null is no class."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.config import Domain, Profile
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, INTERACTIONS, QUARANTINE, SEQUENCES
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run
from jobs import build_interactions, build_sequences, ingest
from tests.conftest import any_delivery
from tests.sources.landing import deliver, events_of, snapshot_of

pytestmark = pytest.mark.slow

WEEK, END = date(2026, 8, 3), date(2026, 8, 10)


@pytest.fixture(scope="module")
def minimal(streaming: Domain) -> Domain:
    value = streaming.model_dump(mode="json")
    value["events"] = {"types": ["buy"], "play_types": ["buy"]}
    value["interactions"] = {
        "action_types": [
            {"name": "again", "when": "s.days_since_play is not null"},
            {"name": "first", "when": "true"},
        ]
    }
    value["intents"] = [{"name": "action_type", "column": "action_type"}, {"name": "kind", "column": "kind"}]
    value["model"] |= {"intents": []}
    return any_delivery(Domain.model_validate(value))


def test_what_a_domain_lacks_is_null_and_carries_no_class(
    spark: SparkSession, minimal: Domain, profile: Profile
) -> None:
    landing = Path(profile.landing, minimal.domain)
    deliver(snapshot_of(landing, WEEK), [{"item_id": "i1"}, {"item_id": "i2", "kind": " "}])
    day = WEEK + timedelta(days=1)
    moments = [("e1", "i1", "08:00"), ("e2", "i2", "09:30"), ("e3", "i1", "11:00")]
    rows = [
        {"event_id": name, "user_id": "u1", "item_id": item, "event_ts": f"{day}T{moment}:00Z"}
        for name, item, moment in moments
    ]
    deliver(events_of(landing, day), [*rows, {"event_id": "e4", "user_id": "u1", "event_ts": f"{day}T12:00:00Z"}])
    for job, body in (
        ("ingest", lambda run: ingest.body(run, Path("minimal.yaml"))),
        ("build_interactions", lambda run: build_interactions.body(run, Path("minimal.yaml"))),
        ("build_sequences", build_sequences.body),
    ):
        body(Run(job, WEEK, END, minimal, profile))

    root = f"{profile.warehouse}/{minimal.domain}"
    events = Snapshot(root, ENGAGEMENT_EVENTS).rows().sort_by("event_id").to_pylist()
    assert [row["event_id"] for row in events] == ["e1", "e2", "e3"]
    for row in events:
        assert (row["account_id"], row["event_type"], str(row["arrived_at"].date())) == ("u1", "buy", str(day))
        assert [row[name] for name in ("duration_s", "position_s", "surface", "device")] == [None] * 4
    (refused,) = Snapshot(root, QUARANTINE).rows().to_pylist()
    assert (refused["reasons"], json.loads(refused["raw"])["event_id"]) == (["missing_item_id"], "e4")
    items = Snapshot(root, CATALOG).rows().to_pylist()
    assert {(row["item_id"], row["title_id"], row["kind"]) for row in items} == {("i1", "i1", None), ("i2", "i2", None)}
    visits = Snapshot(root, INTERACTIONS).rows().sort_by("start_ts").to_pylist()
    assert [row["action_type"] for row in visits] == ["first", "first", "again"]
    assert all(row[name] is None for row in visits for name in ("duration_s", "surface", "device", "kind"))
    assert [row["end_ts"] for row in visits] == [row["start_ts"] for row in visits]
    (sequence,) = Snapshot(root, SEQUENCES).rows().to_pylist()
    assert sequence["weight"] == [1.0] * 3
    assert sequence["duration_s"] == [-1.0] * 3
    assert sequence["surface"] == sequence["device"] == sequence["kind"] == [""] * 3
