"""Naive baselines that learn what follows what: a first-order Markov chain and item-kNN.

One table serves both: how strongly each title of a history speaks for each next title. The Markov chain asks the last
title alone; item-kNN asks the last few, the nearer the more, and counts how alike two titles are rather than how often
they met. Both learn from the targets that models learn from, each once, with the interactions before it in its row.

Shape suffixes: B rows scored at once, K known titles, N candidates.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from intentrec.evaluation.metrics import Floats, Ints
from intentrec.evaluation.next_event import Events
from intentrec.evaluation.ranking import Part, Scorer
from intentrec.evaluation.titles import Histories, Titles

KEPT = 200  # next titles that a title keeps
PAIRS = 20_000_000  # pairs of titles held at once: a quarter of a GB
TIE = 1e-6  # what popularity adds to what the table says, so that it parts equals


@dataclass(frozen=True)
class Method:
    """The last `window` interactions speak, each `decay` times as loud as the one after it.

    How often two titles met is divided by how often each of them met any, to the power of `alike`: 0 favours popular
    titles, 0.5 is the cosine.
    """

    window: int
    decay: float
    alike: float


MARKOV = Method(window=1, decay=1.0, alike=0.0)


@dataclass(frozen=True)
class Neighbours:
    """How strongly each of the `known` titles (rows) speaks for each one as the next (columns)."""

    known: Titles
    method: Method
    strength_KK: sparse.csr_array

    def scorer(self, titles: Titles, popular_N: Floats) -> Scorer:
        """The baseline as a system over the candidates `titles`; those that nothing speaks for follow by popularity."""
        columns_N = self.known.index(titles.ids)
        # Histories are over the known titles: one that is no longer on offer still says what follows it.
        strength_KN = (self.strength_KK[:, np.maximum(columns_N, 0)] * (columns_N >= 0)).tocsr()

        def scorer(sequences: pa.RecordBatch, rows: Ints, ends: Ints) -> Part:
            histories = Histories.of(sequences, self.known)

            def part(i: int, j: int) -> NDArray:
                score_BN = (self._voices(histories.prefixes(rows[i:j], ends[i:j])) @ strength_KN).toarray()
                return np.where(score_BN > 0, 1.0 + score_BN + TIE * popular_N, popular_N)

            return part

        return scorer

    def _voices(self, prefixes: Histories) -> sparse.csr_array:
        """How loud each known title speaks in each row: (B, K)."""
        ago = prefixes.lengths[prefixes.rows] - 1 - prefixes.positions
        heard = (ago < self.method.window) & (prefixes.titles >= 0)
        loudness = self.method.decay ** ago[heard]
        shape = len(prefixes.lengths), len(self.known)
        return sparse.csr_array((loudness, (prefixes.rows[heard], prefixes.titles[heard])), shape=shape)


def learn(
    snapshots: Iterable[pa.RecordBatch],
    known: Titles,
    methods: dict[str, Method],
    kept: int = KEPT,
    pairs: int = PAIRS,
) -> dict[str, Neighbours]:
    """A table per method, in one pass over stacked weekly rows.

    Memory grows with titles x `kept` and not with users: where more than `pairs` pairs are held, each title forgets
    all but its 4 x `kept` strongest so far.
    """
    met = {name: sparse.csr_array((len(known), len(known))) for name in methods}
    for batch in snapshots:
        targets, titles = Events.of(batch), Histories.of(batch, known).titles
        for name, method in methods.items():
            met[name] += _met(targets, titles, method, met[name].shape)
            if met[name].nnz > pairs:
                met[name] = strongest(met[name], 4 * kept)
    tables = {name: _alike(found, methods[name].alike) for name, found in met.items()}
    return {name: Neighbours(known, methods[name], strongest(found, kept)) for name, found in tables.items()}


def _met(targets: Events, titles: Ints, method: Method, shape: tuple[int, int]) -> sparse.csr_array:
    """How often, and how near, each title came before each target."""
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


def _alike(met_KK: sparse.csr_array, power: float) -> sparse.csr_array:
    of_row, of_column = (np.maximum(met_KK.sum(axis), np.finfo(float).tiny) ** -power for axis in (1, 0))
    return (sparse.diags_array(of_row) @ met_KK @ sparse.diags_array(of_column)).tocsr()


def strongest(table_KK: sparse.csr_array, kept: int) -> sparse.csr_array:
    """The `kept` largest entries of each row, of equals those in the earlier columns."""
    table_KK.sort_indices()
    rows = np.repeat(np.arange(table_KK.shape[0]), np.diff(table_KK.indptr))
    order = np.lexsort((table_KK.indices, -table_KK.data, rows))
    first = order[np.arange(len(rows)) - table_KK.indptr[rows] < kept]
    return sparse.csr_array((table_KK.data[first], (rows[first], table_KK.indices[first])), shape=table_KK.shape)
