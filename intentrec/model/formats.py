"""Formats of a model's files. What was registered can be loaded for as long as it is champion, whatever the code is.

A format is what the names and shapes of the tensors and the keys of model.json mean. Whoever changes them (renames a
layer, moves a key) raises FORMAT by one and adds to UPGRADES a step from the format before. Then the code below, and
everything above it, knows the present format only. A new key with a default that means "as before" is no new format.

The code of the time is also kept with each registered model, for serving. Gate and publication do not use that copy: a
process has one package of a name, and Spark's workers have that of the checkout.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from intentrec.model.next_session import DECAYS


class LaterFormat(Exception):
    """A model was made by later code."""


@dataclass(frozen=True)
class Stored:
    """A model as its files hold it.

    Attributes:
        about: content of model.json.
        weights: tensors by name.
    """

    about: dict[str, Any]
    weights: dict[str, Tensor]


Step: TypeAlias = Callable[[Stored], Stored]


def _of_format_1(stored: Stored) -> Stored:
    """Heads for the next session did not read how often the row has each label; `popularity` was a key of the spec."""
    heads = [name for name in stored.weights if re.fullmatch(r"next_session\.heads\.\d+\.bias", name)]
    more = {"next_session.share_MS": torch.zeros(len(heads), len(DECAYS))} if heads else {}
    spec = {key: value for key, value in stored.about["spec"].items() if key != "popularity"}
    return Stored({**stored.about, "spec": spec}, {**stored.weights, **more})


FORMAT = 2  # a model.json without `format` is of format 1
UPGRADES: Mapping[int, Step] = {1: _of_format_1}  # by format: the step to the next one


def upgraded(stored: Stored, steps: Mapping[int, Step] = UPGRADES, to: int = FORMAT) -> Stored:
    """The model in the present format.

    Args:
        stored: of any earlier format, or of the present one.
        steps: by format, the step to the next one.
        to: the present format.

    Raises:
        LaterFormat: it is of a later format.
    """
    found = stored.about.get("format", 1)
    if found > to:
        raise LaterFormat(f"format {found} is later than {to}")
    for number in range(found, to):
        stored = steps[number](stored)
        stored = Stored({**stored.about, "format": number + 1}, stored.weights)
    return stored


def renamed(weights: Mapping[str, Tensor], layers: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors under the new names of their layers; for a step.

    Args:
        weights: tensors by name, such as `item_encoder.blocks.0.weight`.
        layers: new dotted name by former one, such as `item_encoder` -> `encoder`.
    """
    found = {}
    for name, tensor in weights.items():
        for former, layer in layers.items():
            if name == former or name.startswith(f"{former}."):
                name = layer + name.removeprefix(former)
                break
        found[name] = tensor
    return found
