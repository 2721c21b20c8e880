"""T_k in the Transformers (§3.3 uses "timestamp embeddings as positional encoding").

Nothing here is a table of dates, so weeks never seen in training mean something: hour of the day and day of the week
are periodic, durations are logarithmic. An additive embedding says *when* an interaction was; a bias on the attention
scores, by T_k - T_i, says *how long ago* it was as seen from k. Both use nothing later than T_k.

Shape suffixes: B rows, L positions, D width, C channels, H heads, T rows of a table.
"""

import torch
from torch import Tensor, nn

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
    """`table[index]` for a short table and a long index, by column (H first).

    Column by column, because a row of a few numbers costs more to find than to copy; and the gradient is a histogram,
    not a scatter row by row.
    """

    @staticmethod
    def forward(ctx, table_TH, index):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(index)
        ctx.rows = len(table_TH)
        return table_TH.t().contiguous().index_select(1, index.flatten()).unflatten(1, index.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (index,) = ctx.saved_tensors
        columns = [torch.bincount(index.flatten(), part.flatten(), ctx.rows) for part in grad]
        return torch.stack(columns, -1).to(grad.dtype), None


class AgoBias(nn.Module):
    """A learned score per head for "i lies about 2^b seconds before k"."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(TIME_BUCKETS, heads))

    def forward(self, ago_BLL: Tensor, allowed_BLL: Tensor) -> Tensor:
        """Additive attention mask (B, H, L, L): the bias, and minus infinity where attention is not allowed."""
        bias_BHLL = _Lookup.apply(self.table, ago_BLL).transpose(0, 1)
        return bias_BHLL.masked_fill(~allowed_BLL[:, None], float("-inf"))


def ago_buckets(time_BL: Tensor) -> Tensor:
    """floor(log2(1 + T_k - T_i)) for query k and key i: (B, L, L). Keys later than the query are masked anyway."""
    ago_BLL = (time_BL[:, :, None] - time_BL[:, None, :]).clamp(min=0)
    return torch.log2(1 + ago_BLL.float()).long().clamp(max=TIME_BUCKETS - 1)


def causal_mask(batch: Batch) -> Tensor:
    """Position k attends to i <= k: (B, L, L), true where allowed."""
    b, length = batch.time_BL.shape
    return torch.ones(length, length, dtype=torch.bool, device=batch.time_BL.device).tril().expand(b, -1, -1)


def window_mask(batch: Batch, h: str) -> Tensor:
    """Position k attends to pos_k <= i <= k, with pos_k the start of the window H of Eq. 1: (B, L, L)."""
    position_L = torch.arange(batch.time_BL.shape[1], device=batch.time_BL.device)
    return causal_mask(batch) & (position_L >= batch.window[h][:, :, None])
