"""What a user carries from session to session: progress in titles, the list, the last intent, the mood of the week."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.catalogue import Title, View
from simulator.people import Traits, User
from simulator.settings import DAY, Settings, vectors


class Event(NamedTuple):
    """Something a user did, as it truly happened. `title` and `episode` are indices into the catalogue."""

    start: int
    duration: int
    title: int
    episode: int
    type: str
    position: int | None
    surface: str
    device: str
    session: int
    intent: int
    rank_intent: int | None  # rank of the title for an oracle that knows the session's intent; None: not a choice
    rank_state: int | None  # rank for one that knows everything before the session, hence the intent's distribution


class Session(NamedTuple):
    """A session and the intent behind it; `switched_to` is the second intent where it changed midway."""

    number: int
    start: int
    end: int
    intent: int
    switched_to: int | None
    mood: int


@dataclass
class Progress:
    """How far a user is with a title."""

    episode: int
    position: int
    finished: bool
    last: int
    plays: int = 1


class Viewer:
    """The changing part of a user; `view` is that of the world's first week."""

    def __init__(self, user: User, settings: Settings, view: View) -> None:
        rng = vectors(settings.seed, "past", user.index)
        self.user = user
        self.traits: Traits = user.phases[0]
        self.progress: dict[int, Progress] = {}
        self.listed: dict[int, int] = {}
        self.touched: set[int] = set()
        self.genres: set[int] = set()
        self.intent: int | None = None
        self.mood: int | None = None
        self.previous: int | None = None  # the item-markov world's whole memory
        self.end = settings.moment(settings.epoch) - DAY
        self._remember(rng, settings.moment(settings.epoch), view)

    def _remember(self, rng: np.random.Generator, epoch: int, view: View) -> None:
        """A life before the data begin: shows under way and titles seen, so that nobody starts from nothing."""
        appeal = np.exp(view.popularity + view.mix @ self.traits.taste)
        appeal[(view.first > epoch - DAY) | (view.last < epoch)] = 0.0
        size = min(int((appeal > 0).sum()), int(rng.integers(3, 10)))
        for number in rng.choice(len(appeal), size=size, replace=False, p=appeal / appeal.sum()):
            title = view.titles[int(number)]
            last = max(title.first, epoch - int(rng.uniform(1, 50) * DAY))
            episode = int(rng.integers(0, title.episodes_at(last)))
            finished = bool(rng.random() < 0.7)
            share = 1.0 if finished else rng.uniform(0.1, 0.8)
            position = int(title.runtimes[episode] * share)
            self.progress[title.index] = Progress(episode, position, finished, last)

    def touch(self, title: Title) -> None:
        """Any event with a title makes it and its genres known to the user."""
        self.touched.add(title.index)
        self.genres.update(title.genres)

    def watched(self, title: Title, episode: int, position: int, now: int) -> None:
        """A play ended at `position` of an episode."""
        finished = position >= 0.9 * title.runtimes[episode]
        before = self.progress.get(title.index)
        plays = 1 if before is None else before.plays + 1
        self.progress[title.index] = Progress(episode, position, finished, now, plays)

    def resumable(self, titles: list[Title], show: bool, now: int) -> Iterator[tuple[int, float]]:
        """Titles under way (shows or films) that can go on now, with the days since they were last played."""
        for index, progress in self.progress.items():
            title = titles[index]
            days = (now - progress.last) / DAY
            if title.show != show or days > 45 or not title.first <= now < title.last:
                continue
            if not progress.finished or progress.episode + 1 < title.episodes_at(now):
                yield index, days
