"""Naive baselines: systems that only count. Every trained model is compared with them.

Titles: popularity, the user's own titles by recency, frequency or both, a first-order Markov chain and item-kNN. Each
orders all candidates strictly: what a baseline knows nothing about follows by popularity, and equal popularity by the
candidates' own order. Intents: the majority label; `next_event` adds the label of the user's last target.

The Markov chain and item-kNN share one table of similarities between titles. The Markov chain reads the last title of
a history. Item-kNN reads the last few, the recent ones with a larger weight, and divides co-occurrence by how common
the two titles are. Both learn from the targets that models learn from, each once.

Shape suffixes: B histories scored at once, K known titles, N candidates, P pairs of a history and a title of it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from intentrec.config import Intent, ItemKnn
from intentrec.evaluation.candidates import Histories, Prefixes, Titles
from intentrec.evaluation.labels import Labels
from intentrec.evaluation.metrics import Floats, Ints
from intentrec.evaluation.systems import ScoreSlices
from intentrec.evaluation.targets import Targets
from intentrec.model.own_titles import HALF_LIVES, LEAST

KEPT = 200  # next titles that a title keeps
PAIRS = 20_000_000  # pairs of titles held at once: a quarter of a GB
TIE = 1e-6  # weight of popularity beside similarity: it only separates equal scores
SAME = 1e-9  # the same beside decayed counts, where one second makes a difference of 1e-8


def popularity(engaged: Ints, count: int) -> Floats:
    """A score in (0, 1] for each of `count` titles, ordered by how often it occurs in `engaged`; -1 is ignored."""
    return popularity_scores(np.bincount(engaged[engaged >= 0], minlength=count))


def popularity_scores(count_N: Ints) -> Floats:
    """A score in (0, 1] for each of N titles, ordered by count; of equals the first has the larger one."""
    order = np.argsort(-count_N, kind="stable")
    score_N = np.empty(len(count_N))
    score_N[order] = 1.0 - np.arange(len(count_N)) / max(1, len(count_N))
    return score_N


class HistoryRule(Protocol):
    """Scores from the histories and the titles' popularity alone."""

    def __call__(self, histories: Histories, popular_N: Floats) -> Floats:
        """Scores (B, N), higher is better."""
        ...


def popularity_7d(histories: Histories, popular_N: Floats) -> Floats:
    """The most popular titles of the last seven days, the same for everyone."""
    return np.tile(popular_N, (len(histories.lengths), 1))


def repeat_last(histories: Histories, popular_N: Floats) -> Floats:
    """The user's titles, last touched first; then popularity."""
    scores_BN = popularity_7d(histories, popular_N)
    known = histories.titles >= 0
    where = (histories.rows[known], histories.titles[known])
    np.maximum.at(scores_BN, where, 2.0 + histories.positions[known])
    return scores_BN


def most_frequent(histories: Histories, popular_N: Floats) -> Floats:
    """The user's titles, most often touched first, of equals the last touched; then popularity."""
    counts_BN = np.zeros((len(histories.lengths), len(popular_N)))
    recency_BN = np.zeros_like(counts_BN)
    known = histories.titles >= 0
    where = (histories.rows[known], histories.titles[known])
    np.add.at(counts_BN, where, 1.0)
    longest = int(histories.lengths.max(initial=1))
    np.maximum.at(recency_BN, where, (1.0 + histories.positions[known]) / (longest + 1.0))
    return np.where(counts_BN > 0, 1.0 + counts_BN + recency_BN, popular_N)


