"""Rows on disk, for more users than memory holds: all rows of a user together, and encoded rows mapped from files.

`buckets` writes record batches to files by a hash of the user, and reads one file after the other. So all rows of a
user come together, and memory holds one bucket. `Writer` and `read` keep encoded rows: a raw file per tensor, and
`shapes.json`. A batch reads only its own rows from the disk. One machine writes and reads these files within one
training.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, get_origin

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import torch
from pyspark.sql.pandas.types import to_arrow_schema
from torch import Tensor
from torch.nn import functional as F

from intentrec.contracts import SEQUENCES
from intentrec.model.arrow import column
from intentrec.model.features import NO_LABEL, Batch, Encoded
from intentrec.model.vocabulary import PAD

SHAPES = "shapes.json"
OFFSETS = "offsets"
ROWS = 8_192  # of a bucket
READ = 1_024  # rows of a record batch on their way to the buckets
FILES = 128  # buckets that are written at once

SCHEMA = to_arrow_schema(SEQUENCES.schema)


def buckets(sequences: ds.Dataset, folder: Path) -> Iterator[pa.Table]:
    """Rows of `sequences` in tables of about ROWS rows; all rows of a user are in one of them.

    Args:
        sequences: read once, a few record batches at a time.
        folder: for temporary files; each is removed after its bucket.
    """
    folder.mkdir(parents=True, exist_ok=True)
    yield from _split(_batches(sequences), sequences.count_rows(), folder, 0)


def _batches(sequences: ds.Dataset) -> Iterator[pa.RecordBatch]:
    """All rows, a row group at a time. A scan of the dataset would read ahead while its rows wait to be written."""
    for file in sequences.get_fragments():
        groups = file.split_by_row_group() if isinstance(file, ds.ParquetFileFragment) else [file]
        for group in groups:
            yield from group.to_batches(sequences.schema, columns=SCHEMA.names, batch_size=READ)


def _split(batches: Iterable[pa.RecordBatch], rows: int, folder: Path, level: int) -> Iterator[pa.Table]:
    """Buckets of about ROWS of the `rows` rows. If FILES of them are not enough, each is split again."""
    n = min(FILES, -(-rows // ROWS))
    if n <= 1:
        found = pa.Table.from_batches((_by_contract(batch) for batch in batches), SCHEMA)
        yield found.combine_chunks()
        return
    paths = [folder / f"{level}-{i}.arrow" for i in range(n)]
    counts = _spill(batches, paths, level)
    for path, count in zip(paths, counts, strict=True):
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stored:
            # Hashes are not even. A bucket that is a little too large is not split.
            yield from _split(stored, count if count > 2 * ROWS else min(count, ROWS), folder, level + 1)
        path.unlink()


def _spill(batches: Iterable[pa.RecordBatch], paths: list[Path], level: int) -> list[int]:
    """Write every row to the file of its user, and return how many each got."""
    counts = np.zeros(len(paths), np.int64)
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(str(path), SCHEMA)) for path in paths]
        for batch in batches:
            rows = _by_contract(batch)
            place = _place(column(rows, "user_id"), len(paths), level)
            rows = rows.take(pa.array(np.argsort(place, kind="stable")))
            sizes = np.bincount(place, minlength=len(paths))
            counts += sizes
            for i, end in enumerate(np.cumsum(sizes)):
                if sizes[i]:
                    writers[i].write_batch(rows.slice(end - sizes[i], sizes[i]))
    return counts.tolist()


def _place(users: pa.Array, n: int, level: int) -> np.ndarray:
    """Bucket of each user, by the id and the level."""
    ids = users.to_numpy(zero_copy_only=False)
    hashes = pd.util.hash_array(ids, hash_key=f"{level:016d}", categorize=False)
    return (hashes % np.uint64(n)).astype(np.int64)


def _by_contract(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The contract's types: strings may arrive as string_view, which pyarrow's kernels only half support."""
    return batch if batch.schema.equals(SCHEMA) else batch.cast(SCHEMA)


class Writer:
    """Appends encoded rows to the files of a folder.

    Args:
        folder: is made.
        widths: by name, the second dimension of each tensor with several labels per interaction. Narrower rows are
            filled.
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
        """Write rows after those written before."""
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
        """Close the files and write their shapes."""
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
    """The rows of a writer, mapped into memory."""
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
