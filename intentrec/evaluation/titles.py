"""The titles that every system of a comparison ranks, in one order, and users' histories as indices into them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.evaluation.metrics import Ints
from intentrec.model.titles import without_meaning


@dataclass(frozen=True)
class Titles:
    """Candidates in an order that means nothing (by hash), so that ties between scores favour nobody."""

    ids: pa.Array

    @classmethod
    def of(cls, title_ids: Iterable[str]) -> "Titles":
        """Distinct `title_ids`."""
        return cls(pa.array(without_meaning(title_ids), pa.string()))

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, title_ids: pa.Array | pa.ChunkedArray) -> Ints:
        """Position of each of `title_ids`, -1 for one that is no candidate."""
        if isinstance(title_ids, pa.ChunkedArray):
            title_ids = title_ids.combine_chunks()
        found = pc.index_in(title_ids.cast(pa.string()), value_set=self.ids)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


@dataclass(frozen=True)
class Histories:
    """What B users touched: row `rows[i]` touched `titles[i]` (-1: no candidate) at `positions[i]`, rows ascending."""

    rows: Ints
    positions: Ints
    titles: Ints
    lengths: Ints

    @classmethod
    def of(cls, sequences: pa.RecordBatch, titles: Titles) -> "Histories":
        """From rows of `sequences`, oldest first."""
        column = sequences.column(sequences.schema.get_field_index("title_id"))
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions = np.arange(len(rows)) - starts
        return cls(rows, positions, titles.index(pc.list_flatten(column)), lengths)

    def prefixes(self, rows: Ints, ends: Ints) -> "Histories":
        """New rows: row j is what was at positions before `ends[j]` of row `rows[j]`."""
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        new_rows = np.repeat(np.arange(len(rows)), ends)
        positions = np.arange(len(new_rows)) - np.repeat(np.cumsum(ends) - ends, ends)
        return Histories(new_rows, positions, self.titles[np.repeat(starts, ends) + positions], ends)

    def between(self, start: int, end: int) -> "Histories":
        """Rows start to end; `rows` then counts from 0."""
        inside = slice(*np.searchsorted(self.rows, [start, end]))
        return Histories(
            self.rows[inside] - start, self.positions[inside], self.titles[inside], self.lengths[start:end]
        )

    def seen(self, count: int) -> NDArray[np.bool_]:
        """Which of `count` titles each row touched."""
        mask = np.zeros((len(self.lengths), count), dtype=bool)
        known = self.titles >= 0
        mask[self.rows[known], self.titles[known]] = True
        return mask
