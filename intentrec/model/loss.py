"""Eq. 3 and 4: duration-weighted cross-entropy of the next item, and of the next intents.

Shape suffixes: N predicted positions, D width, I titles, C classes of an intent, G true labels of one position.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

CELLS = 2**22  # 16 MB of logits


@dataclass(frozen=True)
class LossSettings:
    """How the loss of the next item is computed.

    cells     logits (positions x titles) that exist at once, at most; always one position's
    sampled   0: softmax over the whole catalogue; n > 0: over n titles that all positions share
    proposal  (I,) how likely each title is to be drawn, in the order of the catalogue; alike by default
    """

    cells: int = CELLS
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


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Softmax over the whole catalogue, some positions at a time; the gradient is made in the same pass.

    No more than `cells` logits exist at once, whatever the batch, and none are kept for the backward pass.
    """

    @staticmethod
    def forward(ctx, h_ND, item_ID, title_N, weight_N, cells, with_gradient):  # type: ignore[no-untyped-def]
        chunk = max(1, cells // max(1, len(item_ID)))
        loss = h_ND.new_zeros(())
        grad_ND, grad_ID = (torch.zeros_like(h_ND), torch.zeros_like(item_ID)) if with_gradient else (None, None)
        for begin in range(0, len(h_ND), chunk):
            part = slice(begin, begin + chunk)
            logit_NI = h_ND[part] @ item_ID.T
            log_norm_N1 = logit_NI.logsumexp(-1, keepdim=True)
            true_N1 = logit_NI.gather(-1, title_N[part, None])
            loss += weight_N[part] @ (log_norm_N1 - true_N1).squeeze(-1)
            if grad_ND is not None and grad_ID is not None:
                error_NI = logit_NI.sub_(log_norm_N1).exp_()  # p - y, in place of the logits
                error_NI.scatter_add_(-1, title_N[part, None], -torch.ones_like(true_N1))
                error_NI *= weight_N[part, None]
                grad_ND[part] = error_NI @ item_ID
                grad_ID.addmm_(error_NI.T, h_ND[part])
        ctx.save_for_backward(grad_ND, grad_ID)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        grad_ND, grad_ID = ctx.saved_tensors
        return grad_loss * grad_ND, grad_loss * grad_ID, None, None, None, None


def item_loss(h_ND: Tensor, item_ID: Tensor, title_N: Tensor, weight_N: Tensor, cells: int = CELLS) -> Tensor:
    """The weighted sum of Eq. 3 for the next item.

    Equals the weighted sum of `F.cross_entropy(h_ND @ item_ID.T, title_N, reduction="none")`, in value and in
    gradient. `title_N` are rows of `item_ID`.
    """
    return _ChunkedCrossEntropy.apply(h_ND, item_ID, title_N, weight_N, cells, torch.is_grad_enabled())


def intent_loss(logit_NC: Tensor, label_NG: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 3 for an intent: the weighted sum of - sum of log p over the true labels, and the weights that count.

    Several labels are all positives, and there are no negatives (§3.4): with a softmax the labels compete, so that is
    enough; sigmoids would all go to 1. A position without a label (filled up with -1) does not count.
    """
    present_NG = label_NG >= 0
    log_p_NG = logit_NC.log_softmax(-1).gather(-1, label_NG.clamp(min=0))
    loss_N = -(log_p_NG * present_NG).sum(-1)
    counted_N = weight_N * present_NG.any(-1)
    return (counted_N * loss_N).sum(), counted_N.sum()
