"""The report job on small real tables: weekly facts, the drift warning, and pages that link each other."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.config import Domain, Profile
from intentrec.contracts import FEATURE_PROFILES, INTERACTIONS, SEQUENCES, Table
from intentrec.monitoring import weeks
from intentrec.storage.audit import AuditFailed
from intentrec.storage.runs import Run, _record, ledger
from jobs.report import body
from tests.reports.pages import harmless, resolves
from tests.storage import good_rows

WEEK = timedelta(days=7)
FIRST = date(2026, 8, 17)  # the first week that trains targets
LAST = FIRST + 2 * WEEK
EVEN = {"film": 1000, "show": 1000}


@pytest.fixture
def put(profile: Profile, streaming: Domain) -> Callable[[Table, list[dict]], None]:
    """Append rows to a table as the warehouse partitions it."""

    def write(table: Table, rows: list[dict]) -> None:
        content = pa.Table.from_pylist(rows, schema=to_arrow_schema(table.schema))
        path = f"{profile.warehouse}/{streaming.domain}/{table.name}"
        write_deltalake(path, content, mode="append", partition_by=[str(table.partition)])

    return write


@pytest.fixture
def record(profile: Profile, streaming: Domain) -> Callable[..., Run]:
    """Record an attempt in the ledger."""

    def attempt(job: str, start: date, end: date, started: datetime, status: str = "succeeded", **counts: int) -> Run:
        run = Run(job, start, end, streaming, profile, started=started)
        run.counts = {name.replace("__", "."): value for name, value in counts.items()}
        _record(run, "running")
        _record(run, status)
        return run

    return attempt


def profile_rows(week: date, kinds: dict[str, int]) -> list[dict]:
    base = {"week": week, "table_name": "interactions", "kind": "value"}
    found = [{**base, "feature": "kind", "value": value, "rows": rows} for value, rows in kinds.items()]
    return [*found, {**base, "feature": "title_id", "value": "t1", "rows": sum(kinds.values())}]


def report(profile: Profile, domain: Domain, start: date = LAST) -> Run:
    run = Run("report", start, start + WEEK, domain, profile)
    _record(run, "running")
    body(run)
    return run


def pages(run: Run) -> tuple[Path, Path]:
    return run.report_dir / "report.html", run.report_dir.parent / "trend.html"


def built(put: Callable, last: dict[str, int]) -> None:
    """Profiles of two weeks with as many films as shows, and one with `last`."""
    for week, kinds in ((FIRST, EVEN), (FIRST + WEEK, EVEN), (LAST, last)):
        put(FEATURE_PROFILES, profile_rows(week, kinds))


def test_shifted_data_warn_wherever_people_look(
    put: Callable, profile: Profile, streaming: Domain, capsys: pytest.CaptureFixture[str]
) -> None:
    built(put, {"film": 1900, "show": 100})
    run = report(profile, streaming)
    printed = capsys.readouterr().out
    # 0.45 ln 19
    assert "warning: drift: population_stability_index on kind (max_value 0.25): observed 1.325" in printed
    assert "  warning: drift: population_stability_index on kind" in printed.splitlines()
    page, trend = (path.read_text("utf-8") for path in pages(run))
    seen = harmless(page).texts
    assert "drift: population stability index on kind" in seen
    assert "0 of 6 jobs succeeded; 1 warning." in seen
    assert "1 of 2 model inputs drifted beyond the bound" in trend
    kept = json.loads((run.report_dir / "drift.json").read_text("utf-8"))
    assert (kept["failed"], kept["rows"], len(kept["findings"])) == (False, 2000, 2)


def test_the_same_data_do_not(
    put: Callable, profile: Profile, streaming: Domain, capsys: pytest.CaptureFixture[str]
) -> None:
    built(put, {"film": 2100, "show": 2000})
    run = report(profile, streaming)
    assert "warning" not in capsys.readouterr().out.replace("no warnings", "")
    page, trend = (path.read_text("utf-8") for path in pages(run))
    assert "no warnings" in page
    assert "population stability index" in page, "it was looked at, and stands among the audits that passed"
    assert "no drift beyond the bound" in trend


def test_the_bound_and_the_least_rows_are_the_domains(put: Callable, profile: Profile, streaming: Domain) -> None:
    built(put, {"film": 1900, "show": 100})
    for changes, warns in (({"drift_bound": 1.4}, False), ({"drift_bound": 1.3}, True), ({"min_rows": 2001}, None)):
        quality = streaming.quality.model_copy(update=changes)
        run = report(profile, streaming.model_copy(update={"quality": quality}))
        kept = run.report_dir / "drift.json"
        found = not json.loads(kept.read_text("utf-8"))["findings"][0]["success"] if kept.exists() else None
        assert found is warns


def test_labels_alone_can_drift(put: Callable, profile: Profile, streaming: Domain) -> None:
    """Interactions with several genres each: enough labels to compare, too few rows of anything else."""
    genre = {"table_name": "interactions", "feature": "genres", "kind": "value"}
    for week, crime in ((FIRST, 1000), (FIRST + WEEK, 1000), (LAST, 100)):
        of_week = [{**genre, "week": week, "value": "crime", "rows": crime}]
        of_week += [{**genre, "week": week, "value": "war", "rows": 1000}]
        put(FEATURE_PROFILES, of_week + profile_rows(week, {"film": 400}))
    run = report(profile, streaming)
    kept = json.loads((run.report_dir / "drift.json").read_text("utf-8"))
    assert kept["rows"] == 400
    assert [(each["on"], each["success"]) for each in kept["findings"]] == [("genres", False)]


def test_a_week_without_records_is_a_gap(put: Callable, profile: Profile, streaming: Domain) -> None:
    put(FEATURE_PROFILES, profile_rows(FIRST, EVEN))
    put(FEATURE_PROFILES, profile_rows(LAST, EVEN))
    found = weeks.collect(profile, streaming)
    assert [(week.start, bool(week.rows)) for week in found] == [(FIRST, True), (FIRST + WEEK, False), (LAST, True)]


def test_pages_link_each_other(put: Callable, profile: Profile, streaming: Domain) -> None:
    built(put, EVEN)
    first = report(profile, streaming, FIRST)
    second = report(profile, streaming)
    trend = pages(second)[1]
    assert pages(first)[1] == trend
    linked = [link for link in harmless(trend.read_text("utf-8")).links if link.endswith("report.html")]
    assert linked == [f"{run.report_dir.name}/report.html" for run in (second, first)], "none of the week between"
    report(profile, streaming, FIRST)
    for page in (trend, *(pages(run)[0] for run in (first, second))):
        links = harmless(page.read_text("utf-8")).links
        assert links
        assert all(resolves(page, link) for link in links), links
    assert "../trend.html" in harmless(pages(second)[0].read_text("utf-8")).links


def test_facts_of_weeks_from_tables_ledger_and_audits(
    put: Callable, record: Callable[..., Run], profile: Profile, streaming: Domain
) -> None:
    interaction, sequence = good_rows.rows("interactions")[0], good_rows.rows("sequences")[0]
    tuesday = timedelta(days=1)
    put(INTERACTIONS, [{**interaction, "event_date": FIRST + tuesday, "user_id": f"u{n}"} for n in range(3)])
    put(INTERACTIONS, [{**interaction, "event_date": FIRST + timedelta(days=6)}])
    put(INTERACTIONS, [{**interaction, "event_date": FIRST + WEEK}])
    put(SEQUENCES, [{**sequence, "as_of": FIRST + WEEK}])
    put(FEATURE_PROFILES, profile_rows(FIRST, EVEN) + profile_rows(FIRST + WEEK, {"film": 2000}))
    # The week ends on 24 August at 11:00 UTC and is due on the 26th.
    due = datetime(2026, 8, 26, 11, tzinfo=UTC)
    record("ingest", FIRST, LAST, due, events__accepted=9)
    record("ingest", FIRST + WEEK, LAST, due + timedelta(days=8), events__accepted=5)
    record("ingest", FIRST + WEEK, LAST, due + timedelta(days=9), status="failed", events__accepted=7)
    built_by = record("build_sequences", FIRST, FIRST + WEEK, due + timedelta(hours=5))
    record("build_sequences", FIRST, LAST, due + timedelta(days=30))
    for name, success, critical in (("a", True, False), ("b", False, False), ("c", False, True)):
        path = built_by.report_dir / "audits" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"findings": [{"success": success, "critical": critical}] * 2}), "utf-8")

    record("ingest", FIRST + 52 * 36 * WEEK, LAST + 52 * 36 * WEEK, due, status="failed")  # a year mistyped
    first, second = weeks.collect(profile, streaming)
    assert (first.start, second.start) == (FIRST, FIRST + WEEK)
    assert dict(first.rows) == {"interactions": 4, "sequences": 1, "feature_profiles": 3, "run_ledger": 1}
    assert dict(second.rows) == {"interactions": 1, "feature_profiles": 2, "run_ledger": 4}
    assert (first.counts, first.counted) == ({"events.accepted": 9}, (FIRST, LAST))
    assert (second.counts, second.counted) == ({"events.accepted": 5}, (FIRST + WEEK, LAST))
    assert first.profiles["interactions"]["kind"] == {("value", "film"): 1000, ("value", "show"): 1000}
    assert (first.failed, first.warned, second.failed) == (2, 2, None)
    # The attempt is recorded as having started in the past: until now it took as long as the clock says.
    seconds = next(row["seconds"] for row in ledger(profile, streaming) if row["run_id"] == built_by.run_id)
    assert first.delay == timedelta(hours=5, seconds=seconds)
    assert second.delay is not None
    assert {each.feature: each.beyond for each in second.drift}["kind"]
    assert not any(each.beyond for each in first.drift)


def test_newest_partitions_against_the_calendar(put: Callable, profile: Profile, streaming: Domain) -> None:
    interaction, sequence = good_rows.rows("interactions")[0], good_rows.rows("sequences")[0]
    put(INTERACTIONS, [{**interaction, "event_date": FIRST + timedelta(days=day)} for day in (0, 6)])
    put(SEQUENCES, [{**sequence, "as_of": FIRST + WEEK}])

    def behind(now: datetime) -> dict[str, tuple[date, int]]:
        return {each.table: (each.partition, each.behind) for each in weeks.newest(profile, streaming, now)}

    def both(count: int) -> dict[str, tuple[date, int]]:
        return {"interactions": (FIRST + timedelta(days=6), count), "sequences": (FIRST + WEEK, count)}

    # The week after ends on 31 August at 04:00 in Los Angeles, 11:00 UTC, and is due two days later.
    due = datetime(2026, 9, 2, 11, tzinfo=UTC)
    assert behind(due - timedelta(seconds=1)) == both(0)
    assert behind(due) == both(1)
    assert behind(due + WEEK) == both(2)
    assert behind(datetime(2026, 8, 18, tzinfo=UTC)) == both(0), "ahead of the calendar is not behind it"


def test_a_broken_ledger_stops_the_report_after_its_pages(
    record: Callable[..., Run], profile: Profile, streaming: Domain
) -> None:
    record("ingest", FIRST, FIRST + WEEK, datetime(2026, 8, 26, tzinfo=UTC), status="vanished")
    with pytest.raises(AuditFailed, match=r"run_ledger .*\n.*\n  column_values_to_be_in_set on status"):
        report(profile, streaming)
    page, trend = pages(Run("report", LAST, LAST + WEEK, streaming, profile))
    assert "vanished" in page.read_text("utf-8")
    assert trend.exists()
