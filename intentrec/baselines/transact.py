"""TransAct.

Xia et al., "TransAct: Transformer-based realtime user action model for recommendation at Pinterest", KDD 2023.

As there: the latest 100 actions of a user, each the embeddings of item and action put together; two post-norm blocks
with ReLU and a narrow inner layer, without positions; a random time window before now that attention does not see in
training, so that the model does not lean on the last minutes alone, the latest action excepted; as features the
outputs of the 10 latest actions and the maximum over all, which meet in a cross network (DCN v2, of low rank) and a
layer with ReLU; several heads on the result.

Adapted as IntentRec's authors had to (§4.1.2): there the model is given a candidate item and predicts the action;
here it predicts next item and action together. The candidate is therefore not read beside every action but meets the
user's vector at the end, as everywhere else, and "now" is each position in turn. So that one pass answers them all,
attention is causal: the output of an earlier action does not know the later ones. In rows longer than the window an
output inside it may know of actions before it, through the first block.

Shape suffixes: B rows, L positions, D width, K latest outputs, X width of all features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.baselines.blocks import PostNormBlock
from intentrec.baselines.rival import CausalMask, Rival
from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary

LATEST = 10
WINDOW_SECONDS = 86_400  # the random window is shorter than this
CROSSES = 2


class Cross(nn.Module):
    """x0 * (U V x + b) + x (Wang et al., "DCN V2", 2021)."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.v = nn.Linear(width, rank, bias=False)
        self.u = nn.Linear(rank, width)

    def forward(self, first_BLX: Tensor, x_BLX: Tensor) -> Tensor:
        """(B, L, X)."""
        return first_BLX * self.u(self.v(x_BLX)) + x_BLX


class TransAct(Rival):
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
        x_BLD, mask_BHLL = self.embed(batch), self.mask(batch, self.visible(batch))
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_BHLL)
        features_BLX = first_BLX = torch.cat([latest(x_BLD, LATEST), self.pooled(self._maximum(x_BLD))], -1)
        for cross in self.crosses:
            features_BLX = cross(first_BLX, features_BLX)
        return self.shared(features_BLX)

    def visible(self, batch: Batch) -> Tensor:
        """What position k may attend to: the window and, in training, nothing of late but itself: (B, L, L)."""
        position_L = torch.arange(batch.time_BL.shape[1], device=batch.time_BL.device)
        back_LL = position_L[:, None] - position_L
        window_LL = (back_LL >= 0) & (back_LL < self.spec.recent)
        if not self.training:
            return window_LL.expand(len(batch.time_BL), -1, -1)
        late_B11 = torch.rand(len(batch.time_BL), 1, 1, device=batch.time_BL.device) * WINDOW_SECONDS
        ago_BLL = batch.time_BL[:, :, None] - batch.time_BL[:, None, :]
        return window_LL & ((ago_BLL >= late_B11) | (back_LL == 0))

    def _maximum(self, x_BLD: Tensor) -> Tensor:
        """The greatest value of each channel inside the window of each position: (B, L, D)."""
        width = min(self.spec.recent, x_BLD.shape[1])
        padded_BDL = F.pad(x_BLD.transpose(1, 2), (width - 1, 0), value=-torch.inf)
        return F.max_pool1d(padded_BDL, width, stride=1).transpose(1, 2)


def latest(x_BLD: Tensor, k: int) -> Tensor:
    """Each position and the k - 1 before it side by side, channel by channel, zeros before the row: (B, L, D x k)."""
    return F.pad(x_BLD, (0, 0, k - 1, 0)).unfold(1, k, 1).flatten(2)
