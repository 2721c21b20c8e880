"""Lists of the best titles of users.

Shape suffixes: B users, L positions or titles, N interactions or titles of all users in a line, I candidate titles, K
length of a list.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from intentrec.model.arrow import Rows, offsets_of
from intentrec.model.scores import top
from intentrec.model.titles import seen_titles

# The best of all titles; of new ones, which the user has not seen; or the best seen and the best new ones.
Lists = Literal["all", "new", "known_and_new"]


@dataclass(frozen=True)
class SeenPlaces:
    """Seen titles of all rows in a line, as places among the titles on offer (-1: none), and where each row begins."""

    place_N: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, sequences: Rows, offered: pa.Array) -> "SeenPlaces":
        """The seen titles (`titles.seen_titles`) of rows of `sequences`."""
        lists = seen_titles(sequences)
        return cls(indices(lists.flatten(), offered), torch.from_numpy(offsets_of(lists)))

    def mask(self, rows: Tensor, titles: int) -> Tensor:
        """Whether each of so many titles on offer is seen by the chosen rows: bool (B, I)."""
        seen_BL = padded_indices(self.place_N, self.offsets, rows)
        mask = torch.zeros(len(rows), titles + 1, dtype=torch.bool)
        mask.scatter_(1, torch.where(seen_BL < 0, titles, seen_BL), True)
        return mask[:, :titles]


def indices(values: pa.Array, known: pa.Array) -> Tensor:
    """Place of each value in `known`, -1 where absent."""
    found = pc.fill_null(pc.index_in(values, value_set=known.cast(values.type)), -1)
    return torch.from_numpy(found.to_numpy(zero_copy_only=False).astype(np.int64))


def padded_indices(index_N: Tensor, offsets: Tensor, rows: Tensor, width: int = 0) -> Tensor:
    """`index_N` of each position of the rows: (B, L), -1 beyond a row's end; L is the longest row, or `width`.

    Args:
        index_N: of all rows in a line.
        offsets: where each row begins, and the end of the last.
        rows: the chosen rows (B,).
        width: L.
    """
    lengths = offsets.diff()[rows]
    position_L = torch.arange(width or int(lengths.max()))
    valid_BL = position_L < lengths[:, None]
    return torch.where(valid_BL, index_N[torch.where(valid_BL, offsets[rows, None] + position_L, 0)], -1)


def best_titles(score_BI: Tensor, seen_BI: Tensor | None, lists: Lists, top_k: int) -> tuple[Tensor, Tensor]:
    """Scores and places (B, K) of each user's list, best first. Minus infinity fills up a short list.

    Args:
        score_BI: scores of the candidates.
        seen_BI: which of them the user has seen; None only where `lists` is `all`.
        lists: which titles the list may hold.
        top_k: its length; `known_and_new` has up to so many of each.
    """
    if seen_BI is None or lists == "all":
        return top(score_BI, top_k)
    new = top(score_BI.masked_fill(seen_BI, -torch.inf), top_k)
    return new if lists == "new" else _merged(new, top(score_BI.masked_fill(~seen_BI, -torch.inf), top_k))


def _merged(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two lists of scores and titles as one, best first; equal scores in the order of the titles."""
    score_BK, title_BK = (torch.cat(pair, dim=-1) for pair in zip(one, other, strict=True))
    title_BK, order_BK = title_BK.sort(dim=-1)
    score_BK, order_BK = score_BK.gather(-1, order_BK).sort(dim=-1, descending=True, stable=True)
    return score_BK, title_BK.gather(-1, order_BK)
