"""Seconds and rows of each week's attempts, and estimates for other weeks, from rows of the run ledger. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from intentrec.calendar import WEEK

REFUSED = ("outside", "late", "duplicates", "replaced", "quarantined")


@dataclass(frozen=True)
class Cost:
    """One attempt of a job over an interval that contains the week.

    Attributes:
        job: its name; `start`, `end`, `status`, `message` and `run_id` are the ledger's, too.
        seconds: how long it took, None while it is running.
        read: versions of the tables that it read.
        written: versions of the tables that it wrote.
        rows: rows of the interval after the attempt, by table.
        refused: raw rows that were not accepted, by outcome and by reason.
        airflow_task: the attempt of an Airflow task, where Airflow started the job.
    """

    job: str
    start: date
    end: date
    status: str
    seconds: float | None
    read: Mapping[str, int]
    written: Mapping[str, int]
    rows: Mapping[str, int]
    refused: Mapping[str, int]
    message: str | None
    run_id: str
    airflow_task: str | None


def of_week(ledger: Iterable[Mapping], week: date) -> list[Cost]:
    """Every attempt over the week that begins at `week`, in the order of their start."""
    return [
        Cost(
            row["job"],
            row["start"],
            row["end"],
            row["status"],
            row["seconds"],
            row["inputs"],
            row["outputs"],
            {table: rows for table in row["outputs"] if (rows := row["counts"].get(f"{table}.rows")) is not None},
            _refused(row["counts"]),
            row["message"],
            row["run_id"],
            row.get("airflow_task"),  # missing in a ledger that is older than this column
        )
        for row in sorted(ledger, key=lambda row: row["started_at"])
        if row["start"] <= week and week + WEEK <= row["end"]
    ]


def _refused(counts: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for name, count in counts.items():
        source, _, outcome = name.partition(".")
        if count and (outcome in REFUSED and source != "quarantine"):
            found[f"{source} {outcome}"] = count
        elif count and outcome.startswith("reason."):
            found[outcome.removeprefix("reason.")] = count
    return found


@dataclass(frozen=True)
class Estimate:
    """Seconds per job over all weeks; `unknown` names the jobs that never succeeded."""

    seconds: Mapping[str, float]
    unknown: Sequence[str]

    @property
    def minutes(self) -> float:
        """Minutes of all jobs with an estimate."""
        return sum(self.seconds.values()) / 60


def estimate(ledger: Iterable[Mapping], jobs: Sequence[str], weeks: int) -> Estimate:
    """Estimate the seconds that `jobs` need for `weeks` weekly intervals.

    The figure of a job is the median of its successful attempts over a single week, times `weeks`. Without such an
    attempt, attempts over several weeks count with their seconds per week; that is low, since they started only once.
    """
    rows = [row for row in ledger if row["status"] == "succeeded" and row["seconds"] is not None]
    seconds, unknown = {}, []
    for job in jobs:
        spans = [(row["seconds"], max(1, (row["end"] - row["start"]) / WEEK)) for row in rows if row["job"] == job]
        found = [took for took, span in spans if span == 1] or [took / span for took, span in spans]
        if found:
            seconds[job] = weeks * median(found)
        else:
            unknown.append(job)
    return Estimate(seconds, unknown)
