"""The ingest job over a small landing zone with every sort of bad row."""

import gzip
import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import DataFrame, SparkSession

from intentrec.config import ROOT, Domain, Profile, load_domain
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, QUARANTINE
from intentrec.errors import AuditFailed, PipelineError
from intentrec.events.check import checked_events
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Fingerprint, Warehouse
from jobs.ingest import body
from tests.conftest import any_delivery, profile_under
from tests.jobs.ingesting import CONFIG, W0, W1, W2, ingest, unaudited
from tests.sources.landing import Line, deliver, event, events_of, item, snapshot_of

pytestmark = pytest.mark.slow

OUTCOMES = ("accepted", "quarantined", "duplicates", "replaced", "late", "outside")

# Arrival date, line, and its outcome, or the reasons for which it is refused.
ROWS: list[tuple[date, Line, str | list[str]]] = [
    (date(2026, 8, 4), event(event_id="plain"), "accepted"),
    (date(2026, 8, 4), event(event_id="new-column", new_column=1), "accepted"),
    (date(2026, 8, 4), event(event_id="twice"), "accepted"),
    (date(2026, 8, 5), event(event_id="twice", arrived_at="2026-08-05T00:00:00Z"), "duplicates"),
    (date(2026, 8, 4), event(event_id="corrected", duration_s=1), "replaced"),
    (date(2026, 8, 5), event(event_id="corrected", arrived_at="2026-08-05T00:00:00Z", duration_s=2), "accepted"),
    (
        date(2026, 8, 9),
        event(event_id="moved", event_ts="2026-08-09T20:00:00Z", arrived_at="2026-08-09T20:05:00Z"),
        "replaced",
    ),
    (
        date(2026, 8, 10),
        event(event_id="moved", event_ts="2026-08-10T20:00:00Z", arrived_at="2026-08-10T20:05:00Z"),
        "accepted",
    ),
    (date(2026, 8, 4), event(event_id="torn", duration_s=1), ["conflicting_duplicate"]),
    (date(2026, 8, 4), event(event_id="torn", duration_s=2), ["conflicting_duplicate"]),
    (date(2026, 8, 4), event(event_id="item", item_id="i9"), ["unknown_item"]),
    (date(2026, 8, 4), event(event_id="not-yet", item_id="later"), ["unknown_item"]),
    (date(2026, 8, 4), event(event_id="refused-item", item_id="broken"), ["refused_item"]),
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
        (date(2026, 8, 4), event(event_id=f"blank{n}", user_id=text), ["missing_user_id"])
        for n, text in enumerate(("\t", "\u00a0", "\x00", "\u200b"))
    ),
    (date(2026, 8, 4), event(event_id="unseen", user_id="u1\u200b"), ["bad_characters_user_id"]),
    (date(2026, 8, 4), event(event_id="float", user_id=17001.0), ["bad_number_user_id"]),
    (
        date(2026, 8, 4),
        json.dumps(event(event_id="power", user_id=5)).replace(": 5,", ": 1e5,"),
        ["bad_number_user_id"],
    ),
    (date(2026, 8, 4), event(event_id="long-id", user_id="u" * 300), ["bad_length_user_id"]),
    (date(2026, 8, 4), event(event_id="half", user_id="\ud800"), ["invalid_unicode"]),
    (date(2026, 8, 4), '{"event_id": "one"}],[{"event_id": "two"}', ["unreadable_line"]),
    (date(2026, 8, 4), event(event_id="account", user_id="u2", account_id="a9"), "accepted"),
    (
        date(2026, 8, 4),
        event(event_id="second-account", user_id="u2", event_ts="2026-08-04T12:01:00Z"),
        ["conflicting_account"],
    ),
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
    (
        date(2026, 8, 9),  # of the first week's folders, by a clock that runs ahead
        event(event_id="fast-clock", event_ts="2026-08-10T12:00:00Z", arrived_at="2026-08-09T23:00:00Z"),
        "accepted",
    ),
    (
        date(2026, 8, 13),
        event(event_id="before-history", event_ts="2026-08-02T12:00:00Z", arrived_at="2026-08-13T00:00:00Z"),
        "outside",
    ),
    (date(2026, 8, 13), "", ["unreadable_line"]),
]


@pytest.fixture(scope="module")
def streaming() -> Domain:
    """The streaming domain, for a few rows."""
    return any_delivery(load_domain(CONFIG))


def deliver_all(root: Path) -> None:
    """A landing zone of two weeks: all rows above, and a catalogue with faults of its own."""
    for day in sorted({day for day, _, _ in ROWS}):
        deliver(events_of(root, day), [line for arrived, line, _ in ROWS if arrived == day])
    deliver(events_of(root, date(2026, 8, 6)), [])
    deliver(snapshot_of(root, W0), [item(), item(), item(item_id="broken", runtime_s=-1), "[]"])
    deliver(snapshot_of(root, W1), [item(), item(item_id="later", title_id="t2")])