def decayed_frequent(histories: Histories, popular_N: Floats) -> Floats:
    """The user's titles by decayed counts; then popularity.

    A title's score is the mean of the logarithms of its decayed counts, up to a constant. There is one count per
    half-life of HALF_LIVES, at least LEAST: the sum of 2^(-age / half-life) over the user's interactions with the
    title. The model's `DecayedCounts` start with the same order.

    Ages count back from the end of the last interaction. At a later moment, such as that of the prediction, all counts
    of a user with the same half-life are smaller by the same factor. So the moment does not change the order, except
    of counts below LEAST. Of equals, such as the lines of one basket, the more popular title comes first.
    """
    known = histories.titles >= 0
    cells = histories.rows[known] * len(popular_N) + histories.titles[known]
    cell_P, pair = np.unique(cells, return_inverse=True)
    ago_s, score_P = histories.ago_s()[known], np.zeros(len(cell_P))
    for half_life in HALF_LIVES:
        count_P = np.bincount(pair, weights=np.exp2(-ago_s / half_life), minlength=len(cell_P))
        score_P += np.log(np.maximum(count_P, LEAST) / LEAST) / len(HALF_LIVES)
    scores_BN = popularity_7d(histories, popular_N)
    scores_BN.flat[cell_P] = 2.0 + score_P + SAME * popular_N[cell_P % len(popular_N)]
    return scores_BN


HISTORY_RULES: dict[str, HistoryRule] = {
    "popularity_7d": popularity_7d,
    "repeat_last": repeat_last,
    "most_frequent": most_frequent,
    "decayed_frequent": decayed_frequent,
}
ITEM_NAIVE_BASELINES = (*HISTORY_RULES, "markov", "item_knn")
INTENT_NAIVE_BASELINES = ("majority", "repeat_last_intent")


@dataclass(frozen=True)
class HistoryBaseline:
    """A rule as a system over the candidates `titles`, whose popularity is `popular_N`."""

    rule: HistoryRule
    titles: Titles
    popular_N: Floats

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        """Scores after each of E prefixes."""
        histories = Histories.of(prefixes.sequences, self.titles)

        def scores(start: int, end: int) -> Floats:
            return self.rule(histories.prefixes(prefixes.rows[start:end], prefixes.ends[start:end]), self.popular_N)

        return scores


@dataclass(frozen=True)
class NeighbourMethod:
    """How titles of a history vote for the next title.

    Attributes:
        window: the last so many interactions vote.
        decay: weight of an interaction relative to the one after it, in (0, 1].
        popularity_exponent: co-occurrence is divided by the total of each of the two titles to this power. 0 favours
            popular titles, 0.5 is the cosine.
    """

    window: int
    decay: float
    popularity_exponent: float


MARKOV = NeighbourMethod(window=1, decay=1.0, popularity_exponent=0.0)


def neighbour_methods(item_knn: ItemKnn) -> dict[str, NeighbourMethod]:
    """The two naive baselines that learn from targets, by name."""
    return {
        "markov": MARKOV,
        "item_knn": NeighbourMethod(item_knn.window, item_knn.decay, item_knn.popularity_exponent),
    }


@dataclass(frozen=True)
class TitleNeighbours:
    """Similarity of each of K known titles (rows) to each one as the next title (columns), learned from targets."""

    known: Titles
    method: NeighbourMethod
    similarity_KK: sparse.csr_array

    def over(self, titles: Titles, popular_N: Floats) -> "NeighbourBaseline":
        """The baseline as a system over the candidates `titles`, whose popularity is `popular_N`."""
        columns_N = self.known.index(titles.ids)
        # Rows are all known titles: one that is no longer on offer still votes for what follows it.
        similarity_KN = (self.similarity_KK[:, np.maximum(columns_N, 0)] * (columns_N >= 0)).tocsr()
        return NeighbourBaseline(self.known, self.method, similarity_KN, popular_N)


@dataclass(frozen=True)
class NeighbourBaseline:
    """Markov chain or item-kNN over N candidates; candidates without any similarity follow by popularity."""

    known: Titles
    method: NeighbourMethod
    similarity_KN: sparse.csr_array
    popular_N: Floats

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        """Scores after each of E prefixes."""
        histories = Histories.of(prefixes.sequences, self.known)

        def scores(start: int, end: int) -> NDArray[np.floating]:
            part = histories.prefixes(prefixes.rows[start:end], prefixes.ends[start:end])
            score_BN = (self._weights(part) @ self.similarity_KN).toarray()
            return np.where(score_BN > 0, 1.0 + score_BN + TIE * self.popular_N, self.popular_N)

        return scores

    def _weights(self, histories: Histories) -> sparse.csr_array:
        """Neighbour weight of each known title in each history: (B, K)."""
        ago = histories.lengths[histories.rows] - 1 - histories.positions
        inside = (ago < self.method.window) & (histories.titles >= 0)
        weight = self.method.decay ** ago[inside]
        shape = len(histories.lengths), len(self.known)
        return sparse.csr_array((weight, (histories.rows[inside], histories.titles[inside])), shape=shape)


