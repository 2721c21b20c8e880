"""A run, which is one attempt of one job, and its row in the run ledger.

Jobs write the ledger through `intentrec.storage.delta`, without Spark: training and gate do not need Spark otherwise,
and a session takes seconds to start.
"""

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from intentrec import logging
from intentrec.config import Domain, Profile, checkout, load_domain, load_profile
from intentrec.contracts import RUN_LEDGER
from intentrec.errors import PipelineError, Skip
from intentrec.job_settings import settings_hashes
from intentrec.storage import delta, liveness

MAX_TRIES = 20  # of writing a row of the ledger while other runs write theirs; a try takes milliseconds
REPORT_PAGE = "report.html"  # the run page, in the report folder of its interval


@dataclass
class Run:
    """An attempt of a job over the service dates [start, end).

    Attributes:
        job: name of the job.
        start: first service date.
        end: service date after the last.
        domain: the domain file.
        profile: the runtime profile.
        run_id: id of the attempt.
        inputs: table -> version that was read.
        outputs: table -> version after the write.
        counts: what was counted, as TABLE_OR_STEP.what.
        delivery: what an ingestion read, see `intentrec.sources.delivery`; empty for other jobs.
        note: what a person decided; it becomes the attempt's message.
        started: when it began.
        clock: monotonic clock at the same moment, for durations.
    """

    job: str
    start: date
    end: date
    domain: Domain
    profile: Profile
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    delivery: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.monotonic)

    @property
    def warehouse(self) -> str:
        """Root of the domain's tables."""
        return delta.warehouse_of(self.profile, self.domain)

    @property
    def report_dir(self) -> Path:
        """Report folder of the interval."""
        return report_dir(self.profile, self.domain, self.start, self.end)

    @property
    def report_page(self) -> Path:
        """Path of the interval's run page, which is written when a job of the interval ends."""
        return self.report_dir / REPORT_PAGE

    def say(self, message: str) -> None:
        """Print a line of progress."""
        self.log.write(message)

    def warn(self, message: str) -> None:
        """Print a warning."""
        self.log.write(message, logging.WARNING)

    @property
    def log(self) -> logging.JobLog:
        """The log that the run's lines go to."""
        return logging.JobLog(self.job, self.start, self.end, self.run_id)


# Files that `code_version` looks at. Pages are left out, because a study writes pages.
CODE = ("intentrec", "jobs", "dags", "conf", "expectations", "pyproject.toml", "requirements.lock")


def report_dir(profile: Profile, domain: Domain, start: date, end: date) -> Path:
    """Folder of the audits, plots and run page of [start, end), written or not."""
    return Path(profile.reports) / domain.domain / f"{start}_{end}"


def write_text(path: Path, text: str) -> Path:
    """Write a text file so that a concurrent reader sees the old content or the new; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


@cache
def code_version() -> str:
    """The version of the code, for the ledger.

    In a checkout it is the commit, with a `+` where code or settings differ from it or are new. In an installed
    package, and without git, it is the package's version.
    """

    def git(*arguments: str) -> str:
        found = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        return found.stdout.strip()

    folder = checkout()
    commit = git("describe", "--always", "--abbrev=12") if folder and shutil.which("git") else ""
    if commit:
        return commit + "+" * bool(git("status", "--porcelain", "--", *CODE))
    try:
        return version("intentrec")
    except PackageNotFoundError:  # the sources were copied, not installed
        return "unknown"


def _record(run: Run, status: str, message: str | None = None) -> None:
    """Write the attempt's row into the ledger."""
    row = {
        "run_id": run.run_id,
        "job": run.job,
        "start": run.start,
        "end": run.end,
        "status": status,
        "message": message,
        "inputs": list(run.inputs.items()),
        "outputs": list(run.outputs.items()),
        "counts": list(run.counts.items()),
        "config_hash": run.domain.hash,
        "code_version": code_version(),
        "started_at": run.started,
        "seconds": None if status == "running" else time.monotonic() - run.clock,
        "airflow_task": logging.airflow_task(),
        "delivery": list(run.delivery.items()) or None,
        **liveness.this_process(),
        "settings": list(settings_hashes(run.domain, run.job).items()),
    }
    rows = pa.Table.from_pylist([row], schema=delta.arrow_schema(RUN_LEDGER))
    try:
        _write(run.warehouse, rows, run.run_id, first=status == "running")
    except delta.WriteConflict as error:
        raise PipelineError(
            f"{run.warehouse}/{RUN_LEDGER.name}: other runs wrote at the same time in {MAX_TRIES} tries, so the row "
            f"of this run ({status}) is not written: run it again. ({error})"
        ) from error


