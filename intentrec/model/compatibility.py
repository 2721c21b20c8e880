"""A predicted intent raises the titles that would realise it. Not in the paper; where the spec's `compatibility` asks.

In the paper an intent acts through Z alone: the item encoder has to learn which titles a mixture of projections stands
for. Here the logit of a title gets sum_c p(c) w(c, title) on top, by what the title is and what it is to this user:

- A class that is a fact of the title, too (a genre, a kind), adds scale_c x p(c) to every title that has it. These are
  further channels of user and item vectors, so a logit stays a dot product and the catalogue costs no more memory.
- A class of the interaction's own facts (an action type) adds a number to every title of the user's history, by class,
  by the fact with which the title was touched last ("next_episode" raises what was begun), and by how long ago that
  was. These are logit biases, as those of the history path.

Shape suffixes: B rows, L positions, C classes, V tokens of a column, I titles.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from intentrec.model.features import TIME_BUCKETS, Batch, Items
from intentrec.model.history import last_touch
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST, Vocabulary


class Compatibility(nn.Module):
    """The terms of all intents that have classes of their own, and not bins of a number; 0 until they are learnt."""

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
        """Further channels (B, L, C) of user vectors, of predicted distributions (B, L, C) by intent."""
        return [p[name] * scale_C for name, scale_C in self.scale.items()]

    def item(self, items: Items) -> list[Tensor]:
        """The same channels (I, C) of titles: 1 where a title has the fact."""
        return [_has(items.tokens[column], FIRST + len(self.scale[name])) for name, column in self.fact.items()]

    def logit_bias(self, p: Mapping[str, Tensor], batch: Batch, ago_BLL: Tensor) -> Tensor:
        """Logit biases (B, L, L): as seen from k, of the title at i; 0 unless i <= k is where it was touched last."""
        bias_BLL = torch.zeros(ago_BLL.shape, device=ago_BLL.device)
        for name, column in self.act.items():
            act_BLL = batch.tokens[column][:, None, :].expand(ago_BLL.shape)
            bias_BLL = bias_BLL + (p[name] @ self.by_act[name]).gather(-1, act_BLL)
            bias_BLL = bias_BLL + (p[name] @ self.by_ago[name]).gather(-1, ago_BLL)
        return bias_BLL * last_touch(batch.first_BL)


def _has(token: Tensor, size: int) -> Tensor:
    """Membership (I, C) of tokens (I,) or, several of a title, (I, G); what training did not know is nothing."""
    several = token if token.dim() > 1 else token[:, None]
    has_IV = torch.zeros(len(several), size, device=several.device).scatter_(-1, several, 1.0)
    return has_IV[:, FIRST:]
