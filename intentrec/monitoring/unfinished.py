"""Attempts that have not ended: those that run, and those that were killed and not made again. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from intentrec.storage.liveness import KILLED, where


@dataclass(frozen=True)
class Unfinished:
    """An attempt without an end; `about` says where its process is, or how it ended."""

    attempt: Mapping
    age: timedelta
    about: str

    @property
    def killed(self) -> bool:
        """Whether its process is gone."""
        return self.attempt["status"] == KILLED


def unfinished(ledger: Iterable[Mapping], now: datetime) -> list[Unfinished]:
    """Attempts that run, and killed ones whose interval no later attempt of the job has covered.

    Args:
        ledger: as `storage.runs.ledger` returns it, oldest attempt first.
        now: the time (aware).
    """
    found: list[Unfinished] = []
    for row in ledger:
        if row["status"] == "succeeded":
            found = [each for each in found if not (each.killed and _covers(row, each.attempt))]
        elif row["status"] in ("running", KILLED):
            about = row["message"] if row["status"] == KILLED else where(row)
            found.append(Unfinished(row, now - row["started_at"], about))
    return found


def _covers(later: Mapping, earlier: Mapping) -> bool:
    inside = later["start"] <= earlier["start"] and earlier["end"] <= later["end"]
    return later["job"] == earlier["job"] and inside
