"""Candidate titles in one fixed order, users' histories as indices into them, and prefixes of those histories.

Every system of a comparison ranks the same candidates.

Shape suffixes: B rows, E prefixes, J pairs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.evaluation.metrics import Floats, Ints
from intentrec.model.arrow import Rows, column, flat
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
class TitleLists:
    """B lists of titles: list `rows[i]` holds `titles[i]` (-1: not a candidate), rows ascending.

    `lengths` (B,) counts the entries of each list. All arrays are int64.
    """

    rows: Ints
    titles: Ints
    lengths: Ints

    @staticmethod
    def of_lists(title_ids: pa.ListArray, titles: Titles) -> "TitleLists":
        """From a list of titles per row."""
        lengths = list_lengths(title_ids)
        return TitleLists(np.repeat(np.arange(len(lengths)), lengths), titles.index(title_ids.flatten()), lengths)

    def between(self, start: int, end: int) -> "TitleLists":
        """Rows `start` to `end`, not including `end`; `rows` then counts from 0."""
        inside = slice(*np.searchsorted(self.rows, [start, end]))
        return TitleLists(self.rows[inside] - start, self.titles[inside], self.lengths[start:end])

    def holds(self, rows: Ints, titles: Ints) -> NDArray[np.bool_]:
        """Whether row `rows[j]` holds `titles[j]`, for J pairs; false for a title that is not a candidate."""
        span = 1 + max(int(self.titles.max(initial=0)), int(titles.max(initial=0)))
        known = self.titles >= 0
        held = self.rows[known] * span + self.titles[known]
        return np.isin(rows * span + titles, held) & (titles >= 0)

    def seen(self, count: int) -> NDArray[np.bool_]:
        """Which of `count` titles each row holds: bool (B, count)."""
        mask = np.zeros((len(self.lengths), count), dtype=bool)
        known = self.titles >= 0
        mask[self.rows[known], self.titles[known]] = True
        return mask


@dataclass(frozen=True)
class Histories(TitleLists):
    """What B users touched: the interaction with `titles[i]` is the one at `positions[i]`, and ended at `ended_us[i]`.

    `ended_us` is in microseconds since 1970. Both arrays are int64.
    """

    positions: Ints
    ended_us: Ints

    @classmethod
    def of(cls, sequences: pa.RecordBatch, titles: Titles) -> "Histories":
        """From rows of `sequences`, the oldest interaction first."""
        lists = TitleLists.of_lists(column(sequences, "title_id"), titles)
        starts = np.repeat(np.cumsum(lists.lengths) - lists.lengths, lists.lengths)
        ended_us = flat(sequences, "end_ts").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        return cls(lists.rows, lists.titles, lists.lengths, np.arange(len(starts)) - starts, ended_us)

    def prefixes(self, rows: Ints, ends: Ints) -> "Histories":
        """A row per prefix: row j holds the first `ends[j]` interactions of row `rows[j]`; both are int64 (E,)."""
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        new_rows = np.repeat(np.arange(len(rows)), ends)
        positions = np.arange(len(new_rows)) - np.repeat(np.cumsum(ends) - ends, ends)
        chosen = np.repeat(starts, ends) + positions
        return Histories(new_rows, self.titles[chosen], ends, positions, self.ended_us[chosen])

    def ago_s(self) -> Floats:
        """Seconds from the end of each interaction to the end of its row's last one."""
        last = np.repeat(np.cumsum(self.lengths) - 1, self.lengths)
        return (self.ended_us[last] - self.ended_us) / 1e6


def row_lengths(sequences: Rows) -> Ints:
    """Interactions of each row: int64 (B,)."""
    return list_lengths(column(sequences, "title_id"))


def list_lengths(lists: pa.ListArray) -> Ints:
    """Length of each list: int64 (B,)."""
    return pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)


def user_ids(sequences: pa.RecordBatch) -> pa.Array:
    """User of each row, as string."""
    return sequences.column(sequences.schema.get_field_index("user_id")).cast(pa.string())
