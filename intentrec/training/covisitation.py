"""Where the id embeddings of titles begin: as factors of which titles are engaged near one another.

From few interactions a network learns slowly which titles go together, which a count says at once. Factors of the
positive pointwise mutual information are what word embeddings come to (Levy and Goldberg, NeurIPS 2014); training goes
on from there.

Shape suffixes: N interactions of all rows in a line, I titles, D width.
"""

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from intentrec.model.features import Encoded
from intentrec.model.vocabulary import FIRST

WINDOW, DECAY = 20, 0.9  # latest interactions before a target that count, each so much less than the one after it
ROWS = 100_000  # counted at once


def factors(encoded: Encoded, titles: int, dim: int, seed: int) -> Tensor:
    """Vectors (I, D) whose dot products come closest to the mutual information of titles; their mean square norm is 1.

    A title that was never engaged near another one has a vector of zeros.

    Args:
        encoded: rows of which the targets count, each with what came before it in its row.
        titles: how many there are.
        dim: D; less where there are fewer titles.
        seed: of the start of the iteration.
    """
    information_II = mutual_information(met(encoded, titles))
    rank = min(dim, titles - 1)
    start_ID = np.zeros((titles, dim), np.float32)
    if information_II.nnz and rank > 0:
        left_ID, strength_D, _ = svds(information_II, k=rank, random_state=seed)
        start_ID[:, :rank] = left_ID * np.sqrt(strength_D)
        start_ID /= np.sqrt((start_ID**2).sum(1).mean())
    return torch.from_numpy(start_ID)


def met(encoded: Encoded, titles: int) -> sparse.csr_array:
    """How often, and how near, each title was engaged before or after each other: symmetric (I, I)."""
    found = sparse.csr_array((titles, titles))
    for begin in range(0, len(encoded), ROWS):
        end = min(begin + ROWS, len(encoded))
        first, last = encoded.offsets[begin], encoded.offsets[end]
        title_N = encoded.flat.title_BL[first:last].numpy() - FIRST
        target_N = encoded.flat.target_BL[first:last].numpy()
        starts = encoded.offsets[begin:end].numpy() - int(first)
        position_N = np.arange(len(title_N)) - np.repeat(starts, encoded.lengths[begin:end].numpy())
        for ago in range(1, WINDOW + 1):
            at = np.flatnonzero(target_N & (position_N >= ago))
            before, after = title_N[at - ago], title_N[at]
            known = (before >= 0) & (after >= 0)
            weight = np.full(int(known.sum()), DECAY ** (ago - 1))
            found += sparse.csr_array((weight, (before[known], after[known])), shape=found.shape)
    return (found + found.T).tocsr()


def mutual_information(met_II: sparse.csr_array) -> sparse.csr_array:
    """log of how much more often than by chance two titles met, where that is more often."""
    pairs = met_II.tocoo()
    all_I = np.asarray(met_II.sum(1)).ravel()
    expected = all_I[pairs.row] * all_I[pairs.col] / all_I.sum()
    return sparse.csr_array((np.maximum(np.log(pairs.data / expected), 0), (pairs.row, pairs.col)), shape=pairs.shape)
