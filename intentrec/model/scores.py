"""From vectors and logit biases to scores of candidates, ranks and top lists.

Shape suffixes: N users or positions, T those of them whose ties do not all fit into the list, D width, I titles,
K length of a list.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from intentrec.model.logit_bias import LogitBias


def logits(h_ND: Tensor, item_ID: Tensor, logit_bias: LogitBias | None) -> Tensor:
    """The logits of all candidates: (N, I).

    Args:
        h_ND: user vectors.
        item_ID: output vectors of the candidates.
        logit_bias: of candidates, as rows of `item_ID`.
    """
    logit_NI = h_ND @ item_ID.T
    return logit_NI if logit_bias is None else logit_bias.add_to(logit_NI)


class TitleScores(Protocol):
    """Scores candidates after N positions; the higher, the better."""

    def __len__(self) -> int:
        """N."""
        ...

    def part(self, some: slice | Tensor) -> "TitleScores":
        """Of some of the positions."""
        ...

    def of(self, item_ID: Tensor) -> Tensor:
        """Scores of all candidates (N, I), of their output vectors."""
        ...


@dataclass(frozen=True)
class Logits:
    """Scores that are logits: dot products of user and item vectors, plus logit biases of candidates."""

    h_ND: Tensor
    logit_bias: LogitBias | None

    def __len__(self) -> int:
        """N."""
        return len(self.h_ND)

    def part(self, some: slice | Tensor) -> "Logits":
        """Of some of the positions."""
        return Logits(self.h_ND[some], None if self.logit_bias is None else self.logit_bias.part(some))

    def of(self, item_ID: Tensor) -> Tensor:
        """Logits of all candidates (N, I)."""
        return logits(self.h_ND, item_ID, self.logit_bias)


def ranks(scores: TitleScores, item_ID: Tensor, title_N: Tensor, chunk: int) -> Tensor:
    """Rank of each true title among all titles: (N,) float64, 1 is best.

    Ties share the mean of the ranks they span, so a model that gives all titles one score gets the mean rank, not the
    best one. A NaN counts as better than the target, so a model that diverged does not look perfect.

    Args:
        scores: after the N positions.
        item_ID: output vectors of all titles.
        title_N: the true titles, as rows of `item_ID`.
        chunk: positions scored at once.
    """
    found = []
    for begin in range(0, len(scores), chunk):
        some = slice(begin, begin + chunk)
        score_NI = scores.part(some).of(item_ID)
        true_N1 = score_NI.gather(-1, title_N[some, None])
        better_N = (~(score_NI <= true_N1)).sum(-1)
        tied_N = (score_NI == true_N1).sum(-1)  # the target among them
        found.append(better_N.double() + (tied_N.double() + 1) / 2)
    return torch.cat(found) if found else torch.empty(0, dtype=torch.float64)


def top(score_NI: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best columns of each row, best first: scores and columns, (N, K) each.

    Ties come in column order, so a shorter list is the beginning of a longer one.
    """
    best_NK, column_NK = score_NI.topk(min(k, score_NI.shape[-1]), dim=-1)
    last_N1 = best_NK[:, -1:]
    # If ties do not all fit into the list, `topk` takes any of them; take those in the first columns.
    room_N1 = (best_NK == last_N1).sum(-1, keepdim=True)
    crowded_N = ((score_NI == last_N1).sum(-1, keepdim=True) > room_N1).squeeze(-1)
    if crowded_N.any():
        some_TI, last_T1 = score_NI[crowded_N], last_N1[crowded_N]
        tied_TI = some_TI == last_T1
        kept_TI = (some_TI > last_T1) | (tied_TI & (tied_TI.cumsum(-1) <= room_N1[crowded_N]))
        column_NK[crowded_N] = kept_TI.nonzero()[:, 1].view(len(some_TI), -1)
    column_NK = column_NK.sort(dim=-1).values
    found_NK, order_NK = score_NI.gather(-1, column_NK).sort(dim=-1, descending=True, stable=True)
    return found_NK, column_NK.gather(-1, order_NK)