@retry(
    retry=retry_if_exception_type(delta.WriteConflict),
    stop=stop_after_attempt(MAX_TRIES),
    wait=wait_random(0.05, 0.5),
    reraise=True,
)
def _write(warehouse: str, row: pa.Table, run_id: str, first: bool) -> None:
    """Add an attempt's first row, or replace it.

    Each attempt writes only its own row. But Delta detects conflicts by file, so it refuses two writes at once.
    """
    if first:
        delta.append(warehouse, RUN_LEDGER, row)
    else:
        delta.replace_where(warehouse, RUN_LEDGER, row, f"run_id = '{run_id}'")


def ledger(profile: Profile, domain: Domain) -> list[dict]:
    """The rows of the ledger, oldest attempt first, with maps as dictionaries; none if the table does not exist.

    An attempt whose process is gone, but which recorded no end, has the status `killed` here.
    """
    rows, now = _ledger(profile, domain), datetime.now(UTC)
    if any(row["status"] == "running" and liveness.cause_of_death(row, now) for row in rows):
        rows = _ledger(profile, domain)  # perhaps it recorded its end just before its process ended
    for row in rows:
        if row["status"] == "running" and (cause := liveness.cause_of_death(row, now)):
            row |= {"status": liveness.KILLED, "message": cause}
    return sorted(rows, key=lambda row: row["started_at"])


def _ledger(profile: Profile, domain: Domain) -> list[dict]:
    warehouse = delta.warehouse_of(profile, domain)
    if not delta.exists(warehouse, RUN_LEDGER):
        return []
    rows = delta.Snapshot(warehouse, RUN_LEDGER).rows().to_pylist()
    for row in rows:
        row.update({key: dict(row[key]) for key in ("inputs", "outputs", "counts")})
        for key in ("delivery", "settings"):
            row[key] = dict(row.get(key) or ())  # missing in a ledger that is older than this column
    return rows


@contextmanager
def attempt(job: str, start: date, end: date, config: Path, profile: Path | None = None) -> Iterator[Run]:
    """Open an attempt of a job over the service dates [start, end), and record how it ends.

    Args:
        job: its name in the ledger.
        start: first service date.
        end: service date after the last.
        config: the domain file.
        profile: the profile file; None for the default.

    Raises:
        PipelineError: the interval is empty or a file cannot be read. Then nothing is recorded.

    Any error of the body is recorded and raised again.
    """
    domain = load_domain(config)
    if end <= start:
        raise PipelineError(f"--end {end} is not after --start {start}: the interval is [start, end)")
    run = Run(job, start, end, domain, load_profile(profile))
    _record(run, "running")
    run.say(f"started, domain {domain.domain}, code {code_version()}, run {run.run_id}")
    try:
        yield run
    except Skip as skip:
        _record(run, "skipped", str(skip))
        run.say(f"skipped: {skip}")
        raise
    except BaseException as error:
        _record(run, "failed", f"{type(error).__name__}: {error}"[:2000])
        raise
    _record(run, "succeeded", run.note)
    counts = ", ".join(f"{key} {value:,}" for key, value in run.counts.items())
    run.say(f"succeeded in {time.monotonic() - run.clock:.1f} s; {counts or 'nothing counted'}")
