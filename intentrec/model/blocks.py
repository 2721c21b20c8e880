"""Pre-norm Transformer blocks under an arbitrary additive attention mask.

Shape suffixes: B rows, L positions, D width, H heads, K width of a head.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.clock import AgoBias, TimeEmbedding
from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BLD: Tensor, mask_BHLL: Tensor) -> Tensor:
        """(B, L, D)."""
        q_BHLK, k_BHLK, v_BHLK = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y_BHLK = F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=mask_BHLL)
        return self.out(y_BHLK.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, mask_BHLL: Tensor) -> Tensor:
        """(B, L, D)."""
        x_BLD = x_BLD + self.dropout(self.attention(self.norm_attention(x_BLD), mask_BHLL))
        return x_BLD + self.dropout(self.mlp(self.norm_mlp(x_BLD)))


class Encoder(nn.Module):
    """A fully connected layer and normalisation (§3.3), the time embedding, and Transformer blocks."""

    def __init__(self, dim_in: int, spec: ModelSpec, layers: int, gap: bool = True) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Linear(dim_in, spec.dim), nn.LayerNorm(spec.dim))
        self.time = TimeEmbedding(spec.dim, gap)
        self.ago = AgoBias(spec.heads)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(Block(spec.dim, spec.heads, spec.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(spec.dim)

    def forward(self, x_BLI: Tensor, batch: Batch, ago_BLL: Tensor, allowed_BLL: Tensor) -> Tensor:
        """Encode input features (B, L, dim_in) into (B, L, D)."""
        x_BLD = self.dropout(self.reduce(x_BLI) + self.time(batch))
        mask_BHLL = self.ago(ago_BLL, allowed_BLL)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_BHLL)
        return self.norm(x_BLD)
