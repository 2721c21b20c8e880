"""How a user chooses a title for an intent: the service shows a slate, and the user takes one title of it.

The score of a title has two parts, on a log scale: how likely it is shown (popularity, some taste, fit to the intent),
and how much it is wanted if it is shown (taste, fit). Their sum ranks the titles for the oracle.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator import intents
from simulator.catalogue import View
from simulator.settings import DAY_S
from simulator.users import Viewer

SLATE = 40  # titles that the service shows


class Pick(NamedTuple):
    """A choice: the title, its rank by true score, and all titles of the slate, most exposed first."""

    title: int
    rank: int
    slate: list[int]


class Candidates(NamedTuple):
    """The C titles that serve an intent, and both parts of their scores (C)."""

    titles: np.ndarray
    shown: np.ndarray
    wanted: np.ndarray


@dataclass(frozen=True)
class Offer:
    """The O titles that are available in a period, with scores that do not depend on the intent.

    `fits` holds, for some intents, the part of the score that is the same for every user (O).
    """

    titles: np.ndarray
    shown: np.ndarray
    wanted: np.ndarray
    taste: np.ndarray
    has_genre: np.ndarray  # O x genres
    fits: dict[int, np.ndarray]


# How much an intent lowers the score of a title that the user knows; a negative value raises it.
_AVOIDS = {
    intents.GENRE_MOOD: 1.6,
    intents.NEW_RELEASE: 1.6,
    intents.EXPLORE: 2.0,
    intents.KIDS: 0.3,
    intents.BACKGROUND: -0.8,
}


class Chooser:
    """The scores of all titles for one user in one week."""

    def __init__(self, viewer: Viewer, view: View) -> None:
        self.viewer = viewer
        self.view = view
        self.taste = view.genre_mix @ viewer.user.taste
        self.seen = np.zeros(len(view.titles))
        self.seen[[*viewer.touched, *viewer.progress]] = 1.0
        self._offers: dict[int, Offer] = {}  # by period of the week

    def _offer(self, now: int, until: int | None) -> Offer:
        period = self.view.period(now) if until is None else -1
        if period not in self._offers:
            view = self.view
            titles = ((view.first < (until or now + 1)) & (now < view.last)).nonzero()[0]
            popularity, taste, age = view.popularity[titles], self.taste[titles], view.age[titles]
            fits = {
                intents.NEW_RELEASE: 3.0 * np.exp(-age / 12) - 2.0 * (age > 60),
                intents.KIDS: 4.0 * view.kids[titles],
                intents.BACKGROUND: 1.8 * view.light[titles] + 0.8 * view.show[titles],
            }
            shown, wanted = popularity + 0.6 * taste, 0.6 * popularity + 1.2 * taste
            self._offers[period] = Offer(titles, shown, wanted, taste, view.has_genre[titles], fits)
        return self._offers[period]

    def _fit(self, intent: int, offer: Offer) -> np.ndarray:
        """How well each available title serves an intent that chooses from the whole catalogue (O)."""
        fit = -_AVOIDS[intent] * self.seen[offer.titles]
        if intent == intents.GENRE_MOOD:
            assert self.viewer.mood is not None
            return fit + 2.8 * offer.has_genre[:, self.viewer.mood]
        if intent == intents.EXPLORE:
            known = np.zeros(offer.has_genre.shape[1])
            known[list(self.viewer.genres)] = 1.0
            return fit + 2.5 * (offer.has_genre @ known == 0) - 0.8 * offer.taste
        return fit + offer.fits[intent]

    def candidates(self, intent: int, now: int, until: int | None = None) -> Candidates:
        """Titles that serve an intent; may be none.

        Args:
            intent: index of the intent.
            now: Unix seconds at which the titles are available.
            until: if given, titles that become available before it count, too.
        """
        if intent not in _AVOIDS:
            return self._from_past(intent, now)
        offer = self._offer(now, until)
        fit = self._fit(intent, offer)
        return Candidates(offer.titles, offer.shown + fit, offer.wanted + 0.5 * fit)

    def _from_past(self, intent: int, now: int) -> Candidates:
        """Titles that the user has played and that serve an intent."""
        titles = self.view.titles
        if intent == intents.COMFORT:
            odds: list[tuple[int, float]] = []
            for index, progress in self.viewer.progress.items():
                days = (now - progress.last) / DAY_S
                if titles[index].first <= now < titles[index].last and (progress.finished or progress.plays > 1):
                    longing = 3.0 if days > 30 else 1.0 if days > 2 else 0.4
                    odds.append((index, np.log(longing * progress.plays) + 0.5 * self.taste[index]))
        else:
            show = intent == intents.CONTINUE
            odds = [(index, -days / 4) for index, days in self.viewer.resumable(titles, show, now)]
        own = np.array([index for index, _ in odds], dtype=np.int64)
        return Candidates(own, np.array([score for _, score in odds], dtype=float), np.zeros(len(odds)))

    def pick(self, found: Candidates, rng: np.random.Generator, only: set[int] | None = None) -> Pick:
        """Draw a slate by `shown` and one title of it by `wanted`.

        Args:
            found: the candidates.
            rng: random numbers.
            only: if given, these titles are the slate.
        """
        # Gumbel top-k: an exponential divided by its rate is the smallest with a probability proportional to its rate.
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
        """Probability of each title (T) if the intent is drawn from `odds` (I); `found`: candidates by intent."""
        result = np.zeros(len(self.view.titles))
        for intent, candidates in found.items():
            total = candidates.shown + candidates.wanted
            weights = np.exp(total - total.max())
            result[candidates.titles] += odds[intent] / weights.sum() * weights
        return result
