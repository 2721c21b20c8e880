"""What defines a simulated world, its calendar, and the keyed random streams everything is drawn from."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from hashlib import blake2b
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np

from intentrec.config import Domain, seconds
from intentrec.errors import PipelineError

World = Literal["null", "item-markov", "intent", "steady", "drift"]
WORLDS: tuple[World, ...] = get_args(World)
EVENT_TYPES = ("play", "list_add", "list_remove", "trailer", "search_play")
DAY = 86400
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Settings:
    """A world. Its rows depend on everything here but `users`, which only says how many users there are."""

    epoch: date
    seed: int = 7
    users: int = 1000
    titles: int = 1000
    world: World = "intent"
    zone: str = "America/Los_Angeles"
    day_start: time = time(4)
    session_gap_s: int = 1800
    lateness_s: int = 2 * DAY
    max_duration_s: int = 12 * 3600
    drift_week: int = 4
    dirt: float = 1.0

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise PipelineError(f"simulator: world {self.world!r} is none of {', '.join(WORLDS)}")
        if self.users < 1 or self.titles < 50:
            raise PipelineError(f"simulator: {self.users} users, {self.titles} titles; take at least 1 and 50")

    @classmethod
    def from_domain(cls, domain: Domain, **chosen: int | float | str) -> "Settings":
        """Settings that follow the calendar of a domain file; `chosen` are fields such as users or world.

        Raises:
            PipelineError: the domain does not know the events that the simulator writes.
        """
        missing = sorted(set(EVENT_TYPES) - set(domain.events.types))
        if missing:
            raise PipelineError(
                f"domain {domain.domain}: events.types lacks {', '.join(missing)}, which the simulator writes. "
                "Simulate a streaming domain such as conf/streaming.yaml."
            )
        calendar = domain.calendar
        return cls(
            epoch=calendar.history_start,
            zone=calendar.zone,
            day_start=calendar.day_start,
            session_gap_s=seconds(calendar.session_gap),
            lateness_s=seconds(calendar.lateness),
            max_duration_s=seconds(domain.events.max_duration),
            **chosen,  # type: ignore[arg-type]
        )

    def weeks(self, start: date, end: date) -> list[date]:
        """First days of the weeks in [start, end).

        Raises:
            PipelineError: the range is empty, begins before the world does, or is not whole weeks of it.
        """
        if not self.epoch <= start < end:
            raise PipelineError(f"simulator: {start}..{end} is empty or begins before history_start {self.epoch}")
        if (start - self.epoch) % WEEK or (end - self.epoch) % WEEK:
            raise PipelineError(f"simulator: {start}..{end} is not whole weeks counted from history_start {self.epoch}")
        return list(dates(start, end, 7))

    def moment(self, day: date, clock: time | None = None) -> int:
        """Unix seconds of a local time on `day`; without `clock`, of the service day's start."""
        return _moment(day, clock or self.day_start, self.zone)


@cache
def _moment(day: date, clock: time, zone: str) -> int:
    return int(datetime.combine(day, clock, ZoneInfo(zone)).timestamp())


def dates(start: date, end: date, step: int = 1) -> Iterator[date]:
    """Every `step`-th date of [start, end)."""
    while start < end:
        yield start
        start += timedelta(days=step)


def _digest(seed: int, parts: tuple, size: int) -> bytes:
    return blake2b("|".join(map(str, (seed, *parts))).encode(), digest_size=size).digest()


def vectors(seed: int, *parts: object) -> np.random.Generator:
    """A numpy stream of its own for (seed, parts)."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(seed, parts, 16), "big")))


def scalars(seed: int, *parts: object) -> random.Random:
    """A stream of single numbers for (seed, parts): ten times faster per number than numpy's."""
    return random.Random(int.from_bytes(_digest(seed, parts, 16), "big"))


def opaque(prefix: str, seed: int, *parts: object) -> str:
    """An id that carries no order: a prefix and 12 hex digits."""
    return prefix + _digest(seed, (prefix, *parts), 6).hex()
