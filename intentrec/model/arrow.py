"""Arrow list columns as flat arrays with offsets, without loops over rows."""

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Rows: TypeAlias = pa.Table | pa.RecordBatch


def column(rows: Rows, name: str) -> pa.Array:
    """A column as one array.

    Raises:
        ValueError: the column is missing.
    """
    if name not in rows.schema.names:
        raise ValueError(f"column {name!r} is missing; there are {', '.join(rows.schema.names)}")
    found = rows.column(name)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def offsets_of(lists: pa.ListArray) -> np.ndarray:
    """Where each list starts in `lists.flatten()`, and the end of the last: (rows + 1,) int64."""
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def flat(rows: Rows, name: str) -> pa.Array:
    """All elements of a list column in row order."""
    return column(rows, name).flatten()


def map_entry(rows: Rows, name: str, key: str) -> pa.Array:
    """The elements of `name[key]` in row order, for a column of type map<text, list>.

    Raises:
        ValueError: a row has no such key.
    """
    maps = column(rows, name)
    offsets = maps.offsets.to_numpy(zero_copy_only=False)
    begin, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    wanted = pc.equal(maps.keys.slice(begin, length), key)
    found = maps.items.slice(begin, length).filter(wanted)
    if len(found) != len(maps):
        have = sorted(pc.unique(maps.keys.slice(begin, length)).to_pylist())
        raise ValueError(f"{name} has no {key!r} in every row (it holds {', '.join(have)}): rebuild the sequences")
    return found.flatten()


def padded(lists: pa.ListArray, values: np.ndarray, fill: int) -> np.ndarray:
    """Values of a flattened list column as a rectangle (rows, longest list), short lists filled up with `fill`."""
    offsets = offsets_of(lists)
    lengths = np.diff(offsets)
    width = max(1, int(lengths.max(initial=0)))
    out = np.full((len(lengths), width), fill, values.dtype)
    out[np.arange(width) < lengths[:, None]] = values
    return out
