"""AdamW, and a learning rate that rises and falls."""

import math

import torch
from torch import nn

from intentrec.config import Training


def optimizer_of(model: nn.Module, settings: Training) -> torch.optim.AdamW:
    """AdamW that decays the weights of linear and recurrent layers only: neither embeddings nor norms nor biases."""
    decayed = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.RNNBase)
        for name, parameter in module.named_parameters(recurse=False)
        if name.startswith("weight")
    }
    groups = [
        {
            "params": [p for p in model.parameters() if (id(p) in decayed) == decay],
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for decay in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def learning_rate(done: float, peak: float, warmup: float) -> float:
    """Linear up to the peak, then a cosine down to nothing.

    Args:
        done: share of the training behind the middle of a step, in (0, 1).
        peak: the highest rate.
        warmup: share of the training in which it rises.
    """
    if done < warmup:
        return peak * done / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
