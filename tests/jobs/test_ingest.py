"""The ingest job over a small landing zone with every sort of bad row."""

import argparse
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession

from intentrec.config import ROOT, Domain, Profile
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, QUARANTINE
from intentrec.errors import PipelineError
from intentrec.quality import AuditFailed
from intentrec.runs import Run
from intentrec.warehouse import Warehouse
from jobs.ingest import body
from tests.conftest import profile_under
from tests.sources.landing import Line, deliver, event, events_of, item, snapshot_of

W0, W1, W2 = (date(2026, 8, 3) + timedelta(weeks=week) for week in range(3))
FATES = ("accepted", "quarantined", "duplicates", "late", "outside")

# Arrival date, line, and what becomes of it: a fate, or the reasons of a refusal.
ROWS: list[tuple[date, Line, str | list[str]]] = [
    (date(2026, 8, 4), event(event_id="plain"), "accepted"),
    (date(2026, 8, 4), event(event_id="new-column", new_column=1), "accepted"),
    (date(2026, 8, 4), event(event_id="twice"), "accepted"),
    (date(2026, 8, 5), event(event_id="twice", arrived_at="2026-08-05T00:00:00Z"), "duplicates"),
    (date(2026, 8, 4), event(event_id="torn", duration_s=1), ["conflicting_duplicate"]),
    (date(2026, 8, 4), event(event_id="torn", duration_s=2), ["conflicting_duplicate"]),
    (date(2026, 8, 4), event(event_id="item", item_id="i9"), ["unknown_item"]),
    (date(2026, 8, 4), event(event_id="not-yet", item_id="later"), ["unknown_item"]),
    (date(2026, 8, 4), event(event_id="refused-item", item_id="broken"), ["unknown_item"]),
    (date(2026, 8, 4), event(event_id="long", duration_s=1e9), ["bad_duration"]),
    (
        date(2026, 8, 4),
        event(event_id="type", duration_s="long", user_id=None),
        ["bad_type_duration_s", "missing_user_id"],
    ),
    (date(2026, 8, 4), event(event_id="nested", user_id={"a": 1}), ["bad_type_user_id"]),
    (date(2026, 8, 4), event(event_id="clock", event_ts="2036-08-04T12:00:00Z"), ["clock_skew"]),
    (date(2026, 8, 4), "{not json", ["unreadable_line"]),
    (date(2026, 8, 4), b'{"event_id": "\xff"}', ["invalid_utf8"]),
    *(
        (date(2026, 8, 4), event(event_id=f"bot{n}", user_id="bot", duration_s=36_001), ["inhuman_activity"])
        for n in range(2)
    ),
    (
        date(2026, 8, 13),
        event(event_id="too-late", event_ts="2026-08-05T12:00:00Z", arrived_at="2026-08-13T00:00:00Z"),
        "late",
    ),
    (
        date(2026, 8, 12),
        event(event_id="just-in-time", event_ts="2026-08-05T12:00:00Z", arrived_at="2026-08-12T11:00:00Z"),
        "accepted",
    ),
    (
        date(2026, 8, 12),
        event(
            event_id="next-week", item_id="later", event_ts="2026-08-12T08:00:00Z", arrived_at="2026-08-12T09:00:00Z"
        ),
        "accepted",
    ),
    (date(2026, 8, 13), "", ["unreadable_line"]),
]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A landing zone of two weeks: all rows above, and a catalogue with faults of its own."""
    root = tmp_path / "raw"
    for day in sorted({day for day, _, _ in ROWS}):
        deliver(events_of(root, day), [line for arrived, line, _ in ROWS if arrived == day])
    deliver(events_of(root, date(2026, 8, 6)), [])
    deliver(snapshot_of(root, W0), [item(), item(), item(item_id="broken", runtime_s=-1), "[]"])
    deliver(snapshot_of(root, W1), [item(), item(item_id="later", title_id="t2")])
    return root


@pytest.fixture
def ingest(spark: SparkSession, streaming: Domain, raw: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Run the job over an interval; returns the attempt."""
    monkeypatch.setenv("INTENTREC_DATA", str(raw))

    def run(profile: Profile, start: date, end: date, include_late: bool = False) -> Run:
        attempt = Run("ingest", start, end, streaming, profile)
        body(attempt, argparse.Namespace(config=str(ROOT / "conf" / "streaming.yaml"), include_late=include_late))
        return attempt

    return run


@pytest.mark.slow
def test_every_row_is_somewhere(spark: SparkSession, profile: Profile, ingest: Callable[..., Run]) -> None:
    """Accepted and refused rows stand in the tables, the others in the counts; a second run changes nothing."""
    run = ingest(profile, W0, W2)
    counts = run.counts
    assert counts["events.read"] == len(ROWS) == sum(counts[f"events.{fate}"] for fate in FATES)
    for fate in ("accepted", "duplicates", "late"):
        assert counts[f"events.{fate}"] == sum(verdict == fate for _, _, verdict in ROWS)
    assert counts["events.outside"] == 0
    assert {name: counts[f"catalog.{name}"] for name in ("read", "accepted", "quarantined", "duplicates")} == {
        "read": 6,
        "accepted": 3,
        "quarantined": 2,
        "duplicates": 1,
    }
    warehouse = Warehouse(spark, run)
    events = warehouse.current(ENGAGEMENT_EVENTS).collect()
    assert sorted(row["event_id"] for row in events) == sorted(
        line["event_id"] for _, line, verdict in ROWS if verdict == "accepted" and isinstance(line, dict)
    )
    refused = warehouse.current(QUARANTINE).where("record = 'event'").collect()
    assert sorted(row["reasons"] for row in refused) == sorted(v for _, _, v in ROWS if isinstance(v, list))
    assert {(row["source_file"], row["source_line"]) for row in refused} == {
        (f"events/arrived={day}/part-0.jsonl.gz", [line for d, line, _ in ROWS if d == day].index(line) + 1)
        for day, line, verdict in ROWS
        if isinstance(verdict, list)
    }
    items = warehouse.current(QUARANTINE).where("record = 'catalog'").collect()
    assert sorted(row["reasons"] for row in items) == [["bad_runtime"], ["unreadable_line"]]
    versions = {table.name: warehouse.version(table) for table in (CATALOG, QUARANTINE, ENGAGEMENT_EVENTS)}
    again = ingest(profile, W0, W2)
    assert again.outputs == versions
    assert again.counts == counts


