"""Targets that have a prefix: the events of the next-event protocol, and what item-kNN learns from.

Shape suffixes: E targets.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intentrec.evaluation.candidates import Prefixes
from intentrec.evaluation.metrics import Ints
from intentrec.model.features import known_before


@dataclass(frozen=True)
class Targets:
    """E targets of a batch of `sequences` rows. All arrays are int64 (E,).

    Interactions that ended at the same moment, such as the lines of a basket, are not in each other's prefixes.

    Attributes:
        rows: row of each target.
        ends: interactions of that row that ended before the target.
        flat: place of the target in the flattened batch.
        last: place of the last interaction that ended before it.
        last_target: place of the last one that ended before it and was itself a target; `last` where none was.
    """

    rows: Ints
    ends: Ints
    flat: Ints
    last: Ints
    last_target: Ints

    @classmethod
    def of(cls, sequences: pa.RecordBatch) -> "Targets":
        """Targets among each row's `n_new` last positions before which something ended."""
        column = sequences.column(sequences.schema.get_field_index("is_target"))
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        is_target = column.flatten().to_numpy(zero_copy_only=False)
        n_new = sequences.column(sequences.schema.get_field_index("n_new")).to_numpy(zero_copy_only=False)
        ended = sequences.column(sequences.schema.get_field_index("end_ts")).flatten()
        known = known_before(ended.cast(pa.int64()).to_numpy(zero_copy_only=False), positions)
        flat = np.flatnonzero(is_target & (known >= 1) & (positions >= (lengths - n_new)[rows]))
        begin = flat - positions[flat]
        last = begin + known[flat] - 1
        target_until = np.maximum.accumulate(np.where(is_target, np.arange(len(rows)), -1))[last]
        return cls(rows[flat], known[flat], flat, last, np.where(target_until >= begin, target_until, last))

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def last_of(sequences: pa.RecordBatch) -> Ints:
        """Place in the flattened batch of each row's last target; of its last interaction where it has none: (B,)."""
        column = sequences.column(sequences.schema.get_field_index("is_target"))
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        is_target = column.flatten().to_numpy(zero_copy_only=False)
        last = np.cumsum(lengths) - 1
        until = np.maximum.accumulate(np.where(is_target, np.arange(len(is_target)), -1))[last]
        return np.where(until > last - lengths, until, last)

    def prefixes(self, sequences: pa.RecordBatch) -> Prefixes:
        """What was known before each target; `sequences` are the rows that the targets come from."""
        return Prefixes(sequences, self.rows, self.ends)


def targets_ended(
    sequences: pa.RecordBatch, begin: datetime | None = None, end: datetime | None = None
) -> pa.RecordBatch:
    """The same rows, but only interactions that ended in [begin, end) stay targets. Either bound may be open."""
    place = sequences.schema.get_field_index("is_target")
    old, ended = sequences.column(place), sequences.column(sequences.schema.get_field_index("end_ts"))
    moments, kept = ended.flatten(), old.flatten()
    if begin is not None:
        kept = pc.and_(kept, pc.greater_equal(moments, pa.scalar(begin, moments.type)))
    if end is not None:
        kept = pc.and_(kept, pc.less(moments, pa.scalar(end, moments.type)))
    lengths = pc.list_value_length(old).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return sequences.set_column(
        place, sequences.schema.field(place), pa.ListArray.from_arrays(offsets, kept).cast(old.type)
    )
