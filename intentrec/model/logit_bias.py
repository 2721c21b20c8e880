"""Logit biases: numbers that are added to the logits of a few titles of each user. They are not in the paper.

Parts of a model give logit biases, each if the model's spec turns it on:

- `HistoryPath` and `own_titles.DecayedCounts`: titles of the user's own history.
- `NeighbourPath`: titles that are engaged near those of the history.
- `Compatibility`: titles that fit a predicted intent.

All of them work for titles released after training, and a bias shows why a title was recommended.

Shape suffixes: B rows, L positions, N users or positions, D width of E^item, H heads, K width of a head or neighbours
of a title, W last interactions, J = W x K candidates, C classes of an intent or interactions that count as near, G
labels of a title, V tokens of a column, I titles.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.encoder import RelativeTimeBias
from intentrec.model.features import TIME_BUCKETS, Items, TargetPositions
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST, Vocabulary

MAX_SCORE = 20.0  # of the history path, before exp: beyond it the logarithm is linear anyway
SOURCES = 10  # last interactions whose neighbours get a logit bias
COUNTED, DECAY = 20, 0.9  # interactions before a target that count as near, and the weight of each relative to the next
SCALE = 32.0  # of a logit, for a similarity of 1, before anything is learned


@dataclass(frozen=True)
class LogitBias:
    """`value_NL` (float) is added to the logit of candidate `title_NL` (int64); a negative number is no candidate."""

    title_NL: Tensor
    value_NL: Tensor

    def part(self, some: slice | Tensor) -> "LogitBias":
        """The logit biases of some of the users or positions."""
        return LogitBias(self.title_NL[some], self.value_NL[some])

    def renumbered(self, number_I: Tensor) -> "LogitBias":
        """The same for other numbers of the candidates: i becomes `number_I[i]`, negative for no candidate."""
        return LogitBias(torch.where(self.title_NL >= 0, number_I[self.title_NL.clamp(min=0)], -1), self.value_NL)

    def beside(self, other: "LogitBias") -> "LogitBias":
        """Both. Where a title has two logit biases, they add up."""
        titles, values = (self.title_NL, other.title_NL), (self.value_NL, other.value_NL)
        return LogitBias(torch.cat(titles, -1), torch.cat(values, -1))

    def padded(self, width: int) -> "LogitBias":
        """The same with `width` columns; those that are added hold no candidate."""
        more = (0, width - self.title_NL.shape[-1])
        return LogitBias(F.pad(self.title_NL, more, value=-1), F.pad(self.value_NL, more))

    def within(self, begin: int, end: int) -> "LogitBias":
        """Those of candidates `begin` to `end`, counted from `begin`."""
        inside_NL = (self.title_NL >= begin) & (self.title_NL < end)
        return LogitBias(torch.where(inside_NL, self.title_NL - begin, -1), self.value_NL)

    def add_to(self, logit_NI: Tensor) -> Tensor:
        """Add to logits, in place."""
        if not logit_NI.shape[-1]:  # no candidate at all
            return logit_NI
        here_NL = self.title_NL >= 0
        return logit_NI.scatter_add_(-1, self.title_NL.clamp(min=0), self.value_NL.to(logit_NI) * here_NL)

    def of(self, title_N: Tensor) -> Tensor:
        """The logit bias of one title per user or position: (N,)."""
        return (self.value_NL * (self.title_NL == title_N[:, None])).sum(-1)

    def gradient(self, grad_NI: Tensor) -> Tensor:
        """The gradient of the values (N, L) from that of the logits they were added to."""
        return grad_NI.gather(-1, self.title_NL.clamp(min=0)) * (self.title_NL >= 0)


class HistoryPath(nn.Module):
    """A logit bias for each title of the user's history.

    Users return to titles. A user vector as wide as the encoder cannot hold which thirty of a thousand titles a user
    knows. So head h adds gate_h(E^item_k) x log(1 + sum of exp(score_h(k, i)) over the interactions i <= k with the
    title).

    There is no softmax over the history: knowing one title does not make another one less likely. The logarithm is
    there because a title touched ten times is not ten times as likely as one touched once. A negative gate
    favours titles that are new to the user.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.ago = RelativeTimeBias(heads)
        self.gate = nn.Linear(dim, heads)

    def strength(self, item_BLD: Tensor, first_BL: Tensor, bucket_BLL: Tensor) -> Tensor:
        """The logarithms (H, B, L, L) at k (third) of the title at i (last), in float32.

        Args:
            item_BLD: E^item.
            first_BL: where each position's title occurs first in its row.
            bucket_BLL: what `encoder.masked_buckets` returns for everything up to k.
        """
        q_HBLK, k_HBLK = (
            side(item_BLD).unflatten(-1, (self.heads, -1)).permute(2, 0, 1, 3) for side in (self.query, self.key)
        )
        score_HBLL = q_HBLK @ k_HBLK.mT * q_HBLK.shape[-1] ** -0.5 + self.ago(bucket_BLL)
        same_BLL = first_BL[:, :, None] == first_BL[:, None, :]
        with torch.autocast(item_BLD.device.type, enabled=False):  # sums of exponentials need float32
            return (score_HBLL.float().clamp(max=MAX_SCORE).exp() @ same_BLL.float()).log1p()

    def bias(self, item: Tensor, strength: Tensor) -> Tensor:
        """Logit biases (..., L) of titles.

        Args:
            item: E^item at some positions, or what stands for it (..., D).
            strength: what `strength` returns at these positions (H, ..., L).
        """
        with torch.autocast(item.device.type, enabled=False):
            gate = self.gate(item.float()).movedim(-1, 0).unsqueeze(-1)
            return (gate * strength).sum(0)


