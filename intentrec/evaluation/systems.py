"""What a system of a comparison is, and the ranks of relevant titles among all candidates.

Ranks are computed in slices, so that memory grows neither with users nor with events.

Shape suffixes: E prefixes, P pairs of a prefix and a relevant title, N candidate titles, C classes of an intent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.evaluation.candidates import Prefixes, TitleLists
from intentrec.evaluation.metrics import CUTS, Floats, Ints, pair_ranks, top_masks

CELLS = 4_000_000  # scores held at once


class ScoreSlices(Protocol):
    """Scores of E prefixes, computed slice by slice."""

    def __call__(self, start: int, end: int) -> NDArray[np.floating]:
        """Scores of prefixes `start` to `end`: floats (end - start, N).

        Higher is better. Minus infinity marks a title that the system cannot score.
        """
        ...


class TitleScorer(Protocol):
    """Scores every candidate title after each prefix."""

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        """Scores of the candidates, in their order, after each of `prefixes`."""
        ...


@dataclass(frozen=True)
class IntentProbabilities:
    """Probability of each of an intent's C labels after E prefixes.

    Attributes:
        labels: names of the C classes.
        probability_EC: floats (E, C); each row sums to 1.
    """

    labels: Sequence[str]
    probability_EC: NDArray[np.floating]

    @property
    def best(self) -> Ints:
        """Column of each prefix's most probable label: (E,)."""
        return self.probability_EC.argmax(axis=1)


class IntentPredictor(Protocol):
    """Predicts the intents of the next interaction after each prefix."""

    def intent_probabilities(self, prefixes: Prefixes) -> Mapping[str, IntentProbabilities]:
        """Label probabilities by the name of the intent."""
        ...


class GivenIntentScorer(Protocol):
    """Scores every candidate title as if the next class of one intent, the lead intent, were known."""

    @property
    def lead_intent(self) -> str:
        """Its name."""
        ...

    def title_scores_given(self, prefixes: Prefixes, label_E: pa.Array) -> ScoreSlices:
        """Scores of the candidates after each of `prefixes`, given a label; null where it is unknown."""
        ...


@dataclass(frozen=True)
class System:
    """Ranks titles, and predicts intents where it can. A conditional model also ranks given the true intent."""

    titles: TitleScorer
    intents: IntentPredictor | None = None
    given: GivenIntentScorer | None = None


@dataclass(frozen=True)
class Ranked:
    """Rank of every relevant (prefix, title) pair, and per cut which of the N titles any prefix was shown."""

    ranks: Floats
    shown: dict[int, NDArray[np.bool_]]


def rank(
    scores: ScoreSlices,
    known: TitleLists,
    relevant_rows: Ints,
    relevant: Ints,
    titles: int,
    only_unseen: bool = False,
    cuts: tuple[int, ...] = CUTS,
) -> Ranked:
    """Rank the relevant titles among all candidates.

    Args:
        scores: of a system after the prefixes.
        known: per prefix the titles that count as seen, one row each.
        relevant_rows: prefix of each relevant title, ascending: (P,).
        relevant: the relevant titles, -1 for one that is not a candidate: (P,). Its rank is infinite.
        titles: number of candidates.
        only_unseen: titles that count as seen are no candidates; their rank is infinite.
        cuts: list lengths for which `shown` is computed, which costs more than the ranks do.
    """
    count = len(known.lengths)
    ranks = np.full(len(relevant), np.inf)
    shown = {k: np.zeros(titles, dtype=bool) for k in cuts}
    for i, j in slices(count, titles):
        scores_EN = scores(i, j)
        if only_unseen:
            scores_EN = np.where(known.between(i, j).seen(titles), -np.inf, scores_EN)
        inside = slice(*np.searchsorted(relevant_rows, [i, j]))
        ranks[inside] = pair_ranks(scores_EN, relevant_rows[inside] - i, relevant[inside])
        for k, mask in top_masks(scores_EN, cuts).items():
            shown[k] |= mask.any(axis=0)
    return Ranked(ranks, shown)


def slices(count: int, titles: int) -> Iterator[tuple[int, int]]:
    """Bounds that cut `count` prefixes into slices of at most CELLS scores each."""
    step = max(1, CELLS // max(1, titles))
    for start in range(0, count, step):
        yield start, min(count, start + step)
