"""T_k in the Transformers (§3.3 uses "timestamp embeddings as positional encoding").

Nothing here is a table of dates, so weeks never seen in training mean something: hour of the day and day of the week
are periodic, durations are logarithmic. An additive embedding says *when* an interaction was; a bias on the attention
scores, by T_k - T_i, says *how long ago* it was as seen from k. Both use nothing later than T_k.

Shape suffixes: B rows, L positions, D width, C channels, H heads, T rows of a table, J numbers to look up.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.features import PERIODIC_CHANNELS, TIME_BUCKETS, Batch


class TimeEmbedding(nn.Module):
    """Hour and weekday of T_k and, with `gap`, the time since the interaction before it."""

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
    """`table_HT[:, index_J]` for short rows and a long index, whose gradient is a histogram, not a scatter."""

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


class AgoBias(nn.Module):
    """A learned score per head for "i lies about 2^b seconds before k"."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(TIME_BUCKETS, heads))

    def forward(self, seen_BLL: Tensor) -> Tensor:
        """Additive attention mask (H, B, L, L) of what `seen` returns: the bias, and minus infinity where not seen."""
        table_HT = F.pad(self.table.t(), (0, 1), value=float("-inf"))
        return _Lookup.apply(table_HT, seen_BLL.flatten()).unflatten(1, seen_BLL.shape)


def ago_buckets(time_BL: Tensor) -> Tensor:
    """floor(log2(1 + T_k - T_i)) for query k and key i: (B, L, L). Keys later than the query are masked anyway."""
    ago_BLL = (time_BL[:, :, None] - time_BL[:, None, :]).clamp(min=0)
    return torch.log2(1 + ago_BLL.float()).long().clamp(max=TIME_BUCKETS - 1)


def seen(ago_BLL: Tensor, allowed_BLL: Tensor) -> Tensor:
    """The bucket of `ago_buckets` where attention is allowed, and one more than the last where it is not: (B, L, L)."""
    return torch.where(allowed_BLL, ago_BLL, TIME_BUCKETS).int()


def causal_mask(batch: Batch) -> Tensor:
    """Position k attends to i <= k: (B, L, L), true where allowed."""
    b, length = batch.time_BL.shape
    return torch.ones(length, length, dtype=torch.bool, device=batch.time_BL.device).tril().expand(b, -1, -1)


def window_mask(batch: Batch, h: str) -> Tensor:
    """Position k attends to pos_k <= i <= k, with pos_k the start of the window H of Eq. 1: (B, L, L)."""
    position_L = torch.arange(batch.time_BL.shape[1], device=batch.time_BL.device)
    return causal_mask(batch) & (position_L >= batch.window[h][:, :, None])
