"""A checksum of rows in Arrow: equal rows have one checksum, however they are ordered and distributed over files.

It is computed batch by batch, so memory does not grow with the rows. A null adds nothing to its row. A new column that
is null in old rows therefore leaves their checksum as it is.

Shape suffixes: N rows or values, M elements of N lists, U distinct texts.
"""

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = 2**64 - 1


def checksum(batches: Iterable[pa.RecordBatch]) -> str:
    """Number of rows and sum of their 64-bit hashes, as `rows:sum`.

    Args:
        batches: rows of one schema. The order of columns and of entries of a map does not matter.
    """
    rows, total = 0, 0
    for batch in batches:
        rows += batch.num_rows
        total += int(_row_hashes(batch).sum(dtype=np.uint64))
    return f"{rows}:{total & _MASK:016x}"


def _row_hashes(batch: pa.RecordBatch) -> Hashes:
    return _mixed(_fields(batch.schema.names, batch.columns, batch.num_rows))


def _fields(names: Iterable[str], columns: Iterable[pa.Array], rows: int) -> Hashes:
    """Sum of the hashes of named values (N,); a null adds nothing."""
    total_N = np.zeros(rows, np.uint64)
    for name, column in zip(names, columns, strict=True):
        total_N += np.where(_valid(column), _mixed(_hashes(column) + _hash_of(name)), np.uint64(0))
    return total_N


def _hashes(values: pa.Array) -> Hashes:
    """Hash of each value (N,); 0 for null."""
    of = values.type
    if pa.types.is_struct(of):
        children = [values.field(i) if not values.offset else values.flatten()[i] for i in range(of.num_fields)]
        found_N = _mixed(_fields([of.field(i).name for i in range(of.num_fields)], children, len(values)))
    elif pa.types.is_map(of) or pa.types.is_list(of):
        found_N = _lists(values)
    elif pa.types.is_string(of) or pa.types.is_binary(of):
        found_N = _texts(values)
    else:
        found_N = _mixed(_bits(values) + _GOLDEN)
    return np.where(_valid(values), found_N, np.uint64(0))


def _lists(values: pa.Array) -> Hashes:
    """Hash of each list or map (N,): of its elements and their places, of a map without the places."""
    is_map = pa.types.is_map(values.type)
    if is_map:
        entry = pa.struct([("key", values.type.key_type), ("value", values.type.item_type)])
        values = values.cast(pa.list_(entry))
    length_N = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    end_N = np.cumsum(length_N)
    element_M = _hashes(values.flatten())
    if not is_map:
        place_M = np.arange(len(element_M)) - np.repeat(end_N - length_N, length_N)
        element_M = element_M + place_M.astype(np.uint64) * _GOLDEN
    sums = np.concatenate([[np.uint64(0)], np.cumsum(_mixed(element_M), dtype=np.uint64)])
    return _mixed(sums[end_N] - sums[end_N - length_N] + length_N.astype(np.uint64) + _GOLDEN)


def _texts(values: pa.Array) -> Hashes:
    """Hash of each text (N,): each distinct one is hashed once."""
    encoded = values.dictionary_encode()
    hash_U = np.array([_hash_of(text) for text in encoded.dictionary.to_pylist()] or [np.uint64(0)])
    return hash_U[pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)]


def _bits(values: pa.Array) -> Hashes:
    """The bits of numbers, truth values, dates and moments (N,)."""
    filled = values.fill_null(False) if pa.types.is_boolean(values.type) else values
    if pa.types.is_floating(filled.type):
        return pc.fill_null(filled.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False).view(np.uint64)
    if pa.types.is_date32(filled.type):
        filled = filled.cast(pa.int32())
    return pc.fill_null(filled.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).view(np.uint64)


def _hash_of(text: str | bytes) -> np.uint64:
    content = text.encode() if isinstance(text, str) else text
    return np.uint64(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))


def _valid(values: pa.Array) -> NDArray[np.bool_]:
    return pc.is_valid(values).to_numpy(zero_copy_only=False)


def _mixed(value_N: Hashes) -> Hashes:
    """A bijection of 64-bit numbers that changes about half of the bits (the finaliser of SplitMix64)."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value_N = (value_N ^ (value_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value_N ^ (value_N >> np.uint64(31))
