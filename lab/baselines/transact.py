"""TransAct.

Xia et al., "TransAct: Transformer-based realtime user action model for recommendation at Pinterest", KDD 2023.

From the paper:

- The input is the latest 100 actions of a user, each the embeddings of item and action put together.
- The blocks are post-norm with ReLU and a narrow inner layer, without positions: two in the paper, `model.layers` here.
- In training, attention does not see a random time window before now, except for the latest action. So the model does
  not rely on the last minutes alone.
- The features are the outputs of the 10 latest actions and the maximum over all. They meet in a cross network (DCN v2,
  of low rank) and a layer with ReLU, which has several heads.

Adapted as IntentRec's authors had to (§4.1.2). The original gets a candidate item and predicts the action; here the
model predicts next item and action together. So the candidate is not an input of every action but meets the user's
vector at the end, as in the other models, and every position is "now" once. Attention is causal, so that one pass
predicts at all positions: the output of an earlier action does not know later ones. In rows longer than the window, an
output inside the window may know of actions before it, through the first block.

Shape suffixes: B rows, L positions, N targets or positions, D width, H heads, K latest outputs, X width of all
features, G blocks of W positions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.features import Batch
from intentrec.model.network import Prediction
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary
from lab.baselines.base import Baseline, CausalMask
from lab.baselines.transformer import PostNormBlock

LATEST = 10
WINDOW_SECONDS = 86_400  # the random window is shorter than this
CROSSES = 2


class Cross(nn.Module):
    """x0 * (U V x + b) + x (Wang et al., "DCN V2", 2021)."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.v = nn.Linear(width, rank, bias=False)
        self.u = nn.Linear(rank, width)

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        """(..., X)."""
        return first * self.u(self.v(x)) + x


class TransAct(Baseline):
    """Next item and intents from a user's short-term window."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary, positions=False)
        self.mask = CausalMask(spec)
        self.blocks = nn.ModuleList(
            PostNormBlock(spec.dim, spec.heads, max(1, spec.dim // 2), spec.dropout, nn.ReLU)
            for _ in range(spec.layers)
        )
        self.pooled = nn.Linear(spec.dim, spec.dim)
        width = (LATEST + 1) * spec.dim
        self.crosses = nn.ModuleList(Cross(width, spec.dim) for _ in range(CROSSES))
        self.shared = nn.Sequential(nn.Linear(width, spec.dim), nn.ReLU(), nn.Dropout(spec.dropout))

    def encode(self, batch: Batch) -> Tensor:
        """(B, L, D)."""
        return self.cross(*self.window(batch))

    def at(self, batch: Batch, row_N: Tensor, k_N: Tensor, session: tuple[Tensor, Tensor] | None = None) -> Prediction:
        """The predictions after position k of a row. Only these positions are crossed, which is most of the work."""
        x_ND = self.cross(*(value[row_N, k_N] for value in self.window(batch)))
        return Prediction(self.user_vectors(x_ND, {}), self.intents(x_ND))

    def window(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """At each position, the latest outputs of the blocks (B, L, D, K) and their maximum in the window (B, L, D)."""
        x_BLD, mask_HBLL = self.embed(batch), self.mask(batch, self.visible(batch))
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_HBLL)
        return F.pad(x_BLD, (0, 0, LATEST - 1, 0)).unfold(1, LATEST, 1), sliding_maximum(x_BLD, self.spec.recent)

    def cross(self, latest: Tensor, most: Tensor) -> Tensor:
        """The crossed features: (..., D) from (..., D, K) and (..., D)."""
        first = features = torch.cat([latest.flatten(-2), self.pooled(most)], -1)
        for cross in self.crosses:
            features = cross(first, features)
        return self.shared(features)

    def visible(self, batch: Batch) -> Tensor:
        """What position k may attend to (B, L, L): the window; in training, of the latest seconds only itself."""
        position_L = torch.arange(batch.time_BL.shape[1], device=batch.time_BL.device)
        back_LL = position_L[:, None] - position_L
        window_LL = (back_LL >= 0) & (back_LL < self.spec.recent)
        if not self.training:
            return window_LL.expand(len(batch.time_BL), -1, -1)
        late_B11 = torch.rand(len(batch.time_BL), 1, 1, device=batch.time_BL.device) * WINDOW_SECONDS
        ago_BLL = batch.time_BL[:, :, None] - batch.time_BL[:, None, :]
        return window_LL & ((ago_BLL >= late_B11) | (back_LL == 0))


def sliding_maximum(x_BLD: Tensor, width: int) -> Tensor:
    """The maximum over the latest `width` positions up to each one: (B, L, D). The time does not depend on `width`.

    Of blocks of `width` positions, a window is the end of one and the beginning of the next (van Herk, 1992).
    """
    length = x_BLD.shape[1]
    width = min(width, length)
    blocks_BDGW = F.pad(x_BLD.mT, (0, -length % width), value=-torch.inf).unflatten(-1, (-1, width))
    beginning_BDL = blocks_BDGW.cummax(-1).values.flatten(-2)[..., :length]
    end_BDL = blocks_BDGW.flip(-1).cummax(-1).values.flip(-1).flatten(-2)
    return beginning_BDL.maximum(F.pad(end_BDL, (width - 1, 0), value=-torch.inf)[..., :length]).mT
