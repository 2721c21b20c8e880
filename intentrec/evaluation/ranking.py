"""Ranks of wanted titles among all candidates, in pieces, so that memory grows neither with users nor with events."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.evaluation.metrics import CUTS, Floats, Ints, pair_ranks, top_masks
from intentrec.evaluation.naive import HISTORY_BASELINES
from intentrec.evaluation.titles import Histories, Titles

CELLS = 4_000_000  # scores held at once

# Scores [j - i, titles] of prefixes i to j.
Part = Callable[[int, int], NDArray]
# A system, given rows of `sequences` and prefixes of them (row, number of interactions known), can score any part.
Scorer = Callable[[pa.RecordBatch, Ints, Ints], Part]


@dataclass(frozen=True)
class Ranked:
    """Rank of every wanted pair, and per cut whether any row was shown each title."""

    ranks: Floats
    shown: dict[int, NDArray[np.bool_]]


def naive_scorer(name: str, titles: Titles, popular_N: Floats) -> Scorer:
    """One of `HISTORY_BASELINES` as a system."""

    def scorer(sequences: pa.RecordBatch, rows: Ints, ends: Ints) -> Part:
        histories = Histories.of(sequences, titles)
        return lambda i, j: HISTORY_BASELINES[name](histories.prefixes(rows[i:j], ends[i:j]), popular_N)

    return scorer


def rank(
    part: Part,
    prefixes: Histories,
    wanted_rows: Ints,
    wanted: Ints,
    titles: int,
    only_unseen: bool = False,
    cuts: tuple[int, ...] = CUTS,
) -> Ranked:
    """Ranks of title `wanted[p]` for prefix `wanted_rows[p]` (ascending), over all `titles` candidates.

    With `only_unseen` the titles of the prefix itself are no candidates; their rank is infinite.
    What is shown within each of `cuts` costs more than the ranks do.
    """
    count = len(prefixes.lengths)
    ranks = np.full(len(wanted), np.inf)
    shown = {k: np.zeros(titles, dtype=bool) for k in cuts}
    for i, j in pieces(count, titles):
        scores_BN = part(i, j)
        if only_unseen:
            scores_BN = np.where(prefixes.between(i, j).seen(titles), -np.inf, scores_BN)
        inside = slice(*np.searchsorted(wanted_rows, [i, j]))
        ranks[inside] = pair_ranks(scores_BN, wanted_rows[inside] - i, wanted[inside])
        for k, mask in top_masks(scores_BN, cuts).items():
            shown[k] |= mask.any(axis=0)
    return Ranked(ranks, shown)


def pieces(count: int, titles: int) -> Iterator[tuple[int, int]]:
    """Bounds that cut `count` rows into pieces of at most CELLS scores."""
    step = max(1, CELLS // max(1, titles))
    for start in range(0, count, step):
        yield start, min(count, start + step)
