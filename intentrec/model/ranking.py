"""Full-catalogue ranks and top lists from vectors, a chunk of users at a time.

Shape suffixes: N users or positions, D width, I titles, K length of a list.
"""

import torch
from torch import Tensor

from intentrec.model.boosts import Boosts, logits


def ranks(h_ND: Tensor, item_ID: Tensor, title_N: Tensor, chunk: int, boosts: Boosts | None = None) -> Tensor:
    """Rank of row `title_N` of `item_ID` among all of them: (N,) float64, 1 is best.

    Ties share the mean of the ranks they span, so a model that scores everything alike gets the rank of a coin, not
    the best one. Whatever is not a number beats the target, so a model that diverged does not look perfect.
    """
    found = []
    for begin in range(0, len(h_ND), chunk):
        some = slice(begin, begin + chunk)
        logit_NI = logits(h_ND[some], item_ID, None if boosts is None else boosts.part(some))
        true_N1 = logit_NI.gather(-1, title_N[some, None])
        better_N = (~(logit_NI <= true_N1)).sum(-1)
        tied_N = (logit_NI == true_N1).sum(-1)  # the target among them
        found.append(better_N.double() + (tied_N.double() + 1) / 2)
    return torch.cat(found) if found else torch.empty(0, dtype=torch.float64)


def top(score_NI: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best columns of each row, best first and ties in column order: scores and columns, (N, K) each."""
    column_NK = score_NI.topk(min(k, score_NI.shape[-1]), dim=-1).indices.sort(dim=-1).values
    found_NK, order_NK = score_NI.gather(-1, column_NK).sort(dim=-1, descending=True, stable=True)
    return found_NK, column_NK.gather(-1, order_NK)
