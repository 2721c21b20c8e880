"""SASRec (Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018).

From the paper: item embeddings times sqrt(dim) plus learned positions, blocks of causal attention and a point-wise
feed-forward net as wide as its input, a last normalisation, and the dot product with the same item embeddings.

Where the paper's text and the authors' code differ, this follows the code, which made the published figures. Only
queries are normalised, not keys and values. The residual path carries the normalised input. Heads are concatenated
without a projection. Item embeddings start small, by Glorot's rule for the whole table: a rarely seen title would keep
much of a larger start, which is noise in its score.

Two things differ from both. The loss is the softmax over all titles, as for every model here, instead of a binary loss
against one sampled title. Positions count from the start of a row: counted from the end, they would tell an earlier
position how many interactions follow.

Shape suffixes: B rows, L positions, D width, H heads.
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
    """Next item only, without a layer between the encoder and the title vectors."""

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
