"""The bound of what intents can be worth: a control that is told the next interaction's true labels. Never published.

Shape suffixes: B rows, L positions, G labels of one interaction, C classes of an intent.
"""

import torch
from torch import Tensor

from intentrec.model.features import Batch


def true_next(batch: Batch, intent: str, p_BLC: Tensor) -> Tensor:
    """In place of the predicted distribution after each position, that of the labels of what ended next.

    Several labels share one interaction's weight, several interactions of one moment count alike. Where nothing
    labelled follows, the prediction stays.
    """
    label_BLG, known_BL = batch.label[intent], batch.known_BL
    present_BLG = (label_BLG >= 0) & (batch.valid_BL & (known_BL > 0))[..., None]
    share_BLG = present_BLG / present_BLG.sum(-1, keepdim=True).clamp(min=1)
    own_BLC = torch.zeros_like(p_BLC).scatter_add_(-1, label_BLG.clamp(min=0), share_BLG.to(p_BLC))
    place_BLC = (known_BL - 1).clamp(min=0)[..., None].expand_as(own_BLC)
    next_BLC = torch.zeros_like(p_BLC).scatter_add_(1, place_BLC, own_BLC)
    total_BL1 = next_BLC.sum(-1, keepdim=True)
    return torch.where(total_BL1 > 0, next_BLC / total_BL1.clamp(min=1e-9), p_BLC)
