"""The page of an interval: complete, honest about what did not happen, and harmless whatever the data hold."""

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from intentrec.config import SIMULATED_MANIFEST, Domain, Profile
from intentrec.contracts import TABLES
from intentrec.reports import run_facts, run_page, trend_page
from intentrec.storage import liveness
from intentrec.storage.runs import Run, _record
from tests.reports.pages import COUNTS, HOSTILE, NETWORK, Page, harmless

START, END = date(2026, 8, 10), date(2026, 8, 17)
MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def attempt(profile: Profile, streaming: Domain) -> Callable[..., Run]:
    """Record an attempt of a job in the ledger."""
    minutes = iter(range(60))

    def record(
        job: str,
        status: str,
        message: str | None = None,
        counts: dict[str, int] | None = None,
        start: date = START,
        end: date = END,
    ) -> Run:
        run = Run(job, start, end, streaming, profile, counts=counts or {})
        run.started = datetime(2026, 8, 18, 12, next(minutes), tzinfo=UTC)
        _record(run, "running")
        if status != "running":
            _record(run, status, message)
        return run

    return record


@pytest.fixture
def page(profile: Profile, streaming: Domain) -> Callable[[], str]:
    """Render the page and return its text."""
    return lambda: run_page.render(profile, streaming, START, END).read_text("utf-8")


def finding(**changes: Any) -> dict[str, Any]:
    usual = {
        "kind": "column_values_to_not_be_null",
        "on": "user_id",
        "severity": "critical",
        "why": "a row of nobody",
        "success": True,
        "wanted": {},
        "observed": None,
        "unexpected": 0,
        "raised": None,
        "rows": [],
        "critical": False,
    }
    return usual | changes


def audited(run: Run, table: str, *findings: dict[str, Any], rows: int = 2) -> None:
    content = {"job": run.job, "run_id": run.run_id, "start": str(run.start), "end": str(run.end), "table": table}
    content |= {"rows": rows, "seconds": 1.25, "failed": any(each["critical"] for each in findings)}
    path = run.report_dir / "audits" / f"{table}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | {"findings": list(findings)}), "utf-8")


def gate(run: Run, **content: Any) -> None:
    run.report_dir.mkdir(parents=True, exist_ok=True)
    (run.report_dir / "gate.json").write_text(json.dumps(content), "utf-8")


