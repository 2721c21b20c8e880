"""BERT4Rec.

Sun et al., "Sequential recommendation with bidirectional encoder representations from Transformer", CIKM 2019.

From the paper: a mask replaces some interactions of a row, and the model predicts them from both sides. The blocks are
bidirectional and post-norm, with GELU and an inner layer four times as wide. The output is a layer with GELU, then the
item embeddings of the input and a bias per item. Two details come from the authors' code: it normalises after the
embeddings and after the output layer, and besides every ten random masks of a row it has one that hides the last item
alone, which is the task at prediction.

To predict after position k, the row is cut there, and a mask is appended. A row of full length loses its first
interaction.

Training predicts targets only, so only targets are hidden. Interactions that ended at the same moment (such as the
lines of an invoice) are hidden together, and none of their masks attends to another one, as at prediction. A mask hides
the facts and the time of its interaction. With facts among the inputs, it has the time of the latest interaction before
it that is not hidden, as at prediction. How long ago another interaction was has separate scores for what came before
and what comes after.

Shape suffixes: B rows, L positions, N targets or positions, C channels, D width, H heads, W positions of a cut row,
I titles.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from intentrec.model.embeddings import TitleEmbedding
from intentrec.model.encoder import RelativeTimeBias, ago_buckets, masked_buckets
from intentrec.model.features import Batch, Items
from intentrec.model.loss import LossParts, LossSettings
from intentrec.model.network import Network, Output, Prediction
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import OOV, Vocabulary
from lab.baselines.base import Inputs
from lab.baselines.transformer import PostNormBlock

LAST_ALONE = 1 / 11  # of a row's masks
CELLS = 2**16  # positions of cut rows encoded at once


class BothSides(nn.Module):
    """Bidirectional attention masks; with facts among the inputs they include a bias by the distance in time."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.before = None if spec.id_only else RelativeTimeBias(spec.heads)
        self.after = None if spec.id_only else RelativeTimeBias(spec.heads)

    def forward(self, time_BL: Tensor, allowed_BLL: Tensor) -> Tensor:
        """A mask for `transformer.Attention`."""
        if self.before is None or self.after is None:
            return allowed_BLL.unsqueeze(0)
        before_HBLL = self.before(masked_buckets(ago_buckets(time_BL), allowed_BLL.tril()))
        after_HBLL = self.after(masked_buckets(ago_buckets(-time_BL), allowed_BLL.triu(1)))
        return torch.maximum(before_HBLL, after_HBLL)  # one of the two is minus infinity


class Bert4Rec(Network):
    """Next item only."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec)
        self.titles = TitleEmbedding(spec, vocabulary)
        self.inputs = Inputs(spec, vocabulary, positions=True)
        self.hidden = nn.Parameter(torch.randn(spec.dim))  # the mask, in place of what an interaction was
        self.norm = nn.LayerNorm(spec.dim)
        self.dropout = nn.Dropout(spec.dropout)
        self.mask = BothSides(spec)
        self.blocks = nn.ModuleList(
            PostNormBlock(spec.dim, spec.heads, 4 * spec.dim, spec.dropout, nn.GELU) for _ in range(spec.layers)
        )
        self.to_item = nn.Sequential(nn.Linear(spec.dim, spec.dim), nn.GELU(), nn.LayerNorm(spec.dim))
        self.bias = nn.Parameter(torch.zeros(vocabulary.size("title_id")))

    def item_vectors(self, items: Items) -> Tensor:
        """Output vectors (I, D + 1) of titles: the input's and the bias, which is 0 for titles the vocabulary lacks."""
        bias_I = self.bias[items.title_I] * (items.title_I > OOV)
        return torch.cat([self.titles(items.title_I, items.tokens), bias_I.unsqueeze(-1)], -1)

    def forward(self, batch: Batch) -> Output:
        """Predict after every position, each from its own cut row. Use `at` where not all are needed."""
        row_N, k_N = batch.valid_BL.nonzero(as_tuple=True)
        h_ND = self.at(batch, row_N, k_N).h_ND
        item_BLD = h_ND.new_zeros(*batch.valid_BL.shape, h_ND.shape[-1])
        return Output(item_BLD.index_put((row_N, k_N), h_ND), {})

    def at(self, batch: Batch, row_N: Tensor, k_N: Tensor, session: tuple[Tensor, Tensor] | None = None) -> Prediction:
        """The predictions after position k of a row, from interactions up to k alone."""
        chunk = max(1, CELLS // (batch.title_BL.shape[1] + 1))
        parts = zip(row_N.split(chunk), k_N.split(chunk), strict=True)
        return Prediction(torch.cat([self._behind(batch, row, k) for row, k in parts]), {})

    def loss(self, batch: Batch, catalog: Items, settings: LossSettings) -> LossParts:
        """The loss of the targets that a random mask hides (Eq. 8 of the BERT4Rec paper), weighted as in Eq. 3."""
        hidden_BL = draw_hidden(batch.target_BL, batch.time_BL, self.spec.mask_share)
        targets = batch.targets()
        targets = targets.part(targets.of(hidden_BL) & (self.weight(batch, targets) > 0))
        prediction = Prediction(self._vectors(targets.of(self.encode(batch, hidden_BL))), {})
        return self.prediction_loss(prediction, batch, targets, catalog, settings)

    def encode(self, batch: Batch, hidden_BL: Tensor) -> Tensor:
        """(B, L, D) from rows whose `hidden_BL` interactions are replaced by the mask."""
        allowed_BLL = _visible(batch, hidden_BL)
        batch = _untimed(batch, hidden_BL)
        content_BLD = self.inputs.content(self.titles(batch.title_BL, batch.tokens), batch)
        content_BLD = torch.where(hidden_BL.unsqueeze(-1), self.hidden.to(content_BLD), content_BLD)
        x_BLD = self.dropout(self.norm(content_BLD + self.inputs.position_or_time(batch)))
        mask_HBLL = self.mask(batch.time_BL, allowed_BLL)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_HBLL)
        return x_BLD

    def _behind(self, batch: Batch, row_N: Tensor, k_N: Tensor) -> Tensor:
        cut, behind_N = cut_rows(batch, row_N, k_N, self.spec.length)
        hidden_NW = torch.arange(cut.title_BL.shape[1], device=behind_N.device) == behind_N.unsqueeze(-1)
        return self._vectors(self.encode(cut, hidden_NW)[torch.arange(len(row_N)), behind_N])

    def _vectors(self, x_ND: Tensor) -> Tensor:
        h_ND = self.to_item(x_ND)
        return torch.cat([h_ND, torch.ones_like(h_ND[:, :1])], -1)


