"""Audits of tables with Great Expectations.

Every table has a suite, a file of `expectations/` in Great Expectations' own format, written by hand. Each expectation
has a `severity` and says in `meta.why` what would go wrong. A failed expectation stops the commit where its severity is
critical, and is reported where it is a warning. Values of the domain stand in a suite as `{"$PARAMETER": name}`;
`parameters` gives them.

To save Spark jobs, an audit has two steps. First all expectations run together and return counts only. Then those that
failed run again and return the keys of offending rows.
"""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame

from intentrec.calendar import DAY
from intentrec.config import PACKAGE, seconds
from intentrec.contracts import Table
from intentrec.errors import AuditFailed, PipelineError
from intentrec.storage.runs import Run, write_text

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations import ExpectationSuite
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.datasource.fluent.interfaces import Batch

SUITES = PACKAGE / "expectations"
SAMPLE = 20  # offending rows that a report shows
MAX_CHARACTERS = 120  # of one value in a report
# Counts of an ingest run that add up to the raw rows of its own weeks. (It also reads rows of other weeks.)
RAW_ROW_COUNTS = ("events.accepted", "events.quarantined", "events.duplicates", "events.replaced", "catalog.read")
ROW_IDS = {"quarantine": ("source_file", "source_line", "record")}  # columns that name a row of a table without a key


@dataclass(frozen=True)
class Finding:
    """The result of one expectation.

    Attributes:
        kind: the expectation's type, without the prefix `expect_`.
        on: its description, or the columns that it looks at.
        severity: critical or warning.
        why: what would go wrong in such a table.
        success: whether it was met.
        wanted: its other arguments.
        observed: the observed value, where it looks at the table as a whole.
        unexpected: number of offending rows; None where it looks at the table as a whole.
        raised: the error, where it could not be evaluated.
        rows: keys and offending values of at most SAMPLE rows.
    """

    kind: str
    on: str
    severity: str
    why: str
    success: bool
    wanted: dict[str, Any] = field(default_factory=dict)
    observed: Any = None
    unexpected: int | None = None
    raised: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def critical(self) -> bool:
        """Whether it stops the commit. An expectation that could not be evaluated does, whatever its severity."""
        return not self.success and (self.severity == "critical" or self.raised is not None)


