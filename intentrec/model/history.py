"""Titles that come back. Not in the paper; built where the spec's `history_path` asks for it.

People return to titles, and a user vector as wide as the encoder cannot say which thirty of a thousand titles a user
knows: added up, their embeddings drown one another. So the logit of a title that the user touched gets a logit bias of its
own beside the dot product: a number per title of the history, which is few, and exact. It also says why a title was
recommended, and works for a title released after training.

Shape suffixes: B rows, L positions, D width of E^item, H heads, K width of a head.
"""

import torch
from torch import Tensor, nn

from intentrec.model.clock import AgoBias

HIGHEST = 20.0  # exp of a score; beyond it the logarithm below is as good as linear


class HistoryPath(nn.Module):
    """By head h, gate_h(E^item_k) x log(1 + sum of exp(score_h(k, i)) over the interactions i <= k with the title).

    No softmax over the history: that a title is known does not make another one less so. The logarithm, because a
    title that was touched ten times is not ten times as likely as one that was touched once. A gate may be negative,
    for "something new".
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.ago = AgoBias(heads)
        self.gate = nn.Linear(dim, heads)

    def forward(self, item_BLD: Tensor, first_BL: Tensor, seen_BLL: Tensor) -> Tensor:
        """Logit biases (B, L, L): as seen from k, of the title at i; 0 unless i <= k is where it was touched last.

        Args:
            item_BLD: E^item.
            first_BL: where each position's title occurs first in its row.
            seen_BLL: of everything up to k, what `clock.seen` returns.
        """
        q_HBLK, k_HBLK = (
            side(item_BLD).unflatten(-1, (self.heads, -1)).permute(2, 0, 1, 3) for side in (self.query, self.key)
        )
        score_HBLL = q_HBLK @ k_HBLK.mT * q_HBLK.shape[-1] ** -0.5 + self.ago(seen_BLL)
        same_BLL = first_BL[:, :, None] == first_BL[:, None, :]
        with torch.autocast(item_BLD.device.type, enabled=False):  # sums of exponentials need their digits
            strength_HBLL = score_HBLL.float().clamp(max=HIGHEST).exp() @ same_BLL.float()
            gate_HBL1 = self.gate(item_BLD).float().permute(2, 0, 1).unsqueeze(-1)
            bias_BLL = (gate_HBL1 * strength_HBLL.log1p()).sum(0)
        return bias_BLL * last_touch(first_BL)


def last_touch(first_BL: Tensor) -> Tensor:
    """Whether, as seen from k (second), position i <= k (third) is the last up to k that has its title: (B, L, L)."""
    same_BLL = first_BL[:, :, None] == first_BL[:, None, :]
    length = same_BLL.shape[-1]
    position_L = torch.arange(length, device=same_BLL.device)
    later_LL = position_L > position_L[:, None]
    next_BL = torch.where(same_BLL & later_LL, position_L, length).amin(-1)
    return ~later_LL & (position_L[:, None] < next_BL[:, None, :])
