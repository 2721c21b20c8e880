"""Co-occurrence of titles in histories. It gives the start of id embeddings and the neighbours of `NeighbourPath`.

A network needs many interactions to learn which titles go together; counts show it at once. Word embeddings converge to
factors of the positive pointwise mutual information (Levy and Goldberg, NeurIPS 2014), so training starts from these.

Shape suffixes: N interactions of all rows in a line, I titles, D width, K neighbours of a title.
"""

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from intentrec.model.features import Encoded
from intentrec.model.logit_bias import COUNTED, DECAY, NeighbourCounts
from intentrec.model.vocabulary import FIRST

ROWS = 5_000  # rows of sequences counted at once


def factors(count_II: sparse.csr_array, dim: int, seed: int) -> Tensor:
    """Vectors (I, D) whose dot products approximate the mutual information of titles; their mean square norm is 1.

    A title without co-occurrences has a vector of zeros.

    Args:
        count_II: what `cooccurrence` returns.
        dim: D; with fewer titles, the last columns are zeros.
        seed: of the start of the iteration.
    """
    information_II, titles = mutual_information(count_II), count_II.shape[0]
    rank = min(dim, titles - 1)
    start_ID = np.zeros((titles, dim), np.float32)
    if information_II.nnz and rank > 0:
        left_ID, strength_D, _ = svds(information_II, k=rank, random_state=seed)
        start_ID[:, :rank] = left_ID * np.sqrt(strength_D)
        start_ID /= np.sqrt((start_ID**2).sum(1).mean())
    return torch.from_numpy(start_ID)


def neighbours(count_II: sparse.csr_array, kept: int) -> NeighbourCounts:
    """The other titles most similar to each title, the most similar first; of equals, those with lower numbers first.

    Args:
        count_II: what `cooccurrence` returns.
        kept: K.
    """
    pairs = count_II.tocoo()
    all_I = np.asarray(count_II.sum(1)).ravel()
    similarity = pairs.data / np.sqrt(all_I[pairs.row] * all_I[pairs.col])
    order = np.lexsort((pairs.col, -similarity, pairs.row))
    order = order[pairs.row[order] != pairs.col[order]]
    row = pairs.row[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    order, row, place = order[place < kept], row[place < kept], place[place < kept]
    found = [
        np.full((len(all_I), kept), empty, kind) for empty, kind in ((-1, np.int32), (0, np.float32), (1, np.float32))
    ]
    for table_IK, value in zip(found, (pairs.col, similarity, pairs.data), strict=True):
        table_IK[row, place] = value[order]
    return NeighbourCounts(*map(torch.from_numpy, found))


def cooccurrence(encoded: Encoded, titles: int) -> sparse.csr_array:
    """Co-occurrence counts of titles, weighted by how near the two interactions were: symmetric (I, I).

    Args:
        encoded: rows; each target is counted with the COUNTED interactions before it in its row.
        titles: I.
    """
    found = sparse.csr_array((titles, titles))
    for begin in range(0, len(encoded), ROWS):
        end = min(begin + ROWS, len(encoded))
        first, last = encoded.offsets[begin], encoded.offsets[end]
        title_N = encoded.flat.title_BL[first:last].numpy() - FIRST
        target_N = encoded.flat.target_BL[first:last].numpy()
        starts = encoded.offsets[begin:end].numpy() - int(first)
        part = sparse.csr_array(found.shape)
        position_N = np.arange(len(title_N)) - np.repeat(starts, encoded.lengths[begin:end].numpy())
        for ago in range(1, COUNTED + 1):
            at = np.flatnonzero(target_N & (position_N >= ago))
            before, after = title_N[at - ago], title_N[at]
            known = (before >= 0) & (after >= 0)
            weight = np.full(int(known.sum()), DECAY ** (ago - 1))
            part += sparse.csr_array((weight, (before[known], after[known])), shape=found.shape)
        found += part  # per ROWS rows, because this costs as much as all pairs so far
    return (found + found.T).tocsr()


def mutual_information(count_II: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information (I, I): log of the count over that expected by chance, where above 0."""
    pairs = count_II.tocoo()
    all_I = np.asarray(count_II.sum(1)).ravel()
    expected = all_I[pairs.row] * all_I[pairs.col] / all_I.sum()
    return sparse.csr_array((np.maximum(np.log(pairs.data / expected), 0), (pairs.row, pairs.col)), shape=pairs.shape)
