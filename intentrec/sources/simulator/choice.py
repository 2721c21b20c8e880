"""Which title a session's intent picks: from a slate that the service shows, by what the user wants of it.

A title's score has two halves, log scale: how likely it is shown (popularity, some taste, fit to the intent) and how
much it is wanted once shown (taste, fit). Their sum ranks titles for the oracle.
"""

from typing import NamedTuple

import numpy as np

from intentrec.sources.simulator import intents
from intentrec.sources.simulator.catalogue import View
from intentrec.sources.simulator.viewer import Viewer

SLATE = 40


class Pick(NamedTuple):
    """The chosen title, its rank by true score, and what else was on the slate, most exposed first."""

    title: int
    rank: int
    slate: list[int]


class Candidates(NamedTuple):
    """Titles that may be chosen and both halves of their scores."""

    titles: np.ndarray
    shown: np.ndarray
    wanted: np.ndarray


class Chooser:
    """Scores of one user in one week."""

    def __init__(self, viewer: Viewer, view: View) -> None:
        self.viewer = viewer
        self.view = view
        taste = view.mix @ viewer.traits.taste
        self.shown = view.popularity + 0.6 * taste
        self.taste = taste
        self.wanted = 0.6 * view.popularity + 1.2 * taste
        self.seen = np.zeros(len(view.titles))
        self.seen[[*viewer.touched, *viewer.progress]] = 1.0

    def _fit(self, intent: int) -> np.ndarray:
        """How well each title serves an intent that looks for something in the whole catalogue."""
        view = self.view
        if intent == intents.GENRE_MOOD:
            assert self.viewer.mood is not None
            return 2.8 * view.has[:, self.viewer.mood] - 1.6 * self.seen
        if intent == intents.NEW_RELEASE:
            return 3.0 * np.exp(-view.age / 12) - 2.0 * (view.age > 60) - 1.6 * self.seen
        if intent == intents.EXPLORE:
            known = view.has[:, list(self.viewer.genres)].sum(axis=1) > 0
            return 2.5 * ~known - 0.8 * self.taste - 2.0 * self.seen
        if intent == intents.KIDS:
            return 4.0 * view.kids - 0.3 * self.seen
        assert intent == intents.BACKGROUND
        return 1.8 * view.light + 0.8 * view.show + 0.8 * self.seen

    def candidates(self, intent: int, now: int, until: int | None = None) -> Candidates:
        """Titles for an intent that are available at `now` (or come before `until`); none where it cannot be served."""
        if intent in (intents.CONTINUE, intents.FINISH_FILM, intents.COMFORT):
            return self._own(intent, now)
        available = (self.view.first < (until or now + 1)) & (now < self.view.last)
        titles = available.nonzero()[0]
        fit = self._fit(intent)[titles]
        return Candidates(titles, self.shown[titles] + fit, self.wanted[titles] + 0.5 * fit)

    def _own(self, intent: int, now: int) -> Candidates:
        """Titles of the user's own past that serve an intent."""
        titles = self.view.titles
        if intent == intents.COMFORT:
            odds: list[tuple[int, float]] = []
            for index, progress in self.viewer.progress.items():
                days = (now - progress.last) / 86400
                if titles[index].first <= now < titles[index].last and (progress.finished or progress.plays > 1):
                    longing = 3.0 if days > 30 else 1.0 if days > 2 else 0.4
                    odds.append((index, np.log(longing * progress.plays) + 0.5 * self.taste[index]))
        else:
            show = intent == intents.CONTINUE
            odds = [(index, -days / 4) for index, days in self.viewer.resumable(titles, show, now)]
        own = np.array([index for index, _ in odds], dtype=np.int64)
        return Candidates(own, np.array([score for _, score in odds], dtype=float), np.zeros(len(odds)))

    def pick(self, found: Candidates, rng: np.random.Generator, only: set[int] | None = None) -> Pick:
        """Draw a title: a slate by `shown` (Gumbel top-k), one of it by `wanted`; `only` replaces the slate."""
        # An exponential over its rate is smallest with probability proportional to the rate: Gumbel-top-k.
        keys = rng.standard_exponential(len(found.titles)) * np.exp(-found.shown)
        if only is not None:
            slate = np.flatnonzero(np.isin(found.titles, list(only)))
        elif len(keys) > SLATE:
            slate = np.argpartition(keys, SLATE)[:SLATE]
        else:
            slate = np.arange(len(keys))
        slate = slate[np.argsort(keys[slate])]
        place = slate[np.argmin(rng.standard_exponential(len(slate)) * np.exp(-found.wanted[slate]))]
        total = found.shown + found.wanted
        rank = 1 + int((total > total[place]).sum())
        return Pick(int(found.titles[place]), rank, found.titles[slate].tolist())

    def mixture(self, odds: np.ndarray, found: dict[int, Candidates]) -> np.ndarray:
        """Probability of each title of the view (T) when the intent is drawn from `odds`."""
        result = np.zeros(len(self.view.titles))
        for intent, candidates in found.items():
            total = candidates.shown + candidates.wanted
            weights = np.exp(total - total.max())
            result[candidates.titles] += odds[intent] / weights.sum() * weights
        return result