def last_touch(first_BL: Tensor) -> Tensor:
    """Whether i (third) is the last position up to k (second) that has its title: bool (B, L, L)."""
    same_BLL = first_BL[:, :, None] == first_BL[:, None, :]
    length = same_BLL.shape[-1]
    position_L = torch.arange(length, device=same_BLL.device)
    later_LL = position_L > position_L[:, None]
    next_BL = torch.where(same_BLL & later_LL, position_L, length).amin(-1)
    return ~later_LL & (position_L[:, None] < next_BL[:, None, :])


@dataclass(frozen=True)
class NeighbourCounts:
    """The K neighbours of each of the vocabulary's titles, in the order of their indices; the nearest first."""

    title_IK: Tensor  # int32 numbers of the neighbours in the vocabulary, -1 for none
    similarity_IK: Tensor  # float32 cosine of the two titles' counts
    cooccurrence_IK: Tensor  # float32: how often, and how near, the two were engaged one after another; 1 for none


class NeighbourPath(nn.Module):
    """Neighbours of the last interactions: gate(E^item_k) x weight(how many interactions ago) x similarity of two
    titles.

    Which titles are engaged near one another is counted exactly, pair by pair. Embeddings hold it only in outline. So
    each of the user's last interactions adds a logit bias to the titles most similar to its own.

    The counts include every training target. So in training, the part that a target itself has in the counts is taken
    out of its logit bias (`without_target`).
    """

    title_VK: Tensor  # as in `NeighbourCounts`, of all tokens of titles
    similarity_VK: Tensor
    cooccurrence_VK: Tensor

    def __init__(self, dim: int, tokens: int, kept: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, 1)
        self.log_weight = nn.Parameter(torch.arange(SOURCES) * torch.tensor(DECAY).log())
        self.register_buffer("title_VK", torch.full((tokens, kept), -1, dtype=torch.int32))
        self.register_buffer("similarity_VK", torch.zeros(tokens, kept))
        self.register_buffer("cooccurrence_VK", torch.ones(tokens, kept))
        self.register_load_state_dict_pre_hook(_rename_buffers)

    def set_counts(self, counts: NeighbourCounts) -> None:
        """Take the counts of the training data."""
        self.title_VK[FIRST:] = counts.title_IK
        self.similarity_VK[FIRST:] = counts.similarity_IK
        self.cooccurrence_VK[FIRST:] = counts.cooccurrence_IK

    def forward(self, item: Tensor) -> Tensor:
        """The neighbour weight of each of the last interactions up to k, the latest first: (..., W).

        Args:
            item: E^item at some positions, or what stands for it (..., D).
        """
        return SCALE * F.softplus(self.gate(item)) * self.log_weight.exp()

    def logit_bias(self, weight_NW: Tensor, title_BL: Tensor, row_N: Tensor, k_N: Tensor) -> LogitBias:
        """Logit biases after position k of a row, of titles by their number in the vocabulary.

        Args:
            weight_NW: the neighbour weights.
            title_BL: titles of the batch, as indices of the vocabulary.
            row_N: rows of the batch.
            k_N: positions in these rows.
        """
        title_NW = _latest(title_BL, row_N, k_N, SOURCES)
        value_NWK = weight_NW.unsqueeze(-1) * self.similarity_VK[title_NW]
        return LogitBias(self.title_VK[title_NW].flatten(1).long(), value_NWK.flatten(1))

    def without_target(self, logit_bias: LogitBias, title_BL: Tensor, targets: TargetPositions) -> LogitBias:
        """The same logit biases, without the part that each target has in the counts of its own title.

        Args:
            logit_bias: as `logit_bias` returns it after position k of each target.
            title_BL: titles of the batch, as indices of the vocabulary.
            targets: of the batch.
        """
        source_NW = _latest(title_BL, targets.row_N, targets.k_N, SOURCES)
        decay_C = DECAY ** torch.arange(COUNTED, device=title_BL.device)
        same_NWC = source_NW.unsqueeze(-1) == _latest(title_BL, targets.row_N, targets.j_N - 1, COUNTED).unsqueeze(1)
        share_NJ = ((same_NWC * decay_C).sum(-1, keepdim=True) / self.cooccurrence_VK[source_NW]).flatten(1)
        own_NJ = logit_bias.title_NL == (targets.of(title_BL) - FIRST).unsqueeze(-1)
        return LogitBias(logit_bias.title_NL, logit_bias.value_NL * (1 - share_NJ.clamp(max=1) * own_NJ))


