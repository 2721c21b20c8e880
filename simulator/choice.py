"""Which title a session's intent picks: from a slate that the service shows, by what the user wants of it.

A title's score has two halves, log scale: how likely it is shown (popularity, some taste, fit to the intent) and how
much it is wanted once shown (taste, fit). Their sum ranks titles for the oracle.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator import intents
from simulator.catalogue import View
from simulator.viewer import Viewer

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


@dataclass(frozen=True)
class Offer:
    """What is on offer at a moment, without regard to intent; `fits` holds what depends on the intent alone."""

    titles: np.ndarray
    shown: np.ndarray
    wanted: np.ndarray
    taste: np.ndarray
    has: np.ndarray
    fits: dict[int, np.ndarray]


# How much a title that the user knows already is avoided (or, below 0, preferred) by an intent.
_AVOIDS = {
    intents.GENRE_MOOD: 1.6,
    intents.NEW_RELEASE: 1.6,
    intents.EXPLORE: 2.0,
    intents.KIDS: 0.3,
    intents.BACKGROUND: -0.8,
}


class Chooser:
    """Scores of one user in one week."""

    def __init__(self, viewer: Viewer, view: View) -> None:
        self.viewer = viewer
        self.view = view
        self.taste = view.mix @ viewer.traits.taste
        self.seen = np.zeros(len(view.titles))
        self.seen[[*viewer.touched, *viewer.progress]] = 1.0
        self._offers: dict[int, Offer] = {}  # by stretch of the week in which the offer does not change

    def _offer(self, now: int, until: int | None) -> Offer:
        stretch = self.view.stretch(now) if until is None else -1
        if stretch not in self._offers:
            view = self.view
            titles = ((view.first < (until or now + 1)) & (now < view.last)).nonzero()[0]
            popularity, taste, age = view.popularity[titles], self.taste[titles], view.age[titles]
            fits = {
                intents.NEW_RELEASE: 3.0 * np.exp(-age / 12) - 2.0 * (age > 60),
                intents.KIDS: 4.0 * view.kids[titles],
                intents.BACKGROUND: 1.8 * view.light[titles] + 0.8 * view.show[titles],
            }
            shown, wanted = popularity + 0.6 * taste, 0.6 * popularity + 1.2 * taste
            self._offers[stretch] = Offer(titles, shown, wanted, taste, view.has[titles], fits)
        return self._offers[stretch]

    def _fit(self, intent: int, offer: Offer) -> np.ndarray:
        """How well each title on offer serves an intent that looks through the whole catalogue."""
        fit = -_AVOIDS[intent] * self.seen[offer.titles]
        if intent == intents.GENRE_MOOD:
            assert self.viewer.mood is not None
            return fit + 2.8 * offer.has[:, self.viewer.mood]
        if intent == intents.EXPLORE:
            known = np.zeros(offer.has.shape[1])
            known[list(self.viewer.genres)] = 1.0
            return fit + 2.5 * (offer.has @ known == 0) - 0.8 * offer.taste
        return fit + offer.fits[intent]

    def candidates(self, intent: int, now: int, until: int | None = None) -> Candidates:
        """Titles for an intent that are available at `now` (or come before `until`); none where it cannot be served."""
        if intent not in _AVOIDS:
            return self._own(intent, now)
        offer = self._offer(now, until)
        fit = self._fit(intent, offer)
        return Candidates(offer.titles, offer.shown + fit, offer.wanted + 0.5 * fit)

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
