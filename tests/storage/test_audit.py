"""The suites and the gate, with real Spark and real Great Expectations."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, INTERACTIONS, TABLES, Table
from intentrec.errors import PipelineError
from intentrec.storage import audit
from intentrec.storage.audit import SAMPLE, SUITES, Audit, AuditFailed, Finding, audit_frame, load_suite, parameters
from intentrec.storage.runs import Run
from tests.storage.faulty_rows import FAULTY, Rows
from tests.storage.good_rows import END, MOMENT, START, frame, rows

AUDITED = list(TABLES.values())


@pytest.fixture
def run(new_run: Callable[..., Run]) -> Run:
    made = new_run("test", START, END)
    made.counts |= {"events.accepted": 85, "events.quarantined": 10, "events.duplicates": 5, "catalog.read": 100}
    made.counts |= {"events.read": 1000, "events.outside": 900}  # of other weeks: no part of any bound
    return made


def audited(spark: SparkSession, run: Run, table: str, content: Rows) -> Audit:
    return audit_frame(TABLES[table], frame(spark, table, content), parameters(run))


def named(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.kind, finding.on) for finding in findings}


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, named(findings)
    return findings[0]


# Suites as files


@pytest.mark.parametrize("table", AUDITED, ids=lambda table: table.name)
def test_every_table_has_a_suite_of_its_own_columns(table: Table) -> None:
    content = json.loads((SUITES / f"{table.name}.json").read_text("utf-8"))
    for expectation in content["expectations"]:
        assert expectation["severity"] in ("critical", "warning")
        assert len(expectation["meta"]["why"]) > 10
        arguments = expectation["kwargs"]
        columns = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
        columns += arguments.get("column_list", [])
        assert set(columns) <= set(table.names)
        assert columns or "rows" in expectation["type"] or "row_count" in expectation["type"]
    assert len(load_suite(table).expectations) == len(content["expectations"])


@pytest.mark.parametrize("table", AUDITED, ids=lambda table: table.name)
def test_the_contract_is_audited(table: Table) -> None:
    """A critical expectation for every column that must not be null, for the key, and for the number of rows."""
    content = json.loads((SUITES / f"{table.name}.json").read_text("utf-8"))
    critical = [each for each in content["expectations"] if each["severity"] == "critical"]
    never_null = {e["kwargs"]["column"] for e in critical if e["type"] == "expect_column_values_to_not_be_null"}
    required = {column.name for column in table.columns if not column.nullable}
    # The line number of a refused row is filled in by the reader itself.
    assert required - never_null <= {"source_line"}
    unique = [e["kwargs"].get("column_list") or [e["kwargs"]["column"]] for e in critical if "unique" in e["type"]]
    assert not table.key or set(table.key) in [set(columns) for columns in unique]
    counted = [e["severity"] for e in content["expectations"] if e["type"] == "expect_table_row_count_to_be_between"]
    # A week may have no snapshot of its own, nothing that is refused, and no target.
    may_be_empty = ("catalog", "quarantine", "title_facts", "popular_titles")
    assert "critical" in counted or (counted and table.name in may_be_empty)


def test_every_suite_belongs_to_a_table() -> None:
    assert {path.stem for path in SUITES.glob("*.json")} == {table.name for table in AUDITED}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "no usable suite for table catalog"),
        ("{", "no usable suite"),
        ('{"name": "x", "expectations": []}', "0 valid"),
        ('{"name": "x", "expectations": [{"type": "expect_wonders", "kwargs": {}}]}', ""),
    ],
)
def test_an_unusable_suite_is_an_error(tmp_path: Path, text: str | None, complaint: str) -> None:
    if text is not None:
        (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(PipelineError, match=rf"catalog.json: .*{complaint}"):
        load_suite(CATALOG, tmp_path)


# Suites on rows


@pytest.mark.slow
def test_good_rows_pass(spark: SparkSession, run: Run) -> None:
    """Except for a warning: two rows cannot have all event types. It names the missing ones."""
    for table in AUDITED:
        result = audited(spark, run, table.name, rows(table.name))
        assert (result.table, result.rows) == (table.name, 2)
        assert not result.failures, (table.name, named(result.failures))
        if table is not ENGAGEMENT_EVENTS:
            assert not result.warnings, (table.name, named(result.warnings))
            continue
        finding = only(result.warnings)
        unseen = set(run.domain.events.types) - {"play"}
        assert (finding.kind, finding.on) == ("column_distinct_values_to_contain_set", "event_type")
        assert finding.observed == f"{len(unseen)} missing"
        assert {row["missing"] for row in finding.rows} == unseen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "key", "changes"),
    [
        (
            "engagement_events",
            "event_id",
            {
                "column_values_to_not_be_null": {"user_id": None},
                "column_values_to_be_in_set": {"event_type": "poke"},
                "column_values_to_be_between": {"duration_s": -1.0},
            },
        ),
        (
            "interactions",
            "user_id",
            {
                "column_pair_values_a_to_be_greater_than_b": {"end_ts": MOMENT - timedelta(1)},
                "unexpected_rows_expectation": {"event_counts": {"play": 0}},
            },
        ),
    ],
)
def test_a_failure_of_each_kind_shows_its_row(
    spark: SparkSession, run: Run, table: str, key: str, changes: dict[str, dict[str, Any]]
) -> None:
    good = rows(table)
    faulty = [{**good[1], key: kind, **change} for kind, change in changes.items()]
    result = audited(spark, run, table, [good[0], *faulty])
    found = {finding.kind: finding for finding in result.failures}
    assert found.keys() == changes.keys()
    for kind, finding in found.items():
        assert finding.raised is None
        assert finding.unexpected == 1
        assert [row[key] for row in finding.rows] == [kind]


@pytest.mark.slow
@pytest.mark.parametrize("table", AUDITED, ids=lambda table: table.name)
def test_every_critical_expectation_refuses_what_it_is_for(
    spark: SparkSession, run: Run, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All faulty rows at once, each with a key of its own. Other expectations may refuse them, too."""
    monkeypatch.setattr(audit, "SAMPLE", 100)
    name, cases = FAULTY[table.name]
    content, wanted = [], {}
    for on, changes in cases.items():
        wanted[on] = {f"{on}/{number}" for number in range(len(changes))}
        for number, change in enumerate(changes):
            own = {name: f"{on}/{number}"}
            if table.name == "recommendations":  # a list of two
                content.append({**rows(table.name)[0], **own})
            content.append({**rows(table.name)[1], **own, **change})
    result = audited(spark, run, table.name, content)
    found = {finding.on: finding for finding in result.failures if not _structural(finding.kind)}
    assert found.keys() == wanted.keys()
    for on, names in wanted.items():
        assert found[on].raised is None
        assert names <= {row[name] for row in found[on].rows}, on
    critical = [each for each in load_suite(table).expectations if each.severity == "critical"]
    assert len([each for each in critical if not _structural(each.expectation_type)]) == len(wanted)