def _rename_buffers(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load models that were saved when the buffers had other names."""
    for old, new in (("alike_VK", "similarity_VK"), ("met_VK", "cooccurrence_VK")):
        if prefix + old in state:
            state[prefix + new] = state.pop(prefix + old)


def _latest(title_BL: Tensor, row_N: Tensor, k_N: Tensor, count: int) -> Tensor:
    """Titles at k, k - 1, ... of a row: (N, count), 0 before its beginning."""
    at_NW = k_N.unsqueeze(-1) - torch.arange(count, device=title_BL.device)
    return title_BL[row_N.unsqueeze(-1), at_NW.clamp(min=0)] * (at_NW >= 0)


class Compatibility(nn.Module):
    """Logit bias of titles that fit a predicted intent: sum_c p(c) w(c, title) is added to the logit of a title.

    In the paper an intent acts through Z alone: the item encoder has to learn which titles a mixture of projections
    stands for. Here w depends on what the title is, and on what it is to this user:

    - A class that is also a fact of the title (a genre, a kind) adds scale_c x p(c) to every title that has it.
      These are additional channels of user and item vectors, so a logit stays a dot product.
    - A class of the interaction's own facts (an action type) adds a number to every title of the user's history: by
      class, by the fact with which the title was touched last ("next_episode" favours what was begun), and by how long
      ago that was. These are logit biases, as those of the history path.

    Intents that are bins of a number have no term. All terms are 0 until they are learned.
    """

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__()
        named = {intent.name: intent.column for intent in spec.intents if not intent.bins}
        self.fact = {name: column for name, column in named.items() if column in spec.item_features}
        self.act = {
            name: column for name, column in named.items() if column in spec.categorical and name not in self.fact
        }
        size = {name: vocabulary.size(column) for name, column in named.items()}

        def zeros(name: str, *more: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(size[name] - FIRST, *more))

        self.scale = nn.ParameterDict({name: zeros(name) for name in self.fact})
        self.by_act = nn.ParameterDict({name: zeros(name, size[name]) for name in self.act})
        self.by_ago = nn.ParameterDict({name: zeros(name, TIME_BUCKETS) for name in self.act})

    def user(self, p: Mapping[str, Tensor]) -> list[Tensor]:
        """Additional channels (B, L, C) of user vectors, from predicted distributions (B, L, C) by intent."""
        return [p[name] * scale_C for name, scale_C in self.scale.items()]

    def item(self, items: Items) -> list[Tensor]:
        """The same channels (I, C) of titles: 1 where a title has the fact."""
        return [_has(items.tokens[column], FIRST + len(self.scale[name])) for name, column in self.fact.items()]

    def bias(self, p: Mapping[str, Tensor], act: Mapping[str, Tensor], ago: Tensor) -> Tensor:
        """Logit biases (..., L) of the titles at L positions of the history.

        Args:
            p: distribution of each intent after some positions (..., C).
            act: tokens of each column of `act` at the L positions (..., L).
            ago: `encoder.ago_buckets` from these positions to the L positions (..., L).
        """
        found = torch.zeros(ago.shape, device=ago.device)
        for name, column in self.act.items():
            found = found + (p[name] @ self.by_act[name]).gather(-1, act[column])
            found = found + (p[name] @ self.by_ago[name]).gather(-1, ago)
        return found


def _has(token: Tensor, size: int) -> Tensor:
    """Which facts titles have (I, C), of tokens (I,) or (I, G); tokens unknown to training count as none."""
    several = token if token.dim() > 1 else token[:, None]
    has_IV = torch.zeros(len(several), size, device=several.device).scatter_(-1, several, 1.0)
    return has_IV[:, FIRST:]
