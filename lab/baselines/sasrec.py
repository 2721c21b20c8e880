"""SASRec (Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018).

As there: item embeddings times sqrt(dim) plus learned positions, blocks of causal attention and a point-wise
feed-forward net as wide as its input, a last normalisation, and the dot product with the very item embeddings of the
input. Where the paper's text and the authors' code differ, the code is followed, because its figures are the
published ones: only queries are normalised, not keys and values; what the residual path carries on is the normalised
input; heads are put side by side without a projection; and item embeddings begin small, as Glorot's rule for the
whole table has it: a title that is seen rarely would keep much of a larger start, which is noise to its score.

Two differences. The loss is the softmax over all titles that every system here descends, not a binary one against one
sampled title. And positions count from a row's start, not from its end: counted from the end, they would tell an
earlier position how many interactions are still to come.

Shape suffixes: B rows, L positions, D width.
"""

import torch
from torch import Tensor, nn

from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary
from lab.baselines.base import Baseline, CausalMask
from lab.baselines.transformer import Attention


class SASRecBlock(nn.Module):
    """q = norm(x), q + attention(q, x), then n = norm of that, n + mlp(n)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout, project=False)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim), nn.Dropout(dropout)
        )

    def forward(self, x_BLD: Tensor, mask_HBLL: Tensor | None) -> Tensor:
        """(B, L, D)."""
        query_BLD = self.norm_attention(x_BLD)
        x_BLD = self.norm_mlp(query_BLD + self.attention(query_BLD, x_BLD, mask_HBLL))
        return x_BLD + self.mlp(x_BLD)


class SASRec(Baseline):
    """Next item only; the title vectors are met without a layer in between."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary, positions=True)
        self.mask = CausalMask(spec)
        self.blocks = nn.ModuleList(SASRecBlock(spec.dim, spec.heads, spec.dropout) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.dim)
        self.to_item = nn.Identity()
        with torch.no_grad():
            self.titles.id.mul_((2 * spec.dim / sum(self.titles.id.shape)) ** 0.5)  # from a deviation of dim^-0.5

    def encode(self, batch: Batch) -> Tensor:
        """(B, L, D)."""
        x_BLD, mask_HBLL = self.embed(batch), self.mask(batch)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_HBLL)
        return self.norm(x_BLD)
