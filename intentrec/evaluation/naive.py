"""Systems that any model must beat, as scores over the same titles: dense [rows, titles] arrays, higher is better.

Each is a strict order: what a baseline knows nothing about is ordered by popularity, and that by `Titles`' own order.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.evaluation.metrics import Floats, Ints
from intentrec.evaluation.titles import Histories


def popularity(engaged: Ints, count: int) -> Floats:
    """A score in (0, 1] for each of `count` titles, ordered by how often it occurs in `engaged` (one entry a user)."""
    occurrences = np.bincount(engaged[engaged >= 0], minlength=count)
    order = np.argsort(-occurrences, kind="stable")
    scores = np.empty(count)
    scores[order] = 1.0 - np.arange(count) / max(1, count)
    return scores


def popularity_7d(histories: Histories, popular_N: Floats) -> NDArray:
    """The most popular titles of the seven days before, the same for everyone."""
    return np.tile(popular_N, (len(histories.lengths), 1))


def repeat_last(histories: Histories, popular_N: Floats) -> NDArray:
    """The user's titles, last touched first; then popularity."""
    scores_BN = popularity_7d(histories, popular_N)
    known = histories.titles >= 0
    where = (histories.rows[known], histories.titles[known])
    np.maximum.at(scores_BN, where, 2.0 + histories.positions[known])
    return scores_BN


def most_frequent(histories: Histories, popular_N: Floats) -> NDArray:
    """The user's titles, most often touched first, of equals the last touched; then popularity."""
    counts_BN = np.zeros((len(histories.lengths), len(popular_N)))
    recency_BN = np.zeros_like(counts_BN)
    known = histories.titles >= 0
    where = (histories.rows[known], histories.titles[known])
    np.add.at(counts_BN, where, 1.0)
    longest = int(histories.lengths.max(initial=1))
    np.maximum.at(recency_BN, where, (1.0 + histories.positions[known]) / (longest + 1.0))
    return np.where(counts_BN > 0, 1.0 + counts_BN + recency_BN, popular_N)


# Those that need nothing but popularity and the history; `neighbours` has those that learn.
HISTORY_BASELINES = {"popularity_7d": popularity_7d, "repeat_last": repeat_last, "most_frequent": most_frequent}


def majority(past: Counter[str]) -> str | None:
    """The most common label of the past; of equals the first in the alphabet, None of no past."""
    return min(past, key=lambda label: (-past[label], label), default=None)


def constant(label: str | None, count: int) -> pa.Array:
    """`label` as the prediction for `count` events."""
    return pa.array([label], pa.string()).take(pa.array(np.zeros(count, np.int64)))
