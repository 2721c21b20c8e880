"""The ingest job over weeks that are empty, not whole, or corrected by a later delivery."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.config import Domain, load_domain
from intentrec.contracts import ENGAGEMENT_EVENTS
from intentrec.errors import AuditFailed, PartialDelivery, PipelineError
from intentrec.monitoring.staleness import corrected_weeks
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse
from jobs import build_interactions, build_sequences
from tests.conftest import any_delivery, profile_under
from tests.jobs.ingesting import CONFIG, W0, W1, W2, ingest, unaudited
from tests.sources.landing import Line, deliver, event, events_of, item, snapshot_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def streaming() -> Domain:
    """The streaming domain, for a few rows."""
    return any_delivery(load_domain(CONFIG))


@pytest.fixture
def empty_week(tmp_path: Path) -> None:
    """A landing zone with an event in the first week and none in the second."""
    raw = tmp_path / "landing" / "streaming"
    deliver(snapshot_of(raw, W0), [item()])
    deliver(events_of(raw, date(2026, 8, 4)), [event()])
    deliver(events_of(raw, date(2026, 8, 12)), [])


@pytest.mark.usefixtures("empty_week")
def test_a_range_with_a_week_without_events_is_refused(streaming: Domain, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=f"no accepted event in the weeks of {W1}: .*quality.closed_weeks"):
        unaudited(tmp_path, streaming, W0, W2)
    assert not (tmp_path / "warehouse" / "streaming" / "catalog").exists(), "nothing was written"


@pytest.mark.extended
@pytest.mark.usefixtures("empty_week")
def test_a_week_without_events_is_accepted_where_the_service_was_closed(
    spark: SparkSession, streaming: Domain, tmp_path: Path
) -> None:
    """Each week alone. The later jobs process a closed week like any other."""
    closed = streaming.model_copy(update={"quality": streaming.quality.model_copy(update={"closed_weeks": [W1]})})
    unaudited(tmp_path, streaming, W0, W1)
    with pytest.raises(AuditFailed, match="engagement_events"):
        ingest(tmp_path, streaming, W1, W2)
    for week in ((W0, W1), (W1, W2)):
        alone = ingest(tmp_path, closed, *week)
        build_interactions.body(Run("build_interactions", *week, closed, profile_under(tmp_path)), CONFIG)
        sequences = Run("build_sequences", *week, closed, profile_under(tmp_path))
        build_sequences.body(sequences)
    assert alone.counts["engagement_events.rows"] == sequences.counts["sequences.rows"] == 0
    before = Warehouse(spark, alone).checksums()
    assert before["engagement_events"].rows == before["interactions"].rows == before["sequences"].rows == 1


@pytest.mark.usefixtures("no_audits")
@pytest.mark.extended
def test_a_delivery_that_is_not_whole_changes_nothing_unless_a_person_accepts_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    """A second week without its Sunday, with a catalogue cut to one of five items, and so with most events refused."""
    strict, raw = load_domain(CONFIG), tmp_path / "landing" / "streaming"
    names = [f"i{number}" for number in range(1, 6)]
    deliver(snapshot_of(raw, W0), [item(item_id=name) for name in names])
    for day in (W0 + timedelta(days=number) for number in range(13)):
        times = {"event_ts": f"{day}T20:00:00Z", "arrived_at": f"{day}T21:00:00Z"}
        lines: list[Line] = [event(event_id=f"{day}{name}", user_id=name, item_id=name, **times) for name in names]
        deliver(events_of(raw, day), lines)
    first = ingest(tmp_path, strict, W0, W1)
    before = Warehouse(spark, first).checksums()
    deliver(snapshot_of(raw, W1), [item(item_id="i1")])
    wanted = (
        "the delivery is not whole, so nothing was written: "
        "[2026-08-10, 2026-08-17): share of accepted events 0.2, quality.delivery.min_accepted demands at least 0.8 "
        "(6 of 30); "
        "[2026-08-10, 2026-08-17): no accepted event on Sunday 2026-08-16: days with events 6, "
        "quality.delivery.open_days demands at least 7; "
        "[2026-08-10, 2026-08-17): accepted events 6, quality.delivery.min_events demands at least 17.5 "
        "(0.5 times; the median before it is 35); "
        "snapshot 2026-08-10: items 1, quality.delivery.min_items demands at least 4 "
        "(0.8 times; the median before it is 5) (refused for unknown_item 24); "
        "the first unknown_item is in events/arrived=2026-08-10/part-0.jsonl.gz:2. Deliver the rest"
    )
    with pytest.raises(PartialDelivery, match=re.escape(wanted)):
        ingest(tmp_path, strict, W1, W2)
    assert Warehouse(spark, first).checksums() == before, "neither events nor catalogue nor quarantine"
    accepted = ingest(tmp_path, strict, W1, W2, reason="the sender\nhas no more; $(touch x)")
    assert accepted.note is not None
    assert accepted.note.startswith("partial delivery accepted: the sender has no more; $(touch x) ([2026-08-10")
    assert accepted.counts["engagement_events.rows"] == 6


@pytest.mark.extended
@pytest.mark.usefixtures("no_audits")
def test_a_correction_that_comes_after_its_week_makes_the_week_stale(
    spark: SparkSession, streaming: Domain, tmp_path: Path
) -> None:
    """It moves an event from Sunday to Monday, and arrives when the first week is closed."""
    raw, ledger = tmp_path / "landing" / "streaming", list[dict]()

    def run(start: date, end: date) -> Run:
        done = ingest(tmp_path, streaming, start, end)
        facts = {name: getattr(done, name) for name in ("run_id", "job", "start", "end", "inputs", "outputs", "counts")}
        ledger.append({**facts, "status": "succeeded"})
        return done

    deliver(snapshot_of(raw, W0), [item()])
    sunday = event(event_id="moved", event_ts="2026-08-09T20:00:00Z", arrived_at="2026-08-09T20:05:00Z")
    deliver(events_of(raw, date(2026, 8, 4)), [event()])
    deliver(events_of(raw, date(2026, 8, 9)), [sunday])
    assert run(W0, W1).counts["events.accepted"] == 2
    monday = {**sunday, "event_ts": "2026-08-10T20:00:00Z", "arrived_at": "2026-08-13T09:00:00Z"}
    deliver(events_of(raw, date(2026, 8, 13)), [monday])
    second = run(W1, W2)
    assert (second.counts["events.accepted"], second.counts["events.corrected.2026-08-03"]) == (1, 1)
    assert corrected_weeks(ledger, streaming) == {("ingest", W0)}
    first = run(W0, W1)
    assert (first.counts["events.accepted"], first.counts["events.replaced"]) == (1, 1)
    assert corrected_weeks(ledger, streaming) == set()
    events = Warehouse(spark, first).current(ENGAGEMENT_EVENTS).collect()
    assert sorted((row["event_id"], row["event_date"]) for row in events) == [
        ("e1", date(2026, 8, 4)),
        ("moved", date(2026, 8, 10)),
    ]
