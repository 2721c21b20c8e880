"""Two processes that share a batch: what they hold after adding up with each other.

Run as `python -m tests.model.two_processes FOLDER` for the second one; the first is the test.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from intentrec.model.features import Encoded, Items
from intentrec.model.loss import LossSettings
from intentrec.model.network import Network
from tests.model import world


def problem() -> tuple[Network, Encoded, Items]:
    """The same in every process. The first row has no label of an intent, so its part of the weights differs."""
    model, encoder, encoded = world.model_of(world.spec("v3"), world.random_sequences(23, users=7))
    first = int(encoded.lengths[0])
    label = {name: value.clone() for name, value in encoded.flat.label.items()}
    label["age"][:first] = -1
    return model, replace(encoded, flat=replace(encoded.flat, label=label)), world.catalog_of(encoder)


def together(rank: int, folder: Path) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of the whole batch from this process's rows and the other's sums."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    model, encoded, catalog = problem()
    batch = encoded.pad(torch.arange(rank, len(encoded), 2))
    parts = model.loss(batch, catalog, LossSettings(cells=50))
    totals = {name: value.clone() for name, value in parts.weights.items()}
    for value in totals.values():
        dist.all_reduce(value)
    loss = parts.loss(totals)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for value in (loss.detach(), *gradients.values()):
        dist.all_reduce(value)
    dist.destroy_process_group()
    return loss.detach(), gradients


if __name__ == "__main__":
    torch.set_num_threads(1)
    together(1, Path(sys.argv[1]))
