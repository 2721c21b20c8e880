"""Pre-norm Transformer blocks under an arbitrary additive attention mask.

Shape suffixes: B rows, L positions, D width, H heads (in a mask, or 1: all alike), K width of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.clock import AgoBias, TimeEmbedding
from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec


class Dropout(nn.Dropout):
    """`nn.Dropout`. On a CPU 15 bits decide on a number, where torch draws 64, which is a good part of a step."""

    def forward(self, x: Tensor) -> Tensor:
        """As many numbers."""
        if not self.training or not self.p or x.device.type != "cpu":
            return super().forward(x)
        chance = torch.empty(x.shape, dtype=torch.int16).random_()  # 0 to 2^15 - 1, each as likely
        return x * ((chance >= round(self.p * 2**15)).to(x.dtype) / (1 - self.p))


def attend(
    q_HBLK: Tensor, k_HBLK: Tensor, v_HBLK: Tensor, mask_HBLL: Tensor | None, dropout: nn.Module | None = None
) -> Tensor:
    """softmax(q k' / sqrt(K) + mask) v: (H, B, L, K). No mask stands for everything up to k.

    Written out for training on a CPU, where torch has no kernel of its own for a mask with a gradient, and looks
    for positions that may attend to nothing; there are none.
    """
    rate = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    if mask_HBLL is None or not mask_HBLL.requires_grad or mask_HBLL.device.type != "cpu":
        return F.scaled_dot_product_attention(q_HBLK, k_HBLK, v_HBLK, mask_HBLL, rate, is_causal=mask_HBLL is None)
    q, k, v, mask = (each.flatten(0, 1) for each in (q_HBLK * q_HBLK.shape[-1] ** -0.5, k_HBLK, v_HBLK, mask_HBLL))
    weight = torch.baddbmm(mask, q, k.mT).softmax(-1)
    return torch.bmm(weight if dropout is None else dropout(weight), v).unflatten(0, mask_HBLL.shape[:2])


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BLD: Tensor, mask_HBLL: Tensor) -> Tensor:
        """(B, L, D)."""
        q_HBLK, k_HBLK, v_HBLK = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 3, 0, 1, 4)
        return self.out(attend(q_HBLK, k_HBLK, v_HBLK, mask_HBLL).permute(1, 2, 0, 3).flatten(2))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = Dropout(dropout)

    def forward(self, x_BLD: Tensor, mask_HBLL: Tensor) -> Tensor:
        """(B, L, D)."""
        x_BLD = x_BLD + self.dropout(self.attention(self.norm_attention(x_BLD), mask_HBLL))
        return x_BLD + self.dropout(self.mlp(self.norm_mlp(x_BLD)))


class Encoder(nn.Module):
    """A fully connected layer and normalisation (§3.3), the time embedding, and Transformer blocks."""

    def __init__(self, dim_in: int, spec: ModelSpec, layers: int, gap: bool = True) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Linear(dim_in, spec.dim), nn.LayerNorm(spec.dim))
        self.time = TimeEmbedding(spec.dim, gap)
        self.ago = AgoBias(spec.heads)
        self.dropout = Dropout(spec.dropout)
        self.blocks = nn.ModuleList(Block(spec.dim, spec.heads, spec.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(spec.dim)

    def forward(self, x_BLI: Tensor, batch: Batch, seen_BLL: Tensor) -> Tensor:
        """Encode input features (B, L, dim_in) into (B, L, D). `clock.seen` tells what each position attends to."""
        x_BLD = self.dropout(self.reduce(x_BLI) + self.time(batch))
        mask_HBLL = self.ago(seen_BLL)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_HBLL)
        return self.norm(x_BLD)
