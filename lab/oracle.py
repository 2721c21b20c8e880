"""The oracle control: V3 given the true labels of the next interaction, an upper bound of the use of intents.

Shape suffixes: B rows, L positions, G labels of one interaction, C classes of an intent.
"""

import torch
from torch import Tensor

from intentrec.model.features import Batch
from intentrec.model.intentrec import IntentRec


class OracleIntentRec(IntentRec):
    """IntentRec with the true next intents in place of the predicted ones."""

    def distributions(self, logits: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The true distributions, and the predicted ones where no labelled interaction follows."""
        predicted = super().distributions(logits, batch)
        return {name: true_next(batch, name, p_BLC) for name, p_BLC in predicted.items()}


def true_next(batch: Batch, intent: str, p_BLC: Tensor) -> Tensor:
    """The distribution (B, L, C) of the labels of the interactions that end next after each position.

    Several labels share one interaction's weight. Several interactions of one moment have equal weights. Where no
    labelled interaction follows, the prediction stays.

    Args:
        batch: the rows.
        intent: whose labels.
        p_BLC: the predicted distribution.
    """
    label_BLG, known_BL = batch.label[intent], batch.known_BL
    present_BLG = (label_BLG >= 0) & (batch.valid_BL & (known_BL > 0))[..., None]
    share_BLG = present_BLG / present_BLG.sum(-1, keepdim=True).clamp(min=1)
    own_BLC = torch.zeros_like(p_BLC).scatter_add_(-1, label_BLG.clamp(min=0), share_BLG.to(p_BLC))
    place_BLC = (known_BL - 1).clamp(min=0)[..., None].expand_as(own_BLC)
    next_BLC = torch.zeros_like(p_BLC).scatter_add_(1, place_BLC, own_BLC)
    total_BL1 = next_BLC.sum(-1, keepdim=True)
    return torch.where(total_BL1 > 0, next_BLC / total_BL1.clamp(min=1e-9), p_BLC)
