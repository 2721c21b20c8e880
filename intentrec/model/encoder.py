"""The Transformer encoder, with timestamps as positions (§3.3).

Two things carry the time. An additive embedding says when an interaction was. A bias on the attention scores, by
T_k - T_i, says how long before k it was. Both use nothing later than T_k. Neither is a table of dates, so they also
work for weeks that training never saw: hour and weekday are periodic, and durations are logarithmic.

Shape suffixes: B rows, L positions, C channels, I width of the input, D width, H heads (in a mask, 1 stands for all
heads), K width of a head, T rows of a table, J numbers to look up.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.features import PERIODIC_CHANNELS, TIME_BUCKETS, Batch
from intentrec.model.spec import ModelSpec


class TimeEmbedding(nn.Module):
    """Hour and weekday of T_k in the service's zone and, with `gap`, the time since the interaction before it."""

    def __init__(self, dim: int, gap: bool) -> None:
        super().__init__()
        self.periodic = nn.Linear(PERIODIC_CHANNELS, dim)
        self.gap = nn.Embedding(TIME_BUCKETS, dim) if gap else None
        if self.gap is not None:
            nn.init.normal_(self.gap.weight, std=0.02)

    def forward(self, batch: Batch) -> Tensor:
        """(B, L, D)."""
        time_BLD = self.periodic(batch.periodic_BLC)
        return time_BLD if self.gap is None else time_BLD + self.gap(batch.gap_BL)


class _Lookup(torch.autograd.Function):
    """`table_HT[:, index_J]` for short rows and a long index. Its gradient is a histogram instead of a scatter."""

    @staticmethod
    def forward(ctx, table_HT, index_J):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(index_J)
        ctx.width = table_HT.shape[1]
        return table_HT.index_select(1, index_J)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_HJ):  # type: ignore[no-untyped-def]
        (index_J,) = ctx.saved_tensors
        rows = [torch.bincount(index_J, grad_J, ctx.width) for grad_J in grad_HJ]
        return torch.stack(rows).to(grad_HJ.dtype), None


class RelativeTimeBias(nn.Module):
    """A learned attention bias per head and per bucket of the time between key i and query k."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(TIME_BUCKETS, heads))

    def forward(self, bucket_BLL: Tensor) -> Tensor:
        """Additive attention mask (H, B, L, L): the bias of each bucket, minus infinity where attention is not allowed.

        Args:
            bucket_BLL: as `masked_buckets` returns it.
        """
        table_HT = F.pad(self.table.t(), (0, 1), value=float("-inf"))
        return _Lookup.apply(table_HT, bucket_BLL.flatten()).unflatten(1, bucket_BLL.shape)


def duration_buckets(seconds: Tensor) -> Tensor:
    """floor(log2(1 + seconds)): int64 of any shape, at most TIME_BUCKETS - 1."""
    return torch.log2(1 + seconds.clamp(min=0).float()).long().clamp(max=TIME_BUCKETS - 1)


def ago_buckets(time_BL: Tensor) -> Tensor:
    """floor(log2(1 + T_k - T_i)) for query k and key i: (B, L, L) int64. Keys later than the query are masked anyway.

    Args:
        time_BL: T_k in seconds.
    """
    return duration_buckets(time_BL[:, :, None] - time_BL[:, None, :])


def masked_buckets(ago_BLL: Tensor, allowed_BLL: Tensor) -> Tensor:
    """`ago_buckets` where attention is allowed, TIME_BUCKETS elsewhere: (B, L, L) int32.

    Args:
        ago_BLL: as `ago_buckets` returns it.
        allowed_BLL: bool, whether query k (second) may attend to key i (third).
    """
    return torch.where(allowed_BLL, ago_BLL, TIME_BUCKETS).int()


def causal_mask(batch: Batch) -> Tensor:
    """Position k attends to i <= k: (B, L, L), true where allowed."""
    b, length = batch.time_BL.shape
    return torch.ones(length, length, dtype=torch.bool, device=batch.time_BL.device).tril().expand(b, -1, -1)


def window_mask(batch: Batch, h: str) -> Tensor:
    """Position k attends to pos_k <= i <= k, with pos_k the start of the window H of Eq. 1: (B, L, L)."""
    position_L = torch.arange(batch.time_BL.shape[1], device=batch.time_BL.device)
    return causal_mask(batch) & (position_L >= batch.window[h][:, :, None])


class Attention(nn.Module):
    """Multi-head self-attention under an additive mask."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BLD: Tensor, mask_HBLL: Tensor) -> Tensor:
        """(B, L, D)."""
        q_HBLK, k_HBLK, v_HBLK = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 3, 0, 1, 4)
        attended_HBLK = F.scaled_dot_product_attention(q_HBLK, k_HBLK, v_HBLK, mask_HBLL)
        return self.out(attended_HBLK.permute(1, 2, 0, 3).flatten(2))


class Block(nn.Module):
    """A pre-norm block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

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
        self.ago = RelativeTimeBias(spec.heads)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(Block(spec.dim, spec.heads, spec.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(spec.dim)

    def forward(self, x_BLI: Tensor, batch: Batch, bucket_BLL: Tensor) -> Tensor:
        """Encode input features (B, L, I) into (B, L, D).

        Args:
            x_BLI: input features.
            batch: the rows, for their times.
            bucket_BLL: what each position attends to, as `masked_buckets` returns it.
        """
        x_BLD = self.dropout(self.reduce(x_BLI) + self.time(batch))
        mask_HBLL = self.ago(bucket_BLL)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_HBLL)
        return self.norm(x_BLD)
