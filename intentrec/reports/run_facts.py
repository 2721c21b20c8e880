"""The facts of one interval: attempts of its jobs, row counts, audits and the gate.

They come from the run ledger and the interval's report folder. The run page and the text summary show them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from intentrec.calendar import weeks_between
from intentrec.config import Domain, Profile
from intentrec.contracts import RUN_LEDGER, TABLES
from intentrec.monitoring.costs import REFUSED
from intentrec.monitoring.drift import DRIFT_FILE
from intentrec.monitoring.staleness import WRITES
from intentrec.monitoring.weeks import REASON
from intentrec.sources.delivery import provenance, simulated_before
from intentrec.storage.runs import ledger, report_dir

BROKEN = ("failed", "killed")  # a status that needs attention
TREND = "trend.html"  # beside the domain's report folders


@dataclass(frozen=True)
class Attempt:
    """The latest attempt of a job over the interval. `number` counts all attempts, 0 where the job did not run."""

    job: str
    status: str
    message: str | None = None
    seconds: float | None = None
    started: str = ""
    run_id: str = ""
    code: str = ""
    config: str = ""
    number: int = 0


@dataclass(frozen=True)
class TableAudit:
    """One table's audit, as `storage.audit` wrote it. Without one, `result` is None and `note` says why."""

    table: str
    job: str
    result: dict[str, Any] | None
    note: str = ""

    def _findings(self, **wanted: bool) -> list[dict[str, Any]]:
        found = self.result["findings"] if self.result else []
        return [each for each in found if all(each[key] is value for key, value in wanted.items())]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Failed expectations that stopped the commit."""
        return self._findings(critical=True)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """Failed expectations that did not stop the commit."""
        return self._findings(critical=False, success=False)

    @property
    def passed(self) -> list[dict[str, Any]]:
        """Expectations that were met."""
        return self._findings(success=True)


@dataclass(frozen=True)
class Facts:
    """Everything that the run page of [start, end) shows.

    Attributes:
        domain: its name.
        start: first service date.
        end: service date after the last.
        jobs: latest attempts, in the order of the weekly chain, then other jobs by name.
        counts: counts of these attempts, together.
        tables: audits, in the order of `contracts.TABLES`, then those of the report job.
        gate: the content of gate.json, None before the gate decided.
        plots: PNG files.
        trend: file name of the domain's trend page, None where it was not written.
        delivery: what the latest ingestion read, see `intentrec.sources.delivery`; empty where none is known.
        provenance: a sentence about simulated data; empty where the rows are real.
    """

    domain: str
    start: date
    end: date
    jobs: list[Attempt]
    counts: dict[str, int]
    tables: list[TableAudit]
    gate: dict[str, Any] | None
    plots: list[Path]
    trend: str | None = None
    delivery: Mapping[str, str] = field(default_factory=dict)
    provenance: str = ""

    @property
    def reasons(self) -> dict[str, int]:
        """Quarantined rows by reason, the most frequent first. A row with two reasons counts for both."""
        found = {key.removeprefix(REASON): n for key, n in self.counts.items() if key.startswith(REASON) and n}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def unaccounted(self) -> int | None:
        """Raw events read minus the sum of all outcomes; anything but 0 is a fault. None before ingestion counted."""
        if "events.read" not in self.counts:
            return None
        outcomes = sum(self.counts.get(f"events.{outcome}", 0) for outcome in ("accepted", *REFUSED))
        return self.counts["events.read"] - outcomes

    @property
    def status(self) -> str:
        """The worst status of the jobs, from bad to good: failed, killed, running, skipped, succeeded; else unknown."""
        states = {job.status for job in self.jobs}
        order = *BROKEN, "running", "skipped", "succeeded"
        return next((state for state in order if state in states), "unknown")


def collect(profile: Profile, domain: Domain, start: date, end: date) -> Facts:
    """Read the facts, at any moment: also while a job runs, when the ledger does not hold its counts yet."""
    folder = report_dir(profile, domain, start, end)
    audits = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((folder / "audits").glob("*.json"))}
    attempts = ledger(profile, domain)
    rows = [row for row in attempts if (row["start"], row["end"]) == (start, end)]
    counts: dict[str, int] = {}
    jobs = []
    for job in [*WRITES, *sorted({row["job"] for row in rows} - {*WRITES, "report"})]:
        tries = [row for row in rows if row["job"] == job]
        ranged = _ranged(attempts, job, start, end, tries)
        if tries and not ranged:
            counts |= tries[-1]["counts"]
        if ranged:
            about = f"over the weeks of [{ranged['start']}, {ranged['end']}): see the report of that interval"
            jobs.append(_attempt(job, [ranged | {"message": about}]))
        elif tries or job in WRITES:
            jobs.append(_attempt(job, tries))
    gate = folder / "gate.json"
    return Facts(
        domain=domain.domain,
        start=start,
        end=end,
        jobs=jobs,
        counts=counts,
        tables=_tables(jobs, audits) + _of_report(folder, audits),
        gate=json.loads(gate.read_text("utf-8")) if gate.exists() else None,
        plots=sorted((folder / "plots").glob("*.png")),
        trend=TREND if (folder.parent / TREND).exists() else None,
        delivery=next((row["delivery"] for row in reversed(rows) if row["job"] == "ingest"), {}),
        provenance=_provenance(attempts, start, end, domain),
    )


def _provenance(attempts: list[dict[str, Any]], start: date, end: date, domain: Domain) -> str:
    """About the rows of the interval; if they are real, about the earlier weeks that its predictions rest on."""
    own = provenance(attempts, weeks_between(start, end))
    rests = not own and simulated_before(attempts, start, domain)
    return "Its predictions rest on simulated data of earlier weeks." if rests else own


def _ranged(
    attempts: list[dict[str, Any]], job: str, start: date, end: date, own: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """The latest successful attempt of a job over a longer interval; None if the week's own attempts came after it."""
    found = [
        row
        for row in attempts
        if (row["job"], row["status"]) == (job, "succeeded")
        and row["start"] <= start
        and end <= row["end"]
        and (row["start"], row["end"]) != (start, end)
    ]
    if not found or (own and own[-1]["started_at"] > found[-1]["started_at"]):
        return None
    return found[-1]


