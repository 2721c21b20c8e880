"""Titles engaged near those of the history. Not in the paper; built where the spec's `neighbours` asks for it.

Which titles are engaged near one another is counted exactly, pair by pair; embeddings know it in outline only, because
a few factors cannot hold what sets one pair apart. So each of the user's last interactions raises the logits of the
titles that are most alike to its own: logit biases, few per user, that say "because of this one".

The counts are made of the training targets, which would find themselves in them. In training each target is therefore
judged as if it had not been counted.

Shape suffixes: B rows, L positions, N asked positions, W last interactions, K titles near one, J = W x K, D width, V
tokens of titles.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.logit_bias import LogitBias
from intentrec.model.vocabulary import FIRST

COUNTED, DECAY = 20, 0.9  # interactions before a target that count, each so much less than the one after it
SPEAK = 10  # last interactions that raise others
SCALE = 32.0  # of a logit, for a similarity of 1, where nothing is learnt yet


class NeighbourPath(nn.Module):
    """gate(E^item_k) x weight(how many interactions ago) x similarity of the two titles, which is counted."""

    title_VK: Tensor  # numbers of the near titles, -1 for none
    alike_VK: Tensor  # cosine of the two titles' counts
    met_VK: Tensor  # how often, and how near, the two were engaged before or after one another; 1 of none

    def __init__(self, dim: int, tokens: int, kept: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, 1)
        self.log_weight = nn.Parameter(torch.arange(SPEAK) * torch.tensor(DECAY).log())
        self.register_buffer("title_VK", torch.full((tokens, kept), -1, dtype=torch.int32))
        self.register_buffer("alike_VK", torch.zeros(tokens, kept))
        self.register_buffer("met_VK", torch.ones(tokens, kept))

    def begin_with(self, title_IK: Tensor, alike_IK: Tensor, met_IK: Tensor) -> None:
        """Take what was counted: of the vocabulary's titles, in their order."""
        for held_VK, found_IK in ((self.title_VK, title_IK), (self.alike_VK, alike_IK), (self.met_VK, met_IK)):
            held_VK[FIRST:] = found_IK

    def forward(self, item_BLD: Tensor) -> Tensor:
        """How loud each of the last interactions up to k speaks, the latest first: (B, L, W)."""
        return SCALE * F.softplus(self.gate(item_BLD)) * self.log_weight.exp()

    def logit_bias(self, loud_NW: Tensor, title_BL: Tensor, row_N: Tensor, k_N: Tensor) -> LogitBias:
        """What they add after position k of a row, to titles by their number in the vocabulary."""
        title_NW = _latest(title_BL, row_N, k_N, SPEAK)
        value_NWK = loud_NW.unsqueeze(-1) * self.alike_VK[title_NW]
        return LogitBias(self.title_VK[title_NW].flatten(1).long(), value_NWK.flatten(1))

    def uncounted(self, logit_bias: LogitBias, title_BL: Tensor, row_N: Tensor, k_N: Tensor, j_N: Tensor) -> LogitBias:
        """The same, but of interaction j's title as if j had not been counted with those before it."""
        spoke_NW = _latest(title_BL, row_N, k_N, SPEAK)
        near_N = DECAY ** torch.arange(COUNTED, device=title_BL.device)
        same_NWC = spoke_NW.unsqueeze(-1) == _latest(title_BL, row_N, j_N - 1, COUNTED).unsqueeze(1)
        share_NJ = ((same_NWC * near_N).sum(-1, keepdim=True) / self.met_VK[spoke_NW]).flatten(1)
        own_NJ = logit_bias.title_NL == (title_BL[row_N, j_N] - FIRST).unsqueeze(-1)
        return LogitBias(logit_bias.title_NL, logit_bias.value_NL * (1 - share_NJ.clamp(max=1) * own_NJ))


def _latest(title_BL: Tensor, row_N: Tensor, k_N: Tensor, count: int) -> Tensor:
    """Titles at k, k - 1, ... of a row: (N, count), 0 before its beginning."""
    at_NW = k_N.unsqueeze(-1) - torch.arange(count, device=title_BL.device)
    return title_BL[row_N.unsqueeze(-1), at_NW.clamp(min=0)] * (at_NW >= 0)