def draw_hidden(target_BL: Tensor, time_BL: Tensor, share: float) -> Tensor:
    """Which interactions to hide (B, L): those of a random share of each row's moments with a target.

    For LAST_ALONE of the rows, and where none was drawn, it is the last such moment alone.
    """
    first_BL = _first_of_moment(time_BL)
    drawable_BL = torch.zeros_like(first_BL).scatter_add(1, first_BL, target_BL.long()) > 0  # at a moment's first place
    chance_BL = torch.rand(target_BL.shape, device=target_BL.device)
    alone_B1 = torch.rand(len(target_BL), 1, device=target_BL.device) < LAST_ALONE
    some_BL = drawable_BL & (chance_BL < share)
    last_BL = drawable_BL & (drawable_BL.flip(1).cumsum(1).flip(1) == 1)
    return torch.where(alone_B1 | ~some_BL.any(1, keepdim=True), last_BL, some_BL).gather(1, first_BL)


def _first_of_moment(time_BL: Tensor) -> Tensor:
    """Position of the first interaction that ended at the same moment: (B, L)."""
    place_BL = torch.arange(time_BL.shape[1], device=time_BL.device).expand_as(time_BL)
    begins_BL = torch.cat([torch.ones_like(time_BL[:, :1], dtype=torch.bool), time_BL[:, 1:] != time_BL[:, :-1]], 1)
    return torch.where(begins_BL, place_BL, 0).cummax(1).values


def _visible(batch: Batch, hidden_BL: Tensor) -> Tensor:
    """What each position may attend to (B, L, L): all interactions, but hidden ones not to others of their moment."""
    hidden_BLL = hidden_BL[:, :, None] & hidden_BL[:, None]
    mates_BLL = hidden_BLL & (batch.time_BL[:, :, None] == batch.time_BL[:, None])
    itself_LL = torch.eye(hidden_BL.shape[1], dtype=torch.bool, device=hidden_BL.device)
    return batch.valid_BL[:, None] & (itself_LL | ~mates_BLL)


def cut_rows(batch: Batch, row_N: Tensor, k_N: Tensor, length: int) -> tuple[Batch, Tensor]:
    """The latest `length - 1` interactions up to k, a row for each position, and the place after them (N,).

    That place holds interaction k again, which the caller hides.
    """
    behind_N = (k_N + 1).clamp(max=length - 1)
    begin_N = k_N + 1 - behind_N
    place_W = torch.arange(int(behind_N.max()) + 1 if len(behind_N) else 1, device=behind_N.device)
    at_NW = (begin_N.unsqueeze(-1) + place_W).minimum(k_N.unsqueeze(-1))
    cut = batch.map(lambda value: value[row_N.unsqueeze(-1), at_NW])
    gap_NW = torch.where(place_W > 0, cut.gap_BL, 0)  # the first interaction of a row has no gap
    return replace(cut, valid_BL=place_W <= behind_N.unsqueeze(-1), gap_BL=gap_NW), behind_N


def _untimed(batch: Batch, hidden_BL: Tensor) -> Batch:
    """The batch where hidden interactions have the time of the latest one before that is not hidden, and no gap."""
    position_BL = torch.arange(hidden_BL.shape[1], device=hidden_BL.device).expand_as(hidden_BL)
    known_BL = torch.where(hidden_BL, 0, position_BL).cummax(1).values
    row_B1 = torch.arange(len(hidden_BL), device=hidden_BL.device).unsqueeze(-1)
    time_BL, periodic_BLC = (value[row_B1, known_BL] for value in (batch.time_BL, batch.periodic_BLC))
    return replace(batch, time_BL=time_BL, periodic_BLC=periodic_BLC, gap_BL=batch.gap_BL.masked_fill(hidden_BL, 0))