@pytest.mark.slow
def test_weeks_in_any_order_make_the_same_tables(
    spark: SparkSession, profile: Profile, tmp_path: Path, ingest: Callable[..., Run]
) -> None:
    whole = Warehouse(spark, ingest(profile, W0, W2)).checksums()
    apart = profile_under(tmp_path / "apart")
    ingest(apart, W1, W2)
    assert Warehouse(spark, ingest(apart, W0, W1)).checksums() == whole


@pytest.mark.slow
def test_late_rows_are_taken_in_on_demand(profile: Profile, ingest: Callable[..., Run]) -> None:
    """What belongs to the other week is outside; the late row is accepted once it is asked for."""
    run = ingest(profile, W0, W1)
    assert (run.counts["events.late"], run.counts["events.outside"]) == (0, 1), "what arrives later is not even read"
    late = ingest(profile, W0, W1, include_late=True)
    assert late.counts["events.accepted"] == run.counts["events.accepted"] + 1
    assert late.counts["events.read"] == sum(late.counts[f"events.{fate}"] for fate in FATES) == len(ROWS)


@pytest.mark.slow
def test_a_failed_run_leaves_the_events_as_they_were(
    spark: SparkSession, profile: Profile, raw: Path, ingest: Callable[..., Run]
) -> None:
    """A truncated file, an empty landing zone and a week of nothing but refused rows: one error each, no change."""
    run = ingest(profile, W0, W1)
    warehouse = Warehouse(spark, run)
    before = warehouse.checksums()
    good = {path: path.read_bytes() for path in raw.glob("events/*/*")}
    first = min(good)
    first.write_bytes(good[first][:-9])
    with pytest.raises(PipelineError, match=f"{first}: cannot be read"):
        ingest(profile, W0, W1)
    assert warehouse.checksums() == before
    for path in good:
        path.unlink()
    with pytest.raises(PipelineError, match=f"{raw}/events: no raw events"):
        ingest(profile, W0, W1)
    assert warehouse.checksums() == before
    deliver(first.parent, [event(user_id=None)])
    with pytest.raises(AuditFailed, match="engagement_events"):
        ingest(profile, W0, W1)
    after = warehouse.checksums()
    assert (after["engagement_events"], after["catalog"]) == (before["engagement_events"], before["catalog"])
    refused = warehouse.current(QUARANTINE).where("record = 'event'").collect()
    assert [row["reasons"] for row in refused] == [["missing_user_id"]], "the quarantine shows why"
    for path, content in good.items():
        path.write_bytes(content)
    ingest(profile, W0, W1)
    assert warehouse.checksums() == before


@pytest.mark.slow
def test_no_snapshot_yet(profile: Profile, raw: Path, ingest: Callable[..., Run]) -> None:
    """A snapshot in the middle of a week says nothing about its first days."""
    snapshot_of(raw, W0).rename(snapshot_of(raw, date(2026, 8, 5)))
    with pytest.raises(PipelineError, match="no catalogue snapshot on or before 2026-08-03"):
        ingest(profile, W0, W1)


@pytest.mark.slow
def test_a_real_week(
    spark: SparkSession, profile: Profile, kuairand: Domain, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KuaiRand's first week against DuckDB: an event is its user, video and time."""
    folder = shared_data / "kuairand"
    monkeypatch.setenv("INTENTREC_DATA", str(folder))
    start, end = date(2022, 4, 25), date(2022, 5, 2)
    run = Run("ingest", start, end, kuairand, profile)
    body(run, argparse.Namespace(config=str(ROOT / "conf" / "kuairand.yaml"), include_late=False))
    week, conflicts, accepted = duckdb.sql(f"""
        with log as (
            select * exclude (date, hourmin)
            from read_csv('{folder}/log_standard_*.csv.gz', all_varchar = true)
            where time_ms::bigint >= epoch_ms(timestamp '{start}') - 8 * 3600000
              and time_ms::bigint < epoch_ms(timestamp '{end}') - 8 * 3600000
        ), plays as (
            select count(*) as copies, count(distinct log) as contents from log group by user_id, video_id, time_ms
        )
        select sum(copies)::int, sum(copies) filter (contents > 1)::int, count(*) filter (contents = 1) from plays
    """).fetchall()[0]
    counts = run.counts
    assert counts["events.accepted"] == accepted
    assert counts["events.quarantined"] == counts["quarantine.reason.conflicting_duplicate"] == conflicts
    assert counts["events.duplicates"] == week - conflicts - accepted
    assert counts["events.late"] == 0
    assert counts["events.read"] == week + counts["events.outside"]
    assert counts["catalog.accepted"] == counts["catalog.read"] == 7583