def learn_neighbours(
    snapshots: Iterable[pa.RecordBatch],
    known: Titles,
    methods: Mapping[str, NeighbourMethod],
    kept: int = KEPT,
    pairs: int = PAIRS,
) -> dict[str, TitleNeighbours]:
    """One table of similarities per method, in one pass over stacked weekly rows.

    Memory grows with titles x `kept`, not with users: where more than `pairs` pairs are held, each title keeps only
    its 4 x `kept` largest co-occurrences so far.
    """
    counts = {name: sparse.csr_array((len(known), len(known))) for name in methods}
    for batch in snapshots:
        targets, titles = Targets.of(batch), Histories.of(batch, known).titles
        for name, method in methods.items():
            counts[name] += _co_occurrence(targets, titles, method, counts[name].shape)
            if counts[name].nnz > pairs:
                counts[name] = largest(counts[name], 4 * kept)
    tables = {name: _similarity(found, methods[name].popularity_exponent) for name, found in counts.items()}
    return {name: TitleNeighbours(known, methods[name], largest(found, kept)) for name, found in tables.items()}


def _co_occurrence(targets: Targets, titles: Ints, method: NeighbourMethod, shape: tuple[int, int]) -> sparse.csr_array:
    """How often each title came before each target, weighted by decay."""
    before, after, weight = [], [], []
    for ago in range(method.window):
        far = targets.ends > ago
        at = targets.flat[far]
        before.append(titles[targets.last[far] - ago])
        after.append(titles[at])
        weight.append(np.full(len(at), method.decay**ago))
    i, j, value = np.concatenate(before), np.concatenate(after), np.concatenate(weight)
    known = (i >= 0) & (j >= 0)
    return sparse.csr_array((value[known], (i[known], j[known])), shape=shape)  # equal pairs add up


def _similarity(counts_KK: sparse.csr_array, exponent: float) -> sparse.csr_array:
    of_row, of_column = (np.maximum(counts_KK.sum(axis), np.finfo(float).tiny) ** -exponent for axis in (1, 0))
    return (sparse.diags_array(of_row) @ counts_KK @ sparse.diags_array(of_column)).tocsr()


def largest(table_KK: sparse.csr_array, kept: int) -> sparse.csr_array:
    """The `kept` largest entries of each row, of equals those in the earlier columns."""
    table_KK.sort_indices()
    rows = np.repeat(np.arange(table_KK.shape[0]), np.diff(table_KK.indptr))
    order = np.lexsort((table_KK.indices, -table_KK.data, rows))
    first = order[np.arange(len(rows)) - table_KK.indptr[rows] < kept]
    return sparse.csr_array((table_KK.data[first], (rows[first], table_KK.indices[first])), shape=table_KK.shape)


def label_counts(snapshot: Iterable[pa.RecordBatch], intents: Iterable[Intent]) -> dict[str, Counter[str]]:
    """How often each label of each intent occurs among the targets of a snapshot: what the majority baseline knows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    chosen = list(intents)
    for batch in snapshot:
        targets = Targets.of(batch)
        for intent in chosen:
            names = Labels.of(batch, intent).select(targets.flat).names
            counts[intent.name].update({entry["values"]: entry["counts"] for entry in names.value_counts().to_pylist()})
    return counts


def majority(past: Counter[str]) -> str | None:
    """The most common label of the past; of equals the first in the alphabet, None of no past."""
    return min(past, key=lambda label: (-past[label], label), default=None)


def constant(label: str | None, count: int) -> pa.Array:
    """`label` as the prediction for `count` events."""
    return pa.array([label], pa.string()).take(pa.array(np.zeros(count, np.int64)))
