"""Encoded rows in files that are mapped into memory: a batch takes from the disk what it needs, and nothing else.

A file per tensor, raw, and `shapes.json`; the same machine writes and reads them within one training run.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_origin

import torch
from torch import Tensor
from torch.nn import functional as F

from intentrec.model.features import NO_LABEL, Batch, Encoded
from intentrec.model.vocabulary import PAD

SHAPES = "shapes.json"
OFFSETS = "offsets"


class Writer:
    """Appends encoded rows to the files of a folder.

    Args:
        folder: is made.
        widths: `name of a tensor -> second dimension` where parts of the rows may come with fewer labels.
    """

    def __init__(self, folder: Path, widths: Mapping[str, int]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.targets = 0
        self.digest = hashlib.sha256()
        self._widths = widths
        self._files: dict[str, Any] = {}
        self._shapes: dict[str, list] = {}
        self._end = 0

    def append(self, encoded: Encoded) -> None:
        """Write rows after those that are there."""
        if not self._files:
            self._write(OFFSETS, encoded.offsets[:1])
        self._write(OFFSETS, encoded.offsets[1:] + self._end)
        self._end += int(encoded.offsets[-1])
        self.targets += int(encoded.flat.target_BL.sum())
        for name, tensor in _named(encoded.flat).items():
            missing = self._widths.get(name, 0) - tensor.shape[-1]
            if missing > 0:
                tensor = F.pad(tensor, (0, missing), value=NO_LABEL if name.startswith("label.") else PAD)
            self._write(name, tensor)

    def close(self) -> None:
        """Close the files and write what they hold."""
        for file in self._files.values():
            file.close()
        (self.folder / SHAPES).write_text(json.dumps(self._shapes), encoding="utf-8")

    def _write(self, name: str, tensor: Tensor) -> None:
        if name not in self._files:
            self._files[name] = (self.folder / name).open("wb")
            self._shapes[name] = [str(tensor.dtype).removeprefix("torch."), [0, *tensor.shape[1:]]]
        shape = self._shapes[name][1]
        assert shape[1:] == list(tensor.shape[1:]), f"{name}: rows of different widths"
        shape[0] += len(tensor)
        content = tensor.contiguous().numpy().tobytes()
        self.digest.update(content)
        self._files[name].write(content)


def read(folder: Path) -> Encoded:
    """What a writer wrote, mapped into memory."""
    tensors = {}
    for name, (dtype, shape) in json.loads((folder / SHAPES).read_text(encoding="utf-8")).items():
        kind = getattr(torch, dtype)
        size = math.prod(shape)  # nothing can be mapped from an empty file
        flat = torch.from_file(str(folder / name), size=size, dtype=kind) if size else torch.empty(0, dtype=kind)
        tensors[name] = flat.view(shape)
    offsets = tensors.pop(OFFSETS)
    return Encoded(_batch(tensors), offsets)


def _named(batch: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch, those of its dictionaries as `field.key`."""
    found: dict[str, Tensor] = {}
    for field in fields(Batch):
        value = getattr(batch, field.name)
        found |= {f"{field.name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {}
        found |= {} if isinstance(value, dict) else {field.name: value}
    return found


def _batch(named: Mapping[str, Tensor]) -> Batch:
    """The inverse of `_named`."""
    values: dict[str, Any] = {}
    for field in fields(Batch):
        if get_origin(field.type) is dict:
            begin = f"{field.name}."
            values[field.name] = {name.removeprefix(begin): t for name, t in named.items() if name.startswith(begin)}
        else:
            values[field.name] = named[field.name]
    return Batch(**values)