@pytest.fixture(scope="module")
def whole(spark: SparkSession, streaming: Domain, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Both weeks in one run: its home, and the attempt."""
    home = tmp_path_factory.mktemp("whole")
    deliver_all(home / "landing" / "streaming")
    return home, ingest(home, streaming, W0, W2)


@pytest.fixture(scope="module")
def sums(spark: SparkSession, whole: tuple[Path, Run]) -> dict[str, Fingerprint]:
    """Checksums of the tables of `whole`."""
    return Warehouse(spark, whole[1]).checksums()


def test_every_row_is_in_a_table_or_in_the_counts(spark: SparkSession, whole: tuple[Path, Run]) -> None:
    """Accepted and refused rows are in the tables, with reasons and lines. The others are in the counts."""
    run = whole[1]
    counts = run.counts
    assert counts["events.read"] == len(ROWS) == sum(counts[f"events.{outcome}"] for outcome in OUTCOMES)
    for outcome in ("accepted", "duplicates", "replaced", "late", "outside"):
        assert counts[f"events.{outcome}"] == sum(verdict == outcome for _, _, verdict in ROWS)
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


@pytest.mark.extended
@pytest.mark.usefixtures("no_audits")
def test_weeks_in_any_order_make_the_same_tables(
    spark: SparkSession,
    streaming: Domain,
    whole: tuple[Path, Run],
    sums: dict[str, Fingerprint],
    tmp_path: Path,
) -> None:
    """Late rows are accepted only with --include-late, rows of the other week never."""
    shutil.copytree(whole[0] / "landing", tmp_path / "landing")
    late = ingest(tmp_path, streaming, W0, W1, include_late=True).counts
    assert late["events.read"] == sum(late[f"events.{outcome}"] for outcome in OUTCOMES) == len(ROWS)
    ingest(tmp_path, streaming, W1, W2)
    warehouse = Warehouse(spark, ingest(tmp_path, streaming, W0, W1))
    counts = warehouse.run.counts
    assert (counts["events.late"], counts["events.outside"]) == (0, 3), "rows that arrive later are not read"
    assert (late["late.included"], counts["late.included"], counts["late.left_out"]) == (1, 0, 1)
    assert late["events.accepted"] == counts["events.accepted"] + 1
    assert warehouse.checksums() == sums


@pytest.mark.extended
def test_a_failed_run_leaves_the_events_as_they_were(
    spark: SparkSession,
    streaming: Domain,
    whole: tuple[Path, Run],
    sums: dict[str, Fingerprint],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that is cut or grows, an empty landing zone, only refused rows: each is an error and changes no events."""
    shutil.copytree(whole[0] / "landing", tmp_path / "landing")
    shutil.copytree(whole[0] / "warehouse", tmp_path / "warehouse")
    warehouse = Warehouse(spark, Run("ingest", W0, W2, streaming, profile_under(tmp_path)))
    before, versions = sums, dict(whole[1].outputs)
    raw = tmp_path / "landing" / "streaming"
    good = {path: path.read_bytes() for path in raw.glob("events/*/*")}
    first = min(good)
    first.write_bytes(good[first][:-9])
    snapshot = next(snapshot_of(raw, W1).iterdir())
    delivered = snapshot.read_bytes()
    deliver(snapshot.parent, [item(), item(item_id="corrected", title_id="t3")])
    with pytest.raises(PipelineError, match=f"{first}: cannot be read"):
        ingest(tmp_path, streaming, W0, W2)
    first.write_bytes(good[first])

    def growing(raw: DataFrame, domain: Domain) -> DataFrame:
        first.write_bytes(good[first] + gzip.compress(b"one more"))
        return checked_events(raw, domain)

    monkeypatch.setattr("jobs.ingest.checked_events", growing)
    with pytest.raises(PipelineError, match=f"{first}: changed while it was read"):
        ingest(tmp_path, streaming, W0, W2)
    monkeypatch.undo()
    assert warehouse.checksums() == before, "not even the corrected catalogue was written"
    snapshot.write_bytes(delivered)
    for path in good:
        path.unlink()
    with pytest.raises(PipelineError, match=f"{raw}/events: no raw events"):
        ingest(tmp_path, streaming, W0, W2)
    assert warehouse.checksums() == before
    deliver(first.parent, [event(user_id=None)])
    with pytest.raises(AuditFailed, match="engagement_events"):
        ingest(tmp_path, streaming, W0, W2)
    after = warehouse.checksums()
    assert (after["engagement_events"], after["catalog"]) == (before["engagement_events"], before["catalog"])
    refused = warehouse.current(QUARANTINE).where("record = 'event'").collect()
    assert [row["reasons"] for row in refused] == [["missing_user_id"]], "the quarantine shows why"
    for path, content in good.items():
        path.write_bytes(content)
    again = unaudited(tmp_path, streaming, W0, W2)
    assert warehouse.checksums() == before
    unchanged = ("catalog", "engagement_events")
    assert [again.outputs[name] for name in unchanged] == [versions[name] for name in unchanged], "no commit was made"


@pytest.mark.extended
@pytest.mark.usefixtures("no_audits")
def test_a_snapshot_that_is_no_longer_delivered_is_deleted(
    spark: SparkSession, streaming: Domain, whole: tuple[Path, Run], tmp_path: Path
) -> None:
    """The tables are as if it had never been delivered. A week without a snapshot is not written."""
    for home in ("corrected", "never"):
        shutil.copytree(whole[0] / "landing", tmp_path / home / "landing")
        shutil.rmtree(snapshot_of(tmp_path / home / "landing" / "streaming", W1))
    shutil.copytree(whole[0] / "warehouse", tmp_path / "corrected" / "warehouse")
    for week in ((W0, W1), (W1, W2)):
        never = ingest(tmp_path / "never", streaming, *week)
    assert "catalog" not in never.outputs
    corrected = ingest(tmp_path / "corrected", streaming, W1, W2)
    assert corrected.counts["quarantine.reason.unknown_item"] == 1, "the new title is no longer known"
    assert Warehouse(spark, corrected).checksums() == Warehouse(spark, never).checksums()


def test_no_snapshot_of_the_first_day(
    spark: SparkSession,
    streaming: Domain,
    whole: tuple[Path, Run],
    sums: dict[str, Fingerprint],
    tmp_path: Path,
) -> None:
    """Whether it never was delivered or no longer is: nothing is written."""
    raw = tmp_path / "landing" / "streaming"
    deliver_all(raw)
    shutil.rmtree(snapshot_of(raw, W0))
    missing = "no catalogue snapshot on or before 2026-08-03"
    with pytest.raises(PipelineError, match=missing):
        ingest(tmp_path, streaming, W0, W1)
    assert not (tmp_path / "warehouse").exists()
    shutil.copytree(whole[0] / "warehouse", tmp_path / "warehouse")
    warehouse = Warehouse(spark, Run("ingest", W0, W1, streaming, profile_under(tmp_path)))
    with pytest.raises(PipelineError, match=missing):
        ingest(tmp_path, streaming, W0, W1)
    assert warehouse.checksums() == sums


def test_a_lost_data_file_of_its_own_weeks_does_not_stop_a_run(
    spark: SparkSession,
    streaming: Domain,
    whole: tuple[Path, Run],
    sums: dict[str, Fingerprint],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run reads its weeks for late events and for snapshots that are no longer delivered. Then it repairs them."""
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    warehouse = Warehouse(spark, Run("ingest", W0, W2, streaming, profile_under(tmp_path)))
    for table in (ENGAGEMENT_EVENTS, CATALOG):
        day = W0 if table is CATALOG else W0 + timedelta(days=1)
        next(Path(warehouse.path(table), f"{table.partition}={day}").glob("*.parquet")).unlink()
    run = unaudited(tmp_path, streaming, W0, W2)
    assert "late.left_out" not in run.counts
    assert "whether late events are left out that an earlier run accepted is not known" in capsys.readouterr().out
    assert warehouse.checksums() == sums


@pytest.mark.extended
@pytest.mark.usefixtures("compiling")
def test_a_real_week(
    spark: SparkSession, profile: Profile, kuairand: Domain, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KuaiRand's first week against DuckDB: an event is its user, video and time."""
    folder = shared_data / "kuairand"
    monkeypatch.setenv("INTENTREC_DATA", str(folder))
    start, end = date(2022, 4, 25), date(2022, 5, 2)
    run = Run("ingest", start, end, kuairand, profile)
    body(run, ROOT / "conf" / "kuairand.yaml")
    week, conflicts, replaced, accepted = duckdb.sql(f"""
        with log as (
            select * exclude (date, hourmin), date || hourmin as hour
            from read_csv('{folder}/log_standard_*.csv.gz', all_varchar = true)
            where time_ms::bigint >= epoch_ms(timestamp '{start}') - 8 * 3600000
              and time_ms::bigint < epoch_ms(timestamp '{end}') - 8 * 3600000
        ), plays as (
            select count(*) as copies, count(distinct hour) as hours, count(distinct content) as contents
            from (select *, concat_ws('|', *columns(* exclude (hour))) as content from log)
            group by user_id, video_id, time_ms
        )
        select sum(copies)::int, sum(copies) filter (contents > 1 and hours = 1)::int,
               sum(copies - 1) filter (contents > 1 and hours > 1)::int,
               count(*) filter (contents = 1 or hours > 1)
        from plays
    """).fetchall()[0]
    counts = run.counts
    assert counts["events.accepted"] == accepted
    assert counts["events.quarantined"] == counts["quarantine.reason.conflicting_duplicate"] == conflicts
    assert counts["events.replaced"] == (replaced or 0)
    assert counts["events.duplicates"] == week - conflicts - (replaced or 0) - accepted
    assert counts["events.late"] == 0
    assert counts["events.read"] == week + counts["events.outside"]
    assert counts["catalog.accepted"] == counts["catalog.read"] == 7583