def _structural(kind: str) -> bool:
    """Expectations that follow from the contract; see `test_the_contract_is_audited`."""
    return any(part in kind for part in ("not_be_null", "unique", "row_count"))


@pytest.mark.slow
def test_two_releases_in_one_publication_are_critical(spark: SparkSession, run: Run) -> None:
    """Tested on one published table; the others have the same expectation."""
    wanted = []
    for table in ("user_intents", "recommendations", "item_vectors", "user_vectors"):
        content = json.loads((SUITES / f"{table}.json").read_text("utf-8"))
        wanted.append(next(each for each in content["expectations"] if "unique_value_count" in each["type"]))
    assert all(each == wanted[0] for each in wanted)
    one, other = rows("user_vectors")
    finding = only(audited(spark, run, "user_vectors", [one, {**other, "release_id": "r2"}]).failures)
    assert (finding.kind, finding.on) == ("column_unique_value_count_to_be_between", "release_id")


@pytest.mark.slow
@pytest.mark.parametrize("table", ["engagement_events", "releases"])
def test_a_key_twice_is_critical(spark: SparkSession, run: Run, table: str) -> None:
    good = rows(table)[0]
    another = {"engagement_events": "user_id", "releases": "model_name"}[table]
    result = audited(spark, run, table, [good, {**good, another: "another"}])
    finding = next(finding for finding in result.failures if "unique" in finding.kind)
    assert finding.unexpected == 2
    assert {tuple(row[name] for name in TABLES[table].key) for row in finding.rows} == {
        tuple(str(good[name]) for name in TABLES[table].key)
    }