def test_a_good_run(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    ingest = attempt("ingest", "succeeded", counts=COUNTS)
    audited(ingest, "engagement_events", finding(), rows=700)
    attempt("build_interactions", "succeeded", counts={"interactions.rows": 4321})
    text = page()
    seen = Page(text).texts
    for wanted in (
        "1,000",
        f"{MINUS}150",
        f"{MINUS}10",
        f"{MINUS}100",
        f"{MINUS}40",
        "700",
        "4,321",
        "70.00 %",
        "bad_duration",
        "30",
    ):
        assert wanted in seen
    assert "Nothing. Every expectation of the tables written so far was met." in seen
    assert "2 of 6 jobs succeeded; no warnings." in seen
    assert seen.count("not run") == 4
    assert "12 items read, 11 accepted, 1 quarantined" in text


def test_rows_that_do_not_add_up_are_shown(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    attempt("ingest", "succeeded", counts=COUNTS | {"events.late": 3})
    assert "7 raw events have no outcome or two outcomes" in page()


def test_failures_warnings_and_skips_are_shown(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    ingest = attempt("ingest", "failed", message="AuditFailed: critical\nmore of it", counts=COUNTS)
    bad = finding(success=False, critical=True, unexpected=3, rows=[{"event_id": "e7", "user_id": None}])
    late = finding(success=False, severity="warning", unexpected=1, on="position_s", why="odd but usable")
    broken = finding(success=False, severity="warning", critical=True, raised="no such column", on="nowhere")
    audited(ingest, "engagement_events", bad, late, broken, finding(on="device"))
    attempt("train", "skipped", message="no snapshot before 2026-08-10")
    attempt("publish", "running")
    text = page()
    seen = Page(text).texts
    assert "0 of 6 jobs succeeded; ingest failed; 2 critical expectations failed; 1 warning." in seen
    assert "engagement_events: column values to not be null on user_id" in seen
    assert "3 rows" in seen
    assert {"e7", "null", "AuditFailed: critical"} <= set(seen)
    assert "could not be evaluated: no such column" in seen
    assert "odd but usable" in text
    assert {"skipped", "no snapshot before 2026-08-10", "running"} <= set(seen)
    assert "not written yet: publish is running" in seen
    assert "not written: ingest failed before it" in seen
    assert "not written: build_sequences has not run" in seen


def test_a_killed_job_needs_attention(
    attempt: Callable[..., Run], page: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = liveness.this_process() | {"pid": 2**22 + 1}
    monkeypatch.setattr(liveness, "this_process", lambda: gone)
    attempt("ingest", "running")
    seen = Page(page()).texts
    assert "process 4194305 ended and recorded nothing, as after kill -9: run the job again" in seen
    assert "not written: ingest was killed before it" in seen
    assert "killed" in seen


def test_the_latest_attempt_counts(
    attempt: Callable[..., Run], page: Callable[[], str], profile: Profile, streaming: Domain
) -> None:
    first = attempt("ingest", "failed", message="boom", counts={"events.read": 5})
    audited(first, "engagement_events", finding())
    attempt("ingest", "succeeded", counts=COUNTS)
    facts = run_facts.collect(profile, streaming, START, END)
    assert (facts.jobs[0].status, facts.jobs[0].number) == ("succeeded", 2)
    assert facts.counts["events.read"] == 1000
    assert facts.status == "succeeded"
    text = page()
    assert "boom" not in text
    assert "audited by an earlier attempt; the latest ingest succeeded before it" in text


def test_a_week_that_was_made_as_part_of_a_range_says_so(
    attempt: Callable[..., Run], profile: Profile, streaming: Domain
) -> None:
    """The range's own counts and failures stay in the range's report; a later attempt over the week counts again."""
    months = START - timedelta(days=28), END + timedelta(days=28)
    attempt("ingest", "failed", message="boom", start=months[0], end=months[1])
    attempt("ingest", "succeeded", counts=COUNTS, start=months[0], end=months[1])
    attempt("build_interactions", "failed", message="boom", start=months[0], end=months[1])
    facts = run_facts.collect(profile, streaming, START, END)
    states = {job.job: job.status for job in facts.jobs}
    assert (states["ingest"], states["build_interactions"]) == ("succeeded", "not run")
    assert facts.jobs[0].message == f"over the weeks of [{months[0]}, {months[1]}): see the report of that interval"
    assert facts.counts == {}
    assert "boom" not in run_page.html(facts)
    attempt("ingest", "succeeded", counts=COUNTS)
    again = run_facts.collect(profile, streaming, START, END)
    assert (again.jobs[0].message, again.counts["events.read"]) == (None, 1000)


def test_other_intervals_are_not_shown(attempt: Callable[..., Run], profile: Profile, streaming: Domain) -> None:
    attempt("ingest", "succeeded", counts=COUNTS)
    facts = run_facts.collect(profile, streaming, START - timedelta(days=7), START)
    assert facts.status == "unknown"
    assert facts.counts == {}
    assert {job.status for job in facts.jobs} == {"not run"}
    assert "Nothing has been counted for this interval yet." in run_page.html(facts)


def test_the_gates_table(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    run = attempt("gate", "succeeded")
    systems = [
        {"system": "challenger", "label": "IntentRec 4", "next_mrr": 0.12345, "hit_at_10": 0.5, "users": 1234.0},
        {"system": "popularity_7d", "next_mrr": 0.1, "users": 1234, "mrr": None},
    ]
    lift = {"popularity_7d": {"estimate": 0.2345, "lower": -0.01, "upper": 0.3, "users": 1234}}
    gate(run, decision="promote", reasons=["lower bound above 0"], rows=systems, lift=lift)
    seen = Page(page()).texts
    at = seen.index("Gate: promote")
    # The gate's own metric first, then those that people look for.
    table = ["lower bound above 0", "system", "next mrr", "mrr", "users", "hit at 10", "lift"]
    table += ["IntentRec 4", "0.1235", "n/a", "1,234", "0.5000"]
    table += ["popularity_7d", "0.1000", "n/a", "1,234", "n/a", "+23.4% [-1.0%, +30.0%]"]
    assert seen[at + 1 : at + 1 + len(table)] == table
    assert "further metrics" not in seen


def test_the_gates_table_is_no_wider_than_the_page(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    run = attempt("gate", "succeeded")
    many = {f"metric_{n}": n / 10 for n in range(9)}
    gate(run, decision="keep", champion="3", rows=[{"system": "challenger", **many, "ndcg_at_10": 0.7}])
    seen = Page(page()).texts
    assert "Gate: keep the champion" in seen
    gate(run, decision="keep", champion=None)
    assert "Gate: do not promote (there is no champion)" in Page(page()).texts
    first = ["system", "metric 0", "ndcg at 10", *(f"metric {n}" for n in range(1, 5)), "challenger"]
    assert seen[seen.index("system") :][: len(first)] == first
    rest = ["further metrics", "system", *(f"metric {n}" for n in range(5, 9)), "challenger"]
    assert seen[seen.index("further metrics") :][: len(rest)] == rest


@pytest.mark.parametrize(
    ("own", "earlier", "says"),
    [
        pytest.param([3], [], "Simulated data.", id="simulated"),
        pytest.param([], [3], "Its predictions rest on simulated data of earlier weeks.", id="an earlier week"),
        pytest.param([3, 0], [], None, id="the week was delivered anew, by the real service"),
        pytest.param([0], [3, 0], None, id="real, in a home with a former simulation"),
    ],
)
def test_simulated_data_are_called_so(
    page: Callable[[], str], profile: Profile, streaming: Domain, own: list[int], earlier: list[int], says: str | None
) -> None:
    """What the week's own ingestion read decides, not what lies in a folder."""
    landing = Path(profile.landing) / streaming.domain
    landing.mkdir(parents=True)
    (landing / SIMULATED_MANIFEST).write_text("{}", "utf-8")
    for start, numbers in ((START - (END - START), earlier), (START, own)):
        for simulated in numbers:
            run = Run("ingest", start, start + (END - START), streaming, profile)
            run.delivery = {"simulated_files": str(simulated), "files": "3", "folder": "/raw/here"}
            _record(run, "running")
            _record(run, "succeeded")
    assert ("/raw/here" in Page(page()).texts) is bool(own)
    sentences = [text for text in Page(page()).texts if "imulated data" in text]
    assert sentences == ([says] if says else [])
    trend = Page(trend_page.render(profile, streaming).read_text("utf-8")).texts
    assert [text for text in trend if "imulated data" in text] == (["Simulated data."] if says else [])


def test_what_a_person_accepted_is_shown(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    attempt("ingest", "succeeded", message=f"partial delivery accepted: {HOSTILE}", counts=COUNTS)
    seen = Page(page()).texts
    assert f"partial delivery accepted: {HOSTILE}" in seen
    assert "decided by a person" in seen


def test_hostile_rows_stay_text(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    run = attempt("ingest", "failed", message=HOSTILE, counts=COUNTS | {f"quarantine.reason.{HOSTILE}": 1})
    bad = finding(
        success=False,
        critical=True,
        unexpected=1,
        on=HOSTILE,
        why=HOSTILE,
        wanted={HOSTILE: HOSTILE},
        rows=[{HOSTILE: HOSTILE}],
    )
    raised = finding(success=False, critical=True, raised=HOSTILE, observed=HOSTILE)
    audited(run, "engagement_events", bad, raised, finding(success=False, severity="warning", observed=HOSTILE))
    gate(run, decision=HOSTILE, reasons=[HOSTILE], rows=[{"system": HOSTILE, HOSTILE: HOSTILE}])
    text = page()
    parsed = Page(text)
    assert "<script" not in text
    assert {str(attributes["src"])[:26] for tag, attributes in parsed.tags if tag == "img"} == {
        "data:image/svg+xml;base64,"
    }
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert HOSTILE in parsed.texts
    assert "{{ 7*7 }}" in text


def test_the_page_needs_no_network(attempt: Callable[..., Run], page: Callable[[], str]) -> None:
    run = attempt("ingest", "succeeded", counts=COUNTS)
    audited(run, "engagement_events", finding())
    plots = run.report_dir / "plots"
    plots.mkdir(parents=True)
    (plots / "loss_by_epoch.png").write_bytes(b"\x89PNG")
    parsed = harmless(page())
    waterfall, plot = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    chart = base64.b64decode(str(waterfall).removeprefix("data:image/svg+xml;base64,")).decode()
    assert not NETWORK.search(re.sub(r'xmlns(:xlink)?="[^"]*"|<!DOCTYPE[^>]*>|url\(#\w+\)', "", chart))
    assert plot == "data:image/png;base64,iVBORw=="
    assert "loss by epoch" in parsed.texts
    assert parsed.links == []


def test_every_written_table_has_its_line(profile: Profile, streaming: Domain) -> None:
    tables = [table.table for table in run_facts.collect(profile, streaming, START, END).tables]
    assert tables == [name for name in TABLES if name != "run_ledger"]


def test_a_page_is_replaced_whole(attempt: Callable[..., Run], page: Callable[[], str], profile: Profile) -> None:
    attempt("ingest", "succeeded", counts=COUNTS)
    first = page()
    (file,) = Path(profile.reports).rglob("report.html")
    reading = file.open(encoding="utf-8")
    attempt("build_interactions", "succeeded", counts=COUNTS)
    assert page() != first
    assert reading.read() == first, "whoever had it open reads the old page to its end"
    assert [path.name for path in Path(profile.reports).rglob("*") if path.is_file()] == ["report.html"]


def test_the_text_summary(attempt: Callable[..., Run], profile: Profile, streaming: Domain) -> None:
    run = attempt("ingest", "failed", message="first line\nsecond line", counts=COUNTS)
    audited(run, "catalog", finding(success=False, critical=True))
    text = run_page.summary(run_facts.collect(profile, streaming, START, END))
    lines = text.splitlines()
    assert lines[0].startswith("streaming [2026-08-10, 2026-08-17): failed: 0 of 6 jobs succeeded; ingest failed;")
    assert "first line" in lines[1]
    assert "second line" not in text
    assert "FAILED: catalog: column_values_to_not_be_null on user_id" in text
    assert re.search(r"raw events read +1,000$", text, re.MULTILINE)
