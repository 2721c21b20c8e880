"""Settings of a simulated world, its calendar, and its keyed random streams."""

import random
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from hashlib import blake2b
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np

from intentrec.calendar import WEEK, weeks_between
from intentrec.config import ConfigError, Domain, seconds

World = Literal["intent", "null"]
WORLDS: tuple[World, ...] = get_args(World)
EVENT_TYPES = ("play", "list_add", "list_remove", "trailer", "search_play")
DAY_S = 86400  # seconds


@dataclass(frozen=True)
class Settings:
    """A world. Each row depends on every field except `users`, which sets only the number of users.

    Attributes:
        epoch: first service date of the first week.
        seed: of all random streams.
        users: number of users.
        titles: size of the back catalogue.
        world: "intent", or "null" for a service in which popularity alone matters.
        zone: time zone of the service.
        day_start: local time at which a service day begins.
        session_gap_s: a session ends after so many seconds without an event.
        lateness_s: rows that arrive more seconds after the end of their week are too late.
        max_duration_s: longest duration that the domain accepts; it is only recorded in the manifest.
        dirt: factor of the share of dirty rows.
    """

    epoch: date
    seed: int = 7
    users: int = 1000
    titles: int = 1000
    world: World = "intent"
    zone: str = "America/Los_Angeles"
    day_start: time = time(4)
    session_gap_s: int = 1800
    lateness_s: int = 2 * DAY_S
    max_duration_s: int = 12 * 3600
    dirt: float = 1.0

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise ConfigError(f"simulator: world {self.world!r} is none of {', '.join(WORLDS)}")
        if self.users < 1 or self.titles < 50:
            raise ConfigError(f"simulator: {self.users} users, {self.titles} titles; take at least 1 and 50")

    @classmethod
    def from_domain(cls, domain: Domain, **chosen: int | float | str) -> "Settings":
        """Settings that follow the calendar of a domain file; `chosen` are fields such as users or world.

        Raises:
            ConfigError: the domain does not know the events that the simulator writes, or a field is out of range.
        """
        missing = sorted(set(EVENT_TYPES) - set(domain.events.types))
        if missing:
            raise ConfigError(
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
        """First service dates of the weeks in [start, end).

        Raises:
            ConfigError: the range is empty, begins before the epoch, or is not whole weeks counted from the epoch.
        """
        if not self.epoch <= start < end:
            raise ConfigError(f"simulator: {start}..{end} is empty or begins before history_start {self.epoch}")
        if (start - self.epoch) % WEEK or (end - self.epoch) % WEEK:
            raise ConfigError(f"simulator: {start}..{end} is not whole weeks counted from history_start {self.epoch}")
        return weeks_between(start, end)

    def moment(self, day: date, clock: time | None = None) -> int:
        """Unix seconds of a local time on `day`; without `clock`, of the start of the service day."""
        return _moment(day, clock or self.day_start, self.zone)


@cache
def _moment(day: date, clock: time, zone: str) -> int:
    return int(datetime.combine(day, clock, ZoneInfo(zone)).timestamp())


def _digest(seed: int, parts: tuple, size: int) -> bytes:
    return blake2b("|".join(map(str, (seed, *parts))).encode(), digest_size=size).digest()


def vector_stream(seed: int, *key: object) -> np.random.Generator:
    """A numpy generator of its own for (seed, key)."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(seed, key, 16), "big")))


def scalar_stream(seed: int, *key: object) -> random.Random:
    """A generator of single numbers for (seed, key). It is ten times faster per number than numpy's."""
    return random.Random(int.from_bytes(_digest(seed, key, 16), "big"))


def opaque_id(prefix: str, seed: int, *key: object) -> str:
    """An id that carries no order: a prefix and 12 hex digits."""
    return prefix + _digest(seed, (prefix, *key), 6).hex()