@dataclass(frozen=True)
class Audit:
    """The result of a suite on the rows of one table, of which there are `rows`; `seconds` is the time that it took."""

    table: str
    rows: int
    seconds: float
    findings: list[Finding]

    @property
    def failures(self) -> list[Finding]:
        """Findings that stop the commit."""
        return [finding for finding in self.findings if finding.critical]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that are reported only."""
        return [finding for finding in self.findings if not finding.success and not finding.critical]


def preload() -> None:
    """Import Great Expectations in a thread. The import takes seconds, in which a job mostly waits for Spark."""
    Thread(target=import_module, args=("great_expectations",), daemon=True).start()


def parameters(run: Run) -> dict[str, Any]:
    """Values that a suite may name as `$PARAMETER`: settings of the domain, and counts of the run so far."""
    domain = run.domain
    return {
        "event_types": list(domain.events.types),
        "max_duration_s": seconds(domain.events.max_duration),
        "action_types": [rule.name for rule in domain.interactions.action_types],
        "length": domain.sequences.length,
        "intents": [intent.name for intent in domain.intents],
        "longest_list": domain.publishing.top_k * (2 if domain.publishing.known_and_new else 1),
        "least_rows": int(not closed(run)),
        "raw_rows": sum(run.counts.get(name, 0) for name in RAW_ROW_COUNTS),
    }


def closed(run: Run) -> bool:
    """Whether the service was closed in the whole interval of the run, so that there are no rows."""
    weeks = run.domain.quality.closed_weeks
    closed_days = {week + DAY * number for week in weeks for number in range(7)}
    return all(run.start + DAY * number in closed_days for number in range((run.end - run.start).days))


def load_suite(table: Table, folder: Path = SUITES) -> "ExpectationSuite":
    """The table's suite, read from `folder`.

    Raises:
        PipelineError: it is missing, not JSON, or holds something that is not an expectation.
    """
    from great_expectations import ExpectationSuite

    path = folder / f"{table.name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        suite = ExpectationSuite(**content)
    except Exception as error:
        raise PipelineError(f"{path}: no usable suite for table {table.name} ({error}): write one by hand") from error
    # Great Expectations logs an invalid expectation and goes on without it.
    if not suite.expectations or len(suite.expectations) != len(content["expectations"]):
        raise PipelineError(
            f"{path}: {len(content['expectations'])} expectations written, {len(suite.expectations)} valid: correct "
            "the others"
        )
    return suite


def audit_frame(
    table: Table, frame: "DataFrame | pd.DataFrame", values: dict[str, Any], folder: Path = SUITES
) -> Audit:
    """Run the table's suite on a frame; writes nothing.

    Args:
        table: whose rows they are.
        frame: of Spark; or of pandas, for a few rows in a process without Spark.
        values: what the suite names as `$PARAMETER`, see `parameters`.
        folder: the folder of the suites.

    Raises:
        PipelineError: the table has no usable suite.
    """
    clock = time.monotonic()
    suite = load_suite(table, folder)
    if isinstance(frame, DataFrame):
        frame = frame.cache()
        try:
            rows, findings = frame.count(), _findings(table, suite, frame, values)
        finally:
            frame.unpersist()
    else:
        rows, findings = len(frame), _findings(table, suite, frame, values)
    return Audit(table.name, rows, time.monotonic() - clock, findings)


def _findings(
    table: Table, suite: "ExpectationSuite", frame: "DataFrame | pd.DataFrame", values: dict[str, Any]
) -> list[Finding]:
    """The results of all expectations, in the suite's order."""
    batch = _batch(frame)
    # BASIC keeps the counts, which BOOLEAN_ONLY drops. Its zero sample rows cost nothing: Spark removes a `limit 0`.
    counts = {"result_format": "BASIC", "partial_unexpected_count": 0}
    for order, expectation in enumerate(suite.expectations):
        expectation.meta = {**(expectation.meta or {}), "order": order}
    results = batch.validate(suite, result_format=counts, expectation_parameters=values).results
    findings = [_finding(result) for result in sorted(results, key=_order)]  # they come back in no fixed order
    for order, finding in enumerate(findings):
        if not finding.success and finding.raised is None:
            sample = _sample(batch, suite.expectations[order], table, values)
            findings[order] = replace(finding, rows=sample)
    return findings


def audit(table: Table, frame: "DataFrame | pd.DataFrame", run: Run) -> Audit:
    """Run the table's suite on rows of a run, with the run's `parameters`; writes nothing.

    Args:
        table: whose rows they are.
        frame: the rows, as for `audit_frame`.
        run: the attempt that is about to write them.

    Raises:
        PipelineError: the table has no usable suite.
    """
    return audit_frame(table, frame, parameters(run))


def enforce(result: Audit, run: Run) -> None:
    """Write an audit to the interval's report folder, print its warnings, and stop the run if the audit failed.

    Raises:
        AuditFailed: a critical expectation failed or could not be evaluated. The message says which ones and shows
            their rows.
    """
    record(result, run, run.report_dir / "audits" / f"{result.table}.json")
    for finding in result.warnings:
        run.warn(f"{result.table}: {describe(finding)}")
    if result.failures:
        raise AuditFailed(_message(result, run))


def record(result: Audit, run: Run, path: Path) -> None:
    """Write an audit of a run to `path`, as the JSON that the run page reads."""
    about = {"job": run.job, "run_id": run.run_id, "start": str(run.start), "end": str(run.end)}
    findings = [{**asdict(finding), "critical": finding.critical} for finding in result.findings]
    content = {**about, "table": result.table, "rows": result.rows, "seconds": round(result.seconds, 3)}
    content |= {"failed": bool(result.failures), "findings": findings}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