def _attempt(job: str, tries: list[dict[str, Any]]) -> Attempt:
    if not tries:
        return Attempt(job, "not run")
    last = tries[-1]
    return Attempt(
        job=job,
        status=last["status"],
        message=last["message"],
        seconds=last["seconds"],
        started=last["started_at"].strftime("%Y-%m-%d %H:%M:%S UTC"),
        run_id=last["run_id"],
        code=last["code_version"],
        config=last["config_hash"],
        number=len(tries),
    )


def _tables(jobs: list[Attempt], audits: dict[str, dict[str, Any]]) -> list[TableAudit]:
    writer = {table: job for job in jobs for table in WRITES.get(job.job, ())}
    return [_table(name, writer[name], audits.get(name)) for name in TABLES if name in writer]


def _table(name: str, job: Attempt, result: dict[str, Any] | None) -> TableAudit:
    if result is not None:
        earlier = bool(job.run_id) and result["run_id"] != job.run_id
        note = f"audited by an earlier attempt; the latest {job.job} {job.status} before it" if earlier else ""
        return TableAudit(name, job.job, result, note)
    reasons = {
        "skipped": f"skipped: {job.message or 'no reason given'}",
        "failed": f"not written: {job.job} failed before it",
        "killed": f"not written: {job.job} was killed before it",
        "running": f"not written yet: {job.job} is running",
        "succeeded": f"not audited by {job.job}",
    }
    return TableAudit(name, job.job, None, reasons.get(job.status, f"not written: {job.job} has not run"))


def _of_report(folder: Path, audits: dict[str, dict[str, Any]]) -> list[TableAudit]:
    """The audits of the report job: the ledger, and drift, which is shown like the audit of a table."""
    drift = folder / DRIFT_FILE
    found = {RUN_LEDGER.name: audits.get(RUN_LEDGER.name)}
    found["drift"] = json.loads(drift.read_text("utf-8")) if drift.exists() else None
    return [TableAudit(name, "report", result) for name, result in found.items() if result is not None]
