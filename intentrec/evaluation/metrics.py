"""Ranking and intent metrics, and the result of a protocol for one system.

Ranks begin at 1, the best; infinity means that the title was not on offer.

Shape suffixes: B rows scored at once, N titles, E events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CUTS = (10, 20)


def pair_ranks(scores_BN: NDArray, rows: Ints, titles: Ints) -> Floats:
    """Rank of title `titles[i]` in row `rows[i]`, ties going to the earlier column.

    A title index below 0 and a score of minus infinity both mean that the title is not on offer: its rank is infinite.
    """
    ranks = np.full(len(rows), np.inf)
    step = max(1, 4_000_000 // max(1, scores_BN.shape[1]))
    offered = np.flatnonzero(titles >= 0)
    offered = offered[scores_BN[rows[offered], titles[offered]] > -np.inf]
    for start in range(0, len(offered), step):
        chosen = offered[start : start + step]
        all_scores = scores_BN[rows[chosen]]
        own = scores_BN[rows[chosen], titles[chosen]][:, None]
        ranks[chosen] = 1 + np.count_nonzero(all_scores > own, axis=1)
        equal = all_scores == own
        for pair in np.flatnonzero(np.count_nonzero(equal, axis=1) > 1):
            ranks[chosen[pair]] += np.count_nonzero(equal[pair, : titles[chosen[pair]]])
    return ranks


def top_masks(scores_BN: NDArray, cuts: Sequence[int]) -> dict[int, NDArray[np.bool_]]:
    """Per cut k which titles are among each row's best k, ties going to the earlier column.

    A title that is not on offer is never among them.
    """
    offered = scores_BN > -np.inf
    depth = {k: min(k, scores_BN.shape[1]) for k in cuts}
    places = sorted({-k for k in depth.values() if k})
    ordered_BN = np.partition(scores_BN, places, axis=1) if places else scores_BN
    found = {}
    for cut, k in depth.items():
        if k == 0:
            found[cut] = np.zeros(scores_BN.shape, dtype=bool)
            continue
        worst_B1 = ordered_BN[:, [-k]]
        mask = scores_BN >= worst_B1
        crowded = np.flatnonzero(mask.sum(axis=1) > k)  # ties exceed the list
        above, tied = scores_BN[crowded] > worst_B1[crowded], scores_BN[crowded] == worst_B1[crowded]
        room = k - above.sum(axis=1, keepdims=True)
        mask[crowded] = above | (tied & (np.cumsum(tied, axis=1) <= room))
        found[cut] = mask & offered
    return found


def calibration_error(probability_E: Floats, truth_E: Floats, bins: int = 10) -> float:
    """Expected calibration error (Guo et al., ICML 2017): over bins of equal width, |mean probability - mean truth|."""
    place_E = np.minimum((probability_E * bins).astype(int), bins - 1)
    gaps = np.bincount(place_E, weights=probability_E - truth_E, minlength=bins)
    return float(np.abs(gaps).sum() / max(1, len(probability_E)))


def gain(ranks: Floats, k: int) -> Floats:
    """Discounted gain of each rank: 1 / log2(1 + rank) within k, else 0."""
    with np.errstate(divide="ignore"):
        return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def per_event(ranks: Floats) -> dict[str, Floats]:
    """Metrics of one relevant title per event: `mrr`, `recall_at_k`, `ndcg_at_k`, each an array over events."""
    values: dict[str, Floats] = {"mrr": 1.0 / ranks}
    for k in CUTS:
        values[f"recall_at_{k}"] = (ranks <= k).astype(float)
        values[f"ndcg_at_{k}"] = gain(ranks, k)
    return values


def per_user(users: Ints, ranks: Floats, count: int) -> dict[str, Floats]:
    """Metrics of several relevant titles per user, each an array over `count` users.

    `users[i]` is the user of pair i. `ndcg_at_k` is normalised by the best order of that user's titles, `recall_at_k`
    divides by their number, `hit_at_k` is 1 if any of them is within k, and `mrr` takes the best rank. A user without a
    pair gets 0.
    """
    total = np.bincount(users, minlength=count)
    best = np.full(count, np.inf)
    np.minimum.at(best, users, ranks)
    values: dict[str, Floats] = {"mrr": 1.0 / best}
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(2.0 + np.arange(max(CUTS))))])
    for k in CUTS:
        hits = np.bincount(users, weights=ranks <= k, minlength=count)
        gains = np.bincount(users, weights=gain(ranks, k), minlength=count)
        most = ideal[np.minimum(total, k)]
        values[f"recall_at_{k}"] = np.divide(hits, total, out=np.zeros(count), where=total > 0)
        values[f"hit_at_{k}"] = (hits > 0).astype(float)
        values[f"ndcg_at_{k}"] = np.divide(gains, most, out=np.zeros(count), where=most > 0)
    return values


def mean(values: Floats) -> float:
    """Mean, or NaN of no values: an empty slice was not measured."""
    return float(values.mean()) if len(values) else float("nan")


@dataclass(frozen=True)
class Result:
    """What a protocol measured of one system.

    Attributes:
        metrics: by name.
        users: the users that were judged.
        per_user: values in the order of `users`, by metric. They are compared pairwise with another system's.
    """

    metrics: dict[str, float]
    users: pa.Array
    per_user: dict[str, Floats] = field(default_factory=dict)
