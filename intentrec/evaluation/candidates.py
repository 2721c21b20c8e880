"""Candidate titles in one fixed order, users' histories as indices into them, and prefixes of those histories.

Every system of a comparison ranks the same candidates.

Shape suffixes: B rows, E prefixes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.evaluation.metrics import Ints
from intentrec.model.arrow import Rows, column
from intentrec.model.titles import in_hash_order


@dataclass(frozen=True)
class Titles:
    """N candidate titles, ordered by hash, so that ties between scores favour no title by its id or popularity."""

    ids: pa.Array

    @classmethod
    def of(cls, title_ids: Iterable[str]) -> "Titles":
        """The distinct `title_ids`."""
        return cls(pa.array(in_hash_order(title_ids), pa.string()))

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, title_ids: pa.Array | pa.ChunkedArray) -> Ints:
        """Position of each of `title_ids`, -1 for one that is not a candidate."""
        if isinstance(title_ids, pa.ChunkedArray):
            title_ids = title_ids.combine_chunks()
        found = pc.index_in(title_ids.cast(pa.string()), value_set=self.ids)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Prefixes:
    """E prefixes of users' histories: prefix e is the first `ends[e]` interactions of row `rows[e]`.

    Attributes:
        sequences: B rows of `sequences`, the oldest interaction first.
        rows: int64 (E,), ascending.
        ends: int64 (E,), at least 1.
    """

    sequences: pa.RecordBatch
    rows: Ints
    ends: Ints

    @classmethod
    def whole(cls, sequences: pa.RecordBatch) -> "Prefixes":
        """The complete history of every row."""
        return cls(sequences, np.arange(len(sequences)), row_lengths(sequences))


@dataclass(frozen=True)
class Histories:
    """What B users touched: row `rows[i]` touched `titles[i]` (-1: not a candidate) at `positions[i]`, rows ascending.

    `lengths` (B,) counts the interactions of each row. All arrays are int64.
    """

    rows: Ints
    positions: Ints
    titles: Ints
    lengths: Ints

    @classmethod
    def of(cls, sequences: pa.RecordBatch, titles: Titles) -> "Histories":
        """From rows of `sequences`, the oldest interaction first."""
        return cls.of_lists(column(sequences, "title_id"), titles)

    @classmethod
    def of_lists(cls, title_ids: pa.ListArray, titles: Titles) -> "Histories":
        """From a list of titles per row."""
        lengths = list_lengths(title_ids)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions = np.arange(len(rows)) - starts
        return cls(rows, positions, titles.index(title_ids.flatten()), lengths)

    def prefixes(self, rows: Ints, ends: Ints) -> "Histories":
        """A row per prefix: row j holds the first `ends[j]` interactions of row `rows[j]`; both are int64 (E,)."""
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        new_rows = np.repeat(np.arange(len(rows)), ends)
        positions = np.arange(len(new_rows)) - np.repeat(np.cumsum(ends) - ends, ends)
        return Histories(new_rows, positions, self.titles[np.repeat(starts, ends) + positions], ends)

    def between(self, start: int, end: int) -> "Histories":
        """Rows `start` to `end`, not including `end`; `rows` then counts from 0."""
        inside = slice(*np.searchsorted(self.rows, [start, end]))
        return Histories(
            self.rows[inside] - start, self.positions[inside], self.titles[inside], self.lengths[start:end]
        )

    def seen(self, count: int) -> NDArray[np.bool_]:
        """Which of `count` titles each row touched: bool (B, count)."""
        mask = np.zeros((len(self.lengths), count), dtype=bool)
        known = self.titles >= 0
        mask[self.rows[known], self.titles[known]] = True
        return mask


def row_lengths(sequences: Rows) -> Ints:
    """Interactions of each row: int64 (B,)."""
    return list_lengths(column(sequences, "title_id"))


def list_lengths(lists: pa.ListArray) -> Ints:
    """Length of each list: int64 (B,)."""
    return pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)


def user_ids(sequences: pa.RecordBatch) -> pa.Array:
    """User of each row, as string."""
    return sequences.column(sequences.schema.get_field_index("user_id")).cast(pa.string())
