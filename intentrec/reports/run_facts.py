"""What is known of one interval: attempts of its jobs, row counts, audits and the gate, from the ledger and the
report folder. Both the page and the text summary are made of this."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from intentrec.config import Domain, Profile
from intentrec.contracts import RUN_LEDGER, TABLES
from intentrec.sources.simulated import simulated
from intentrec.storage.runs import Run, ledger

# The weekly chain, and which job writes which table.
WRITES = {
    "ingest": ("engagement_events", "quarantine", "catalog"),
    "build_interactions": ("interactions", "title_state", "feature_profiles"),
    "build_sequences": ("sequences",),
    "train": (),
    "gate": (),
    "publish": ("user_intents", "recommendations", "item_vectors", "user_vectors", "releases"),
}
TREND = "trend.html"  # among the domain's report folders
DRIFT = "drift.json"  # in an interval's folder: what `reports.drift_audit` found, as an audit
OUTCOMES = ("outside", "late", "duplicates", "quarantined")
REASON = "quarantine.reason."


@dataclass(frozen=True)
class Attempt:
    """The latest attempt of a job over the interval, and how many there were."""

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
    """One table's audit as `quality.audit` wrote it, or why there is none."""

    table: str
    job: str
    result: dict[str, Any] | None
    note: str = ""

    def _findings(self, **wanted: bool) -> list[dict[str, Any]]:
        found = self.result["findings"] if self.result else []
        return [each for each in found if all(each[key] is value for key, value in wanted.items())]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Findings that stopped the commit."""
        return self._findings(critical=True)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """Findings that were committed all the same."""
        return self._findings(critical=False, success=False)

    @property
    def passed(self) -> list[dict[str, Any]]:
        """Expectations that were met."""
        return self._findings(success=True)


@dataclass(frozen=True)
class Facts:
    """Everything that a report of [start, end) shows."""

    domain: str
    start: date
    end: date
    jobs: list[Attempt]
    counts: dict[str, int]
    tables: list[TableAudit]
    gate: dict[str, Any] | None
    plots: list[Path]
    trend: str | None = None  # file name of the domain's trend page, where it was written
    simulated: bool = False

    @property
    def reasons(self) -> dict[str, int]:
        """Refused raw rows by reason, most frequent first. A row with two reasons counts for both."""
        found = {key.removeprefix(REASON): n for key, n in self.counts.items() if key.startswith(REASON) and n}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def unaccounted(self) -> int | None:
        """Raw events read minus all their outcomes: zero, or a fault of the pipeline. None before ingestion counted."""
        if "events.read" not in self.counts:
            return None
        outcomes = sum(self.counts.get(f"events.{outcome}", 0) for outcome in ("accepted", *OUTCOMES))
        return self.counts["events.read"] - outcomes

    @property
    def status(self) -> str:
        """failed, running, skipped, succeeded or unknown: the worst of the jobs."""
        states = {job.status for job in self.jobs}
        return next((state for state in ("failed", "running", "skipped", "succeeded") if state in states), "unknown")


def report_dir(profile: Profile, domain: Domain, start: date, end: date) -> Path:
    """Folder of the interval's audits, plots and page, the same as `Run.report_dir`."""
    return Path(profile.reports) / domain.domain / f"{start}_{end}"


def collect(profile: Profile, domain: Domain, start: date, end: date, live: Run | None = None) -> Facts:
    """Read the facts. `live` is an attempt still running in this process: its counts are not in the ledger yet."""
    folder = report_dir(profile, domain, start, end)
    audits = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((folder / "audits").glob("*.json"))}
    rows = [row for row in ledger(profile, domain) if (row["start"], row["end"]) == (start, end)]
    counts: dict[str, int] = {}
    jobs = []
    for job in [*WRITES, *sorted({row["job"] for row in rows} - {*WRITES, "report"})]:
        tries = [row for row in rows if row["job"] == job]
        if live is not None and live.job == job:
            mine = _live_row(live, audits)
            tries = [row for row in tries if row["run_id"] != live.run_id] + [mine]
        if tries:
            counts |= tries[-1]["counts"]
        if tries or job in WRITES:
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
        simulated=simulated(profile, domain),
    )


def _live_row(live: Run, audits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A ledger row of the attempt as it will read if nothing else happens."""
    failed = [name for name, audit in audits.items() if audit["run_id"] == live.run_id and audit["failed"]]
    return {
        "run_id": live.run_id,
        "status": "failed" if failed else "running",
        "message": f"critical expectations failed on {', '.join(failed)}: nothing of it was committed"
        if failed
        else None,
        "counts": live.counts,
        "config_hash": live.domain.hash,
        "code_version": "",
        "started_at": live.started,
        "seconds": None,
    }


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
        "running": f"not written yet: {job.job} is running",
        "succeeded": f"not audited by {job.job}",
    }
    return TableAudit(name, job.job, None, reasons.get(job.status, f"not written: {job.job} has not run"))


def _of_report(folder: Path, audits: dict[str, dict[str, Any]]) -> list[TableAudit]:
    """What the report job itself looked at: the ledger, and drift, which is shown as an audit though of no table."""
    drift = folder / DRIFT
    found = {RUN_LEDGER.name: audits.get(RUN_LEDGER.name)}
    found["drift"] = json.loads(drift.read_text("utf-8")) if drift.exists() else None
    return [TableAudit(name, "report", result) for name, result in found.items() if result is not None]
