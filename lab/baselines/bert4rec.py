"""BERT4Rec.

Sun et al., "Sequential recommendation with bidirectional encoder representations from Transformer", CIKM 2019.

As there: interactions of a row are replaced by a mask and predicted from both sides; bidirectional post-norm blocks
with GELU and an inner layer four times as wide; at the output a layer with GELU, then the item embeddings of the
input and a bias per item. The authors' code normalises after the embeddings and after the output layer, and per ten
random masks of a row has one that hides its last item alone, which is what is asked later; so does this.

To answer after position k, the row is cut there and a mask put behind it. A row that is full loses its first
interaction.

Here as everywhere only targets are predicted, so only they are hidden, and with them whatever ended at the same moment
(the lines of an invoice, say); nor does a mask see the others of its moment: what is asked behind a row knows none of
them either. A hidden interaction hides its facts and its time: with facts among the inputs, a mask knows the time of
the latest interaction before it that is not hidden, as it does when it stands behind a row. How long ago another
interaction was is learned apart for what came before and what comes after.

Shape suffixes: B rows, L positions, N asked positions, D width, W positions of a cut row, I titles.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from intentrec.model.blocks import Dropout
from intentrec.model.clock import AgoBias, ago_buckets, seen
from intentrec.model.features import Batch, Items
from intentrec.model.items import TitleEmbedding
from intentrec.model.loss import LossParts, LossSettings
from intentrec.model.network import Answer, Network, Output
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import OOV, Vocabulary
from lab.baselines.baseline import Inputs
from lab.baselines.blocks import PostNormBlock

LAST_ALONE = 1 / 11  # of a row's masks
CELLS = 2**16  # positions of cut rows encoded at once


class BothSides(nn.Module):
    """What a position may attend to: everything that is allowed and, with facts, by how far away it is in time."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.before = None if spec.id_only else AgoBias(spec.heads)
        self.after = None if spec.id_only else AgoBias(spec.heads)

    def forward(self, time_BL: Tensor, allowed_BLL: Tensor) -> Tensor:
        """A mask for `blocks.Attention`."""
        if self.before is None or self.after is None:
            return allowed_BLL.unsqueeze(0)
        before_HBLL = self.before(seen(ago_buckets(time_BL), allowed_BLL.tril()))
        after_HBLL = self.after(seen(ago_buckets(-time_BL), allowed_BLL.triu(1)))
        return torch.maximum(before_HBLL, after_HBLL)  # one of the two is minus infinity