@pytest.mark.slow
def test_the_number_of_shown_rows_is_limited(spark: SparkSession, run: Run) -> None:
    good = rows("interactions")[0]
    many = [{**good, "user_id": f"u{n:02}", "duration_s": -1.0, "event_counts": {"play": 0}} for n in range(30)]
    result = audited(spark, run, "interactions", many)
    assert len(result.failures) == 2
    for finding in result.failures:
        assert finding.unexpected == 30
        assert len(finding.rows) == SAMPLE


@pytest.mark.slow
def test_an_empty_frame_fails_its_audit_where_rows_are_required(spark: SparkSession, run: Run) -> None:
    """Events and interactions must have rows. A week may have no refused rows; a missing snapshot is a warning."""
    for name in ("engagement_events", "interactions", "quarantine", "catalog"):
        result = audited(spark, run, name, [])
        finding = {each.kind: each for each in result.findings}["table_row_count_to_be_between"]
        assert finding.success == (name == "quarantine")
        assert bool(result.failures) == (name in ("engagement_events", "interactions"))


@pytest.mark.slow
def test_an_expectation_that_cannot_be_evaluated_is_critical(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    why = {"why": "a column that is not there"}
    arguments = {"column": "no_such", "min_value": 0}
    missing = {"type": "expect_column_values_to_be_between", "kwargs": arguments, "severity": "warning", "meta": why}
    (tmp_path / "catalog.json").write_text(json.dumps({"name": "catalog", "expectations": [missing]}))
    result = audit_frame(CATALOG, frame(spark, CATALOG, rows("catalog")), parameters(run), tmp_path)
    finding = only(result.failures)
    assert finding.severity == "warning"
    assert "no_such" in str(finding.raised)
    assert "could not be evaluated" in audit.describe(finding)


@pytest.mark.slow
def test_a_failure_says_what_where_and_why(spark: SparkSession, run: Run) -> None:
    good = rows("interactions")
    hostile = "<script>\n\x1b[31m"
    bad = frame(spark, INTERACTIONS, [good[0], {**good[1], "user_id": hostile, "fraction": 1.5}])
    with pytest.raises(AuditFailed) as caught:
        audit.enforce(audit.audit(INTERACTIONS, bad, run), run)
    text = str(caught.value)
    assert text.startswith("interactions [2026-08-10, 2026-08-17): 1 of ")
    assert "column_values_to_be_between on fraction (min_value 0" in text
    assert "why it matters: " in text
    assert json.dumps(hostile)[1:-1] in text
    assert hostile not in text
    assert f"report: {run.report_dir / 'report.html'}" in text
    written = json.loads((run.report_dir / "audits" / "interactions.json").read_text("utf-8"))
    assert (written["failed"], written["rows"], written["run_id"]) == (True, 2, run.run_id)
    (failed,) = [finding for finding in written["findings"] if finding["critical"]]
    assert (failed["on"], failed["unexpected"], failed["rows"][0]["user_id"]) == ("fraction", 1, hostile)


@pytest.mark.slow
def test_warnings_are_printed_and_pass(spark: SparkSession, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """One label for all visits, and plays before the release, whose age is 0."""
    same = [{**row, "action_type": "discover", "release_age_days": 0.0} for row in rows("interactions")]
    result = audit.audit(INTERACTIONS, frame(spark, INTERACTIONS, same), run)
    assert not run.report_dir.exists()
    audit.enforce(result, run)
    assert not result.failures
    found = {finding.on: finding for finding in result.warnings}
    assert found.keys() == {"action_type", "release_age_days"}
    label = found["action_type"]
    assert (label.kind, label.observed) == ("column_unique_value_count_to_be_between", 1)
    assert found["release_age_days"].unexpected == 2
    assert "warning: interactions: column_unique_value_count_to_be_between on action_type" in capsys.readouterr().out
    written = json.loads((run.report_dir / "audits" / "interactions.json").read_text("utf-8"))
    assert {each["on"] for each in written["findings"] if not each["success"]} == found.keys()
