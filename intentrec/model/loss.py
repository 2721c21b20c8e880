"""Eq. 3 and 4: duration-weighted cross-entropy of the next item, and of the next intents.

The softmax over the catalogue is in `softmax`.

Shape suffixes: N predicted positions, I titles, C classes of an intent, G true labels of one position.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from intentrec.model.softmax import wide


@dataclass(frozen=True)
class LossSettings:
    """How the loss of the next item is computed.

    cells     logits (positions x titles) that exist at once, at most; by default what suits the device
    sampled   0: softmax over the whole catalogue; n > 0: over n titles that all positions share
    proposal  (I,) how likely each title is to be drawn, in the order of the catalogue; alike by default
    """

    cells: int | None = None
    sampled: int = 0
    proposal: Tensor | None = None


@dataclass(frozen=True)
class LossParts:
    """Eq. 3 per task ("item", and each intent) before it is divided: a sum, and the weights it counts.

    Sums and weights of several batches or processes may be added up: what comes out is the loss of all of them as one
    batch. The weights have no gradient.
    """

    sums: dict[str, Tensor]
    weights: dict[str, Tensor]
    intent_weight: float  # lambda of Eq. 4

    def __add__(self, other: "LossParts") -> "LossParts":
        """The parts of both batches together."""
        return LossParts(
            {name: value + other.sums[name] for name, value in self.sums.items()},
            {name: value + other.weights[name] for name, value in self.weights.items()},
            self.intent_weight,
        )

    def means(self, totals: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Eq. 3 per task: each sum by its weights, or by `totals`, the weights of all processes; 0 where those are."""
        by = totals or self.weights
        return {
            name: value / by[name].to(value).clamp(min=torch.finfo(value.dtype).tiny)
            for name, value in self.sums.items()
        }

    def loss(self, totals: Mapping[str, Tensor] | None = None) -> Tensor:
        """Eq. 4. With `totals`, what this process adds to the loss of all: gradients are to be summed, not averaged."""
        means = self.means(totals)
        item = means.pop("item")
        return item + self.intent_weight * sum(means.values(), torch.zeros_like(item))


def intent_loss(logit_NC: Tensor, label_NG: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 3 for an intent: the weighted sum of - sum of log p over the true labels, and the weights that count.

    Several labels are all positives, and there are no negatives (§3.4): with a softmax the labels compete, so that is
    enough; sigmoids would all go to 1. A position without a label (filled up with -1) does not count.
    """
    present_NG = label_NG >= 0
    log_p_NG = wide(logit_NC).log_softmax(-1).gather(-1, label_NG.clamp(min=0))
    loss_N = -(log_p_NG * present_NG).sum(-1)
    counted_N = weight_N * present_NG.any(-1)
    return (counted_N * loss_N).sum(), counted_N.sum()