class Bert4Rec(Network):
    """Next item only."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec)
        self.titles = TitleEmbedding(spec, vocabulary)
        self.inputs = Inputs(spec, vocabulary, positions=True)
        self.hidden = nn.Parameter(torch.randn(spec.dim))  # the mask, in place of what an interaction was
        self.norm = nn.LayerNorm(spec.dim)
        self.dropout = Dropout(spec.dropout)
        self.mask = BothSides(spec)
        self.blocks = nn.ModuleList(
            PostNormBlock(spec.dim, spec.heads, 4 * spec.dim, spec.dropout, nn.GELU) for _ in range(spec.layers)
        )
        self.to_item = nn.Sequential(nn.Linear(spec.dim, spec.dim), nn.GELU(), nn.LayerNorm(spec.dim))
        self.bias = nn.Parameter(torch.zeros(vocabulary.size("title_id")))

    def item_vectors(self, items: Items) -> Tensor:
        """Output vectors (I, D + 1) of titles: the input's, and the bias, which a title that is not known lacks."""
        bias_I = self.bias[items.title_I] * (items.title_I > OOV)
        return torch.cat([self.titles(items.title_I, items.tokens), bias_I.unsqueeze(-1)], -1)

    def forward(self, batch: Batch) -> Output:
        """The answer after every position, each from a cut row of its own: use `at` where not all are needed."""
        row_N, k_N = batch.valid_BL.nonzero(as_tuple=True)
        h_ND = self.at(batch, row_N, k_N).h_ND
        item_BLD = h_ND.new_zeros(*batch.valid_BL.shape, h_ND.shape[-1])
        return Output(item_BLD.index_put((row_N, k_N), h_ND), {})

    def at(self, batch: Batch, row_N: Tensor, k_N: Tensor) -> Answer:
        """The answers after position k of a row, from interactions up to k alone."""
        chunk = max(1, CELLS // (batch.title_BL.shape[1] + 1))
        asked = zip(row_N.split(chunk), k_N.split(chunk), strict=True)
        return Answer(torch.cat([self._behind(batch, row, k) for row, k in asked]), {})

    def loss(self, batch: Batch, catalog: Items, settings: LossSettings) -> LossParts:
        """That of the targets that a random mask hides (Eq. 8 of the paper), with the weights of Eq. 3."""
        hidden_BL = draw_hidden(batch.target_BL, batch.time_BL, self.spec.mask_share)
        row_N, k_N, j_N = batch.questions()
        asked_N = hidden_BL[row_N, j_N] & (self.weight(batch, row_N, k_N, j_N) > 0)
        row_N, k_N, j_N = row_N[asked_N], k_N[asked_N], j_N[asked_N]
        answer = Answer(self._vectors(self.encode(batch, hidden_BL)[row_N, j_N]), {})
        return self.answer_loss(answer, batch, row_N, k_N, j_N, catalog, settings)

    def encode(self, batch: Batch, hidden_BL: Tensor) -> Tensor:
        """(B, L, D) from rows whose `hidden_BL` interactions are replaced by the mask."""
        allowed_BLL = _visible(batch, hidden_BL)
        batch = _untimed(batch, hidden_BL)
        what_BLD = self.inputs.what(self.titles(batch.title_BL, batch.tokens), batch)
        what_BLD = torch.where(hidden_BL.unsqueeze(-1), self.hidden.to(what_BLD), what_BLD)
        x_BLD = self.dropout(self.norm(what_BLD + self.inputs.when(batch)))
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
    """Which interactions to hide: those of a random share of a row's moments with a target, or of the last one alone.

    The last one sometimes, and where none was drawn.
    """
    first_BL = _first_of_moment(time_BL)
    asked_BL = torch.zeros_like(first_BL).scatter_add(1, first_BL, target_BL.long()) > 0  # at a moment's first place
    chance_BL = torch.rand(target_BL.shape, device=target_BL.device)
    alone_B1 = torch.rand(len(target_BL), 1, device=target_BL.device) < LAST_ALONE
    some_BL = asked_BL & (chance_BL < share)
    last_BL = asked_BL & (asked_BL.flip(1).cumsum(1).flip(1) == 1)
    return torch.where(alone_B1 | ~some_BL.any(1, keepdim=True), last_BL, some_BL).gather(1, first_BL)


def _first_of_moment(time_BL: Tensor) -> Tensor:
    """Place of the first interaction that ended at the same moment."""
    place_BL = torch.arange(time_BL.shape[1], device=time_BL.device).expand_as(time_BL)
    begins_BL = torch.cat([torch.ones_like(time_BL[:, :1], dtype=torch.bool), time_BL[:, 1:] != time_BL[:, :-1]], 1)
    return torch.where(begins_BL, place_BL, 0).cummax(1).values


def _visible(batch: Batch, hidden_BL: Tensor) -> Tensor:
    """What each position may attend to (B, L, L): all that is there, but hidden ones to no others of their moment."""
    hidden_BLL = hidden_BL[:, :, None] & hidden_BL[:, None]
    mates_BLL = hidden_BLL & (batch.time_BL[:, :, None] == batch.time_BL[:, None])
    itself_LL = torch.eye(hidden_BL.shape[1], dtype=torch.bool, device=hidden_BL.device)
    return batch.valid_BL[:, None] & (itself_LL | ~mates_BLL)


def cut_rows(batch: Batch, row_N: Tensor, k_N: Tensor, length: int) -> tuple[Batch, Tensor]:
    """The latest `length - 1` interactions up to k, a row for each question, and where the place behind them is (N,).

    What stands there is interaction k again; it is to be hidden.
    """
    behind_N = (k_N + 1).clamp(max=length - 1)
    begin_N = k_N + 1 - behind_N
    place_W = torch.arange(int(behind_N.max()) + 1 if len(behind_N) else 1, device=behind_N.device)
    at_NW = (begin_N.unsqueeze(-1) + place_W).minimum(k_N.unsqueeze(-1))
    cut = batch.map(lambda value: value[row_N.unsqueeze(-1), at_NW])
    gap_NW = torch.where(place_W > 0, cut.gap_BL, 0)  # a row's first interaction does not know the one before
    return replace(cut, valid_BL=place_W <= behind_N.unsqueeze(-1), gap_BL=gap_NW), behind_N


def _untimed(batch: Batch, hidden_BL: Tensor) -> Batch:
    """Hidden interactions with the time of the latest one before that is not hidden, and no gap."""
    position_BL = torch.arange(hidden_BL.shape[1], device=hidden_BL.device).expand_as(hidden_BL)
    known_BL = torch.where(hidden_BL, 0, position_BL).cummax(1).values
    row_B1 = torch.arange(len(hidden_BL), device=hidden_BL.device).unsqueeze(-1)
    time_BL, periodic_BLC = (value[row_B1, known_BL] for value in (batch.time_BL, batch.periodic_BLC))
    return replace(batch, time_BL=time_BL, periodic_BLC=periodic_BLC, gap_BL=batch.gap_BL.masked_fill(hidden_BL, 0))
