"""What is known of the titles of a user's own history, and the logit biases that follow from it. Not in the paper.

Shape suffixes: B rows, L positions, N targets or positions, D width of E^item, H heads of the history path, S
half-lives or facts of a title's state, C classes of the lead intent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from intentrec.model.features import STATE, Batch
from intentrec.model.logit_bias import Compatibility, HistoryPath, last_touch

WEEK_S = 604_800
HALF_LIVES = (4 * WEEK_S, 26 * WEEK_S)  # the naive baseline `decayed_frequent` has the same
LEAST = 1e-6  # of a decayed count, before its logarithm
# Of the two logarithms and of a title of the history, before anything is learned: at first the order is nearly that of
# personal popularity.
START = (0.5, 0.5, 3.0)


def log_decayed_counts(time_BL: Tensor, first_BL: Tensor) -> Tensor:
    """log of sum over i <= k of 2^(-(T_k - T_i) / half-life), over the interactions i with the title at a position.

    Args:
        time_BL: T_k in seconds.
        first_BL: where each position's title occurs first in its row.

    Returns:
        float32 (S, B, L, L) at k (third) of the title at a position (last); log of LEAST where it did not occur.
    """
    length = time_BL.shape[1]
    causal_LL = torch.ones(length, length, dtype=torch.bool, device=time_BL.device).tril()
    ago_BLL = (time_BL[:, :, None] - time_BL[:, None, :]).clamp(min=0).float()
    first_BLL = first_BL[:, None, :].expand(ago_BLL.shape)
    found = []
    for half_life in HALF_LIVES:
        decay_BLL = torch.exp2(-ago_BLL / half_life) * causal_LL
        count_BLL = torch.zeros_like(ago_BLL).scatter_add_(-1, first_BLL, decay_BLL).gather(-1, first_BLL)
        found.append(count_BLL.clamp(min=LEAST).log())
    return torch.stack(found)


class DecayedCounts(nn.Module):
    """A logit bias for each title of the history: w_0 + sum over s of w_s x log of its decayed count.

    The weights are linear in E^item. Counts decay with the half-lives HALF_LIVES. Beside the history path, which weighs
    interactions by what they are, this says how often and how recently, without a bound and from the first step on.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, len(HALF_LIVES) + 1)
        nn.init.zeros_(self.weight.weight)
        self.weight.bias.data = torch.tensor(START)

    def bias(self, item: Tensor, log_count: Tensor) -> Tensor:
        """Logit biases (..., L) of titles of the history.

        Args:
            item: E^item at some positions, or what stands for it (..., D).
            log_count: what `log_decayed_counts` returns at these positions (S, ..., L).
        """
        with torch.autocast(item.device.type, enabled=False):
            weight = self.weight(item.float()).movedim(-1, 0).unsqueeze(-1)
            return (weight[:-1] * log_count).sum(0) + weight[-1]


class TitleState(nn.Module):
    """A logit bias for each title of the history: sum over s of w_s x the fact s of `features.STATE`.

    The facts are those after the last interaction with the title. The weights are linear in E^item: someone who comes
    to continue wants what is begun, and someone who comes for something new does not.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, len(STATE))
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)

    def bias(self, item: Tensor, state: Tensor) -> Tensor:
        """Logit biases (..., L) of titles of the history.

        Args:
            item: E^item at some positions, or what stands for it (..., D).
            state: the facts (S, ..., L).
        """
        return (self.weight(item).movedim(-1, 0).unsqueeze(-1) * state).sum(0)


@dataclass(frozen=True)
class OwnTitles:
    """Facts at some positions of the title at each of the row's L positions. `...` is (B, L), or (N,).

    Attributes:
        is_last: bool (..., L): whether it is the last position up to here that has its title. Others get no bias.
        ago: bucket of the time since that position (..., L).
        act: tokens (..., L) of the columns that Compatibility reads.
        strength: of the history path (H, ..., L); None without one.
        log_count: of the decayed counts (S, ..., L); None without them.
        state: of the title's state (S, ..., L); None for a model that does not read it.
    """

    is_last: Tensor
    ago: Tensor
    act: dict[str, Tensor]
    strength: Tensor | None
    log_count: Tensor | None
    state: Tensor | None

    def at(self, row_N: Tensor, k_N: Tensor) -> "OwnTitles":
        """The facts at positions k of rows, of facts at all positions."""
        return self._chosen((row_N, k_N))

    def part(self, some: slice | Tensor) -> "OwnTitles":
        """The facts at some of N positions."""
        return self._chosen((some,))

    def _chosen(self, where: tuple[Tensor | slice, ...]) -> "OwnTitles":
        return OwnTitles(
            self.is_last[where],
            self.ago[where],
            {name: value[where] for name, value in self.act.items()},
            None if self.strength is None else self.strength[:, *where],
            None if self.log_count is None else self.log_count[:, *where],
            None if self.state is None else self.state[:, *where],
        )


@dataclass(frozen=True)
class OwnTitleBiases:
    """The parts of a model that give logit biases to the user's own titles, those that its spec turns on."""

    history: HistoryPath | None
    counts: DecayedCounts | None
    state: TitleState | None
    compatible: Compatibility | None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(part is not None for part in (self.history, self.counts, self.state, self.compatible))

    def facts(self, item_BLD: Tensor, batch: Batch, ago_BLL: Tensor, bucket_BLL: Tensor) -> OwnTitles:
        """The facts at all positions.

        Args:
            item_BLD: E^item.
            batch: the rows.
            ago_BLL: what `encoder.ago_buckets` returns.
            bucket_BLL: what `encoder.masked_buckets` returns for everything up to k.
        """
        columns = set() if self.compatible is None else set(self.compatible.act.values())
        return OwnTitles(
            last_touch(batch.first_BL),
            ago_BLL,
            {name: batch.tokens[name][:, None, :].expand(ago_BLL.shape) for name in sorted(columns)},
            None if self.history is None else self.history.strength(item_BLD, batch.first_BL, bucket_BLL),
            None if self.counts is None else log_decayed_counts(batch.time_BL, batch.first_BL),
            None if self.state is None else batch.state_BLS.movedim(-1, 0).unsqueeze(2).expand(-1, *ago_BLL.shape),
        )

    def bias(self, item: Tensor, p: Mapping[str, Tensor], own: OwnTitles) -> Tensor:
        """Logit biases (..., L) of the title at each position; 0 unless it is the last position with its title.

        Args:
            item: E^item at some positions, or what stands for it (..., D).
            p: distribution of each intent there (..., C).
            own: the facts there.
        """
        return reduce(torch.add, self.parts(item, p, own).values()) * own.is_last

    def parts(self, item: Tensor, p: Mapping[str, Tensor], own: OwnTitles) -> dict[str, Tensor]:
        """What each part gives to the title at each position (..., L), by the part's name in the spec.

        `bias` is their sum at the last position with the title. Arguments as of `bias`.
        """
        found = {}
        if self.history is not None and own.strength is not None:
            found["history_path"] = self.history.bias(item, own.strength)
        if self.counts is not None and own.log_count is not None:
            found["decayed_counts"] = self.counts.bias(item, own.log_count)
        if self.state is not None and own.state is not None:
            found["title_state"] = self.state.bias(item, own.state)
        if self.compatible is not None:
            found["compatibility"] = self.compatible.bias(p, own.act, own.ago)
        return found
