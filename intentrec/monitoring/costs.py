"""What weeks cost, from the run ledger. Pure: rows in, figures out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from intentrec.monitoring.staleness import WEEK

REFUSED = ("outside", "late", "duplicates", "quarantined")


@dataclass(frozen=True)
class Cost:
    """One attempt of a job over an interval that contains the week."""

    job: str
    start: date
    end: date
    status: str
    seconds: float | None
    read: Mapping[str, int]  # table -> version
    written: Mapping[str, int]
    rows: Mapping[str, int]  # table -> rows that the interval holds after it
    refused: Mapping[str, int]  # outcome or reason -> raw rows
    message: str | None
    run_id: str
    airflow_task: str | None  # the attempt of a task that it was, where Airflow ran it


def of_week(ledger: Iterable[Mapping], week: date) -> list[Cost]:
    """Every attempt over the week that begins at `week`, in the order they began."""
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
            row.get("airflow_task"),  # a ledger may be older than the column
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
    """Seconds per job over all intervals; jobs that were never seen to succeed are named instead."""

    seconds: Mapping[str, float]
    unknown: Sequence[str]

    @property
    def minutes(self) -> float:
        """Of all jobs that are known."""
        return sum(self.seconds.values()) / 60


def estimate(ledger: Iterable[Mapping], jobs: Sequence[str], weeks: int) -> Estimate:
    """What `weeks` weekly runs of these jobs will take: of each the median of its successful attempts over a week.

    Where there were none over a single week, those over several count, with their seconds a week: they started once.
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
