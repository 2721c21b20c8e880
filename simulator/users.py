"""Users: their constant traits, the times of their sessions, and their changing state."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from typing import NamedTuple

import numpy as np

from intentrec.calendar import WEEK
from simulator.catalogue import GENRES, KIDS_GENRES, Title, View
from simulator.intents import BASE, INTENTS, KIDS_BASE
from simulator.settings import DAY_S, Settings, opaque_id, scalar_stream, vector_stream

DEVICES = ("tv", "mobile", "tablet", "web")
_DAYS = (1.0, 1.0, 1.0, 1.05, 1.3, 1.5, 1.35)  # relative number of sessions, Monday to Sunday
_BLOCK = 9  # weeks; in some of these blocks a user is away for five
_AWAY = 0.09  # chance of a block with weeks away
_IDLE = 0.12  # chance of a week without sessions


@dataclass(frozen=True)
class User:
    """A profile and its constant traits."""

    index: int
    user_id: str
    account_id: str
    kids: bool
    activity: float  # sessions in an ordinary week
    hour: float  # centre of the usual sessions, hours after the start of the service day
    spread: float  # standard deviation of the hour
    binge: float  # chance to go on with the next episode, before the intent's factor
    patience: float  # chance to watch something to its end, before corrections
    lists: float  # how readily the list is used, 1 on average
    searches: float  # how readily the search is used, 1 on average
    devices: tuple[float, ...]  # share of each device
    taste: np.ndarray  # per genre, log scale
    habit: np.ndarray  # share of each intent
    inertia: float  # weight of the intent chain right after a session


class Slot(NamedTuple):
    """A planned session: earliest start, the moment by which it must be over, hours since the service day began."""

    start: int
    limit: int
    hour: float


@dataclass
class Progress:
    """How far a user is with a title: the last episode, the position in it (seconds), and the time of the last play."""

    episode: int
    position: int
    finished: bool
    last: int
    plays: int = 1


def population(settings: Settings) -> list[User]:
    """The first `settings.users` profiles, account after account: a larger world begins with the same users."""
    users: list[User] = []
    for account in count():
        rng = vector_stream(settings.seed, "account", account)
        size = 1 + int(rng.choice(4, p=[0.42, 0.3, 0.18, 0.1]))
        for place in range(size):
            if len(users) == settings.users:
                return users
            account_id = opaque_id("a", settings.seed, account)
            users.append(_user(settings, len(users), account_id, place >= 2))
    raise AssertionError("unreachable")


def _user(settings: Settings, index: int, account_id: str, may_be_child: bool) -> User:
    rng = vector_stream(settings.seed, "user", index)
    kids = may_be_child and bool(rng.random() < 0.6)
    # The order of these draws defines the world.
    return User(
        index=index,
        user_id=opaque_id("u", settings.seed, index),
        account_id=account_id,
        kids=kids,
        activity=float(np.clip(rng.lognormal(np.log(4.4), 0.55), 0.5, 14)),
        hour=float(rng.normal(12.5, 1.0) if kids else rng.normal(16.3, 1.6)),
        spread=float(rng.uniform(0.7, 2.2)),
        binge=float(np.clip(rng.normal(0.5, 0.14), 0.1, 0.8)),
        patience=float(np.clip(rng.normal(0.8, 0.08), 0.5, 0.95)),
        lists=float(rng.gamma(1.5, 1 / 1.5)),
        searches=float(rng.gamma(1.5, 1 / 1.5)),
        devices=tuple(rng.dirichlet([0.8, 0.8, 2.0, 0.3] if kids else [2.2, 1.1, 0.4, 0.6])),
        taste=_taste(rng, kids),
        habit=_habit(rng, kids),
        inertia=float(rng.uniform(0.75, 0.95)),
    )


def _taste(rng: np.random.Generator, kids: bool) -> np.ndarray:
    taste = rng.normal(0, 0.7, len(GENRES))
    taste[rng.choice(len(GENRES), size=3, replace=False)] += 2.2
    taste[KIDS_GENRES] += 3.0 if kids else -1.0
    return taste - taste.mean()


def _habit(rng: np.random.Generator, kids: bool) -> np.ndarray:
    habit = rng.dirichlet((KIDS_BASE if kids else BASE) * 7)
    assert len(habit) == len(INTENTS)
    return habit


def plan_sessions(settings: Settings, user: User, week: date) -> list[Slot]:
    """Planned sessions of a week, in order; none in a week away. Each ends before its service day ends."""
    index = (week - settings.epoch) // WEEK
    block = scalar_stream(settings.seed, "away", user.index, index // _BLOCK)
    leaves = block.randint(1, 3)
    if block.random() < _AWAY and leaves <= index % _BLOCK < leaves + 5:
        return []
    rnd = scalar_stream(settings.seed, "plan", user.index, week)
    if rnd.random() < _IDLE:
        return []
    slots = []
    left = user.activity * rnd.uniform(0.6, 1.4)
    # A Poisson process: exponential steps until the expected number of sessions is used up.
    while (left := left - rnd.expovariate(1.0)) > 0:
        day = week + timedelta(days=rnd.choices(range(7), _DAYS)[0])
        usual = rnd.random() < 0.75
        hour = rnd.gauss(user.hour, user.spread) if usual else rnd.uniform(3.0, 17.0)
        hour = min(max(hour, 0.3), 22.5)
        start = settings.moment(day)
        slots.append(Slot(start + int(hour * 3600), settings.moment(day + timedelta(days=1)) - 120, hour))
    return sorted(slots)


class Viewer:
    """The changing state of a user. It begins with plays before the first week, from `view`, that week's catalogue.

    Attributes:
        progress: title index -> how far the user is with it.
        listed: title index -> when it was put on the list.
        touched: titles with any event.
        genres: genres of the touched titles.
        intent: intent of the last session.
        mood: the genre that the user is in the mood for.
        end: end of the last session, Unix seconds.
    """

    def __init__(self, user: User, settings: Settings, view: View) -> None:
        self.user = user
        self.progress: dict[int, Progress] = {}
        self.listed: dict[int, int] = {}
        self.touched: set[int] = set()
        self.genres: set[int] = set()
        self.intent: int | None = None
        self.mood: int | None = None
        epoch = settings.moment(settings.epoch)
        self.end = epoch - DAY_S
        self._add_past(vector_stream(settings.seed, "past", user.index), epoch, view)

    def _add_past(self, rng: np.random.Generator, epoch: int, view: View) -> None:
        """Add titles that the user played before the data begin, finished or not."""
        appeal = np.exp(view.popularity + view.genre_mix @ self.user.taste)
        appeal[(view.first > epoch - DAY_S) | (view.last < epoch)] = 0.0
        size = min(int((appeal > 0).sum()), int(rng.integers(3, 10)))
        for number in rng.choice(len(appeal), size=size, replace=False, p=appeal / appeal.sum()):
            title = view.titles[int(number)]
            last = max(title.first, epoch - int(rng.uniform(1, 50) * DAY_S))
            episode = int(rng.integers(0, title.episodes_at(last)))
            finished = bool(rng.random() < 0.7)
            share = 1.0 if finished else rng.uniform(0.1, 0.8)
            position = int(title.runtimes[episode] * share)
            self.progress[title.index] = Progress(episode, position, finished, last)

    def touch(self, title: Title) -> None:
        """Note an event of any type with a title: the user now knows it and its genres."""
        self.touched.add(title.index)
        self.genres.update(title.genres)

    def note_play(self, title: Title, episode: int, position: int, now: int) -> None:
        """Note that a play ended at `position` of an episode."""
        finished = position >= 0.9 * title.runtimes[episode]
        before = self.progress.get(title.index)
        plays = 1 if before is None else before.plays + 1
        self.progress[title.index] = Progress(episode, position, finished, now, plays)

    def resumable(self, titles: list[Title], show: bool, now: int) -> Iterator[tuple[int, float]]:
        """Shows or films (`show`) that the user can resume at `now`: title index, and days since the last play."""
        for index, progress in self.progress.items():
            title = titles[index]
            days = (now - progress.last) / DAY_S
            if title.show != show or days > 45 or not title.first <= now < title.last:
                continue
            if not progress.finished or progress.episode + 1 < title.episodes_at(now):
                yield index, days