def describe(finding: Finding) -> str:
    """One line: the expectation, its columns, the wanted and the observed values."""
    wanted = ", ".join(f"{key} {_short(value)}" for key, value in finding.wanted.items())
    text = f"{finding.kind} on {finding.on}" + (f" ({wanted})" if wanted else "")
    if finding.raised is not None:
        return f"{text}: could not be evaluated: {finding.raised}"
    found = f"observed {_short(finding.observed)}" if finding.unexpected is None else f"{finding.unexpected:,} rows"
    return f"{text}: {found}"


def _message(result: Audit, run: Run) -> str:
    lines = [
        f"{result.table} [{run.start}, {run.end}): {len(result.failures)} of {len(result.findings)} expectations "
        f"failed critically on {result.rows:,} staged rows; the table is unchanged",
        f"  report: {run.report_page}",
    ]
    for finding in result.failures:
        lines += [f"  {describe(finding)}", f"    why it matters: {finding.why}"]
        # As JSON: a hostile value cannot break out of its line.
        lines += [f"    row {json.dumps(row, ensure_ascii=True)}" for row in finding.rows]
    return "\n".join(lines)


def _batch(frame: "DataFrame | pd.DataFrame") -> "Batch":
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    sources = context.data_sources
    source = sources.add_spark("staged") if isinstance(frame, DataFrame) else sources.add_pandas("staged")
    asset = source.add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("interval").get_batch({"dataframe": frame})


def _order(result: "ExpectationValidationResult") -> int:
    assert result.expectation_config is not None
    return result.expectation_config.meta["order"]


def _finding(result: "ExpectationValidationResult") -> Finding:
    config = result.expectation_config
    assert config is not None
    wanted = {key: value for key, value in config.kwargs.items() if key not in ("batch_id", "ignore_row_if")}
    columns = [wanted.pop(key) for key in ("column", "column_A", "column_B") if key in wanted]
    columns += wanted.pop("column_list", [])
    seen = result.result
    by_query = config.type == "unexpected_rows_expectation"
    if by_query:
        wanted = {}
    observed = None if by_query else seen.get("observed_value")
    if observed is None and "missing_count" in seen and "unexpected_count" not in seen:  # of a set of wanted values
        observed = f"{seen['missing_count']} missing"
    return Finding(
        kind=config.type.removeprefix("expect_"),
        on=config.description or ", ".join(columns) or "the table",
        severity=str(getattr(config.severity, "value", config.severity)),
        why=config.meta["why"],
        success=bool(result.success),
        wanted=wanted,
        observed=observed,
        unexpected=seen.get("observed_value") if by_query else seen.get("unexpected_count"),
        raised=_raised(result.exception_info or {}),
    )


def _raised(info: dict[str, Any]) -> str | None:
    """The error's first line. Great Expectations reports one error flat, several under the ids of their metrics."""
    each = [info] if "raised_exception" in info else list(info.values())
    messages = [str(one["exception_message"]) for one in each if one.get("raised_exception")]
    return messages[0].strip().splitlines()[0] if messages else None


def _sample(batch: "Batch", expectation: Any, table: Table, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Keys and offending values of at most SAMPLE rows, sorted."""
    keys = list(table.key or ROW_IDS[table.name])
    # Only COMPLETE returns the rows of a query, and it bounds their number. For a column it would collect all rows.
    by_query = expectation.expectation_type == "unexpected_rows_expectation"
    detail: dict[str, Any] = {"result_format": "COMPLETE" if by_query else "SUMMARY"}
    detail |= {"partial_unexpected_count": SAMPLE, "unexpected_index_column_names": keys}
    seen = batch.validate(expectation, result_format=detail, expectation_parameters=values).to_json_dict()["result"]
    if by_query:
        rows = seen["details"]["unexpected_rows"]
    else:
        missing = [{"missing": value} for value in seen.get("partial_missing_list", [])]
        rows = seen.get("partial_unexpected_index_list", missing)
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows[:SAMPLE]]
    return sorted(plain, key=str)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else _short(value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"
