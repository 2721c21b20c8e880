"""What some titles' logits have on top of the dot product: a few numbers per user, never one per title.

Shape suffixes: N users or positions, L titles that are biased, D width, J candidates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class LogitBias:
    """`value_NL` is added to the logit of candidate `title_NL`; a negative number stands for no candidate."""

    title_NL: Tensor
    value_NL: Tensor

    def part(self, some: slice | Tensor) -> "LogitBias":
        """The logit biases of some of the users or positions."""
        return LogitBias(self.title_NL[some], self.value_NL[some])

    def placed(self, place_I: Tensor) -> "LogitBias":
        """The same by other numbers of the candidates: what was i is `place_I[i]`, negative for no candidate."""
        return LogitBias(torch.where(self.title_NL >= 0, place_I[self.title_NL.clamp(min=0)], -1), self.value_NL)

    def beside(self, other: "LogitBias") -> "LogitBias":
        """Both; where a title has two logit biases, they add up."""
        titles, values = (self.title_NL, other.title_NL), (self.value_NL, other.value_NL)
        return LogitBias(torch.cat(titles, -1), torch.cat(values, -1))

    def padded(self, width: int) -> "LogitBias":
        """The same with as many places per user, those that are added without a candidate."""
        more = (0, width - self.title_NL.shape[-1])
        return LogitBias(F.pad(self.title_NL, more, value=-1), F.pad(self.value_NL, more))

    def within(self, begin: int, end: int) -> "LogitBias":
        """Those of candidates `begin` to `end`, counted from `begin`."""
        inside_NL = (self.title_NL >= begin) & (self.title_NL < end)
        return LogitBias(torch.where(inside_NL, self.title_NL - begin, -1), self.value_NL)

    def add_to(self, logit_NJ: Tensor) -> Tensor:
        """Add to logits, in place."""
        if not logit_NJ.shape[-1]:  # no candidate at all
            return logit_NJ
        here_NL = self.title_NL >= 0
        return logit_NJ.scatter_add_(-1, self.title_NL.clamp(min=0), self.value_NL.to(logit_NJ) * here_NL)

    def of(self, title_N: Tensor) -> Tensor:
        """What one title of each user or position gets: (N,)."""
        return (self.value_NL * (self.title_NL == title_N[:, None])).sum(-1)

    def gradient(self, grad_NJ: Tensor) -> Tensor:
        """The gradient of the values (N, L) from that of the logits they were added to."""
        return grad_NJ.gather(-1, self.title_NL.clamp(min=0)) * (self.title_NL >= 0)


def logits(h_ND: Tensor, item_JD: Tensor, logit_bias: LogitBias | None) -> Tensor:
    """The logits of all candidates: (N, J)."""
    logit_NJ = h_ND @ item_JD.T
    return logit_NJ if logit_bias is None else logit_bias.add_to(logit_NJ)
