"""The Transformer decoder with intent heads (Vaswani et al., "Attention is all you need", 2017).

From the paper: embeddings times sqrt(dim), post-norm blocks with dropout on the attention weights too, ReLU, and an
inner layer four times as wide. Positions are learned; the paper found no difference to sinusoids.

SASRec, BERT4Rec and TransAct use the attention or the blocks of this module, too.

Shape suffixes: B rows, L positions, D width, H heads (or 1: all alike), K width of a head.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary
from lab.baselines.base import Baseline, CausalMask


class Attention(nn.Module):
    """Multi-head attention whose queries may differ from its keys and values."""

    def __init__(self, dim: int, heads: int, dropout: float, project: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim) if project else nn.Identity()

    def forward(self, query_BLD: Tensor, x_BLD: Tensor, mask_HBLL: Tensor | None) -> Tensor:
        """(B, L, D). The mask is added to the scores or, if boolean, true where allowed; None means causal."""
        q_HBLK = self.query(query_BLD).unflatten(-1, (self.heads, -1)).permute(2, 0, 1, 3)
        k_HBLK, v_HBLK = self.key_value(x_BLD).unflatten(-1, (2, self.heads, -1)).permute(2, 3, 0, 1, 4)
        attended_HBLK = F.scaled_dot_product_attention(
            q_HBLK, k_HBLK, v_HBLK, mask_HBLL, self.dropout if self.training else 0.0, is_causal=mask_HBLL is None
        )
        return self.out(attended_HBLK.permute(1, 2, 0, 3).flatten(2))


class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)) (Vaswani et al., 2017)."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float, activation: type[nn.Module]) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.norm_attention = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), activation(), nn.Dropout(dropout), nn.Linear(hidden, dim))
        self.norm_mlp = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, mask_HBLL: Tensor | None) -> Tensor:
        """(B, L, D)."""
        x_BLD = self.norm_attention(x_BLD + self.dropout(self.attention(x_BLD, x_BLD, mask_HBLL)))
        return self.norm_mlp(x_BLD + self.dropout(self.mlp(x_BLD)))


class Transformer(Baseline):
    """Post-norm blocks under a causal mask."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary, positions=True)
        self.mask = CausalMask(spec)
        self.blocks = nn.ModuleList(
            PostNormBlock(spec.dim, spec.heads, 4 * spec.dim, spec.dropout, nn.ReLU) for _ in range(spec.layers)
        )

    def encode(self, batch: Batch) -> Tensor:
        """(B, L, D)."""
        x_BLD, mask_HBLL = self.embed(batch), self.mask(batch)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_HBLL)
        return x_BLD
