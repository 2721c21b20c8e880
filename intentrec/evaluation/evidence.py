"""The week that models are judged on, read once at pinned table versions, without Spark."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from intentrec.calendar import DAY, WEEK
from intentrec.contracts import CATALOG, INTERACTIONS, SEQUENCES
from intentrec.errors import Skip
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run
from intentrec.training.data import open_sequences, read_catalog, read_sequences
from intentrec.training.inputs import content, pin

ROWS = 4096  # of a batch of stacked rows
_COLUMNS = ["user_id", "title_id", "release_age_days"]
_IS_TARGET = pc.field("is_target") & ~pc.field("left_censored")


class StackedWeeks(Protocol):
    """The weekly snapshots that models learn from."""

    def __call__(self) -> Iterator[pa.RecordBatch]:
        """Rows of `sequences`, week by week, read anew by each call."""
        ...


@dataclass(frozen=True)
class Evidence:
    """The week [T - 7d, T), where `cut` is T - 7d and `end` is T, and what was known before it.

    Attributes:
        cut: first day of the week.
        end: the day after it.
        catalog_before: catalogue snapshots dated before the cut: what could be offered then.
        catalog: catalogue snapshots dated before T.
        before: `sequences` as of the cut.
        week: `sequences` as of T.
        targets: target interactions of the week: user_id, title_id, release_age_days.
        past_targets: the same of the seven days before the week.
        learned: the weekly snapshots that models learn from.
        fingerprint: content hash of each table that was read.
    """

    cut: date
    end: date
    catalog_before: pa.Table
    catalog: pa.Table
    before: pa.Table
    week: pa.Table
    targets: pa.Table
    past_targets: pa.Table
    learned: StackedWeeks
    fingerprint: dict[str, str]


def read_evidence(run: Run) -> Evidence:
    """Read the evidence of the week that ends at the run's end.

    Raises:
        Skip: there is no snapshot before the week, or nothing happened in it.
    """
    require_evidence(run)
    end, cut = run.end, run.end - WEEK
    first = cut - run.domain.training.weeks * WEEK + DAY
    versions = {table.name: pin(run, table) for table in (SEQUENCES, CATALOG, INTERACTIONS)}
    return Evidence(
        cut,
        end,
        read_catalog(run.warehouse, versions["catalog"], cut),
        read_catalog(run.warehouse, versions["catalog"], end),
        read_sequences(run.warehouse, versions["sequences"], cut),
        read_sequences(run.warehouse, versions["sequences"], end),
        _targets(run.warehouse, versions["interactions"], cut, end),
        _targets(run.warehouse, versions["interactions"], cut - WEEK, cut),
        partial(_stacked, run, versions["sequences"], cut),
        {
            "sequences": content(run, SEQUENCES, versions["sequences"], first, end),
            "interactions": content(run, INTERACTIONS, versions["interactions"], cut - WEEK, end - DAY),
            "catalog": content(run, CATALOG, versions["catalog"], date.min, end - DAY),
        },
    )


def require_evidence(run: Run) -> None:
    """Check that there is something to judge on. Only counts are read.

    Raises:
        Skip: there is no snapshot before the week, or nothing happened in it.
    """
    end, cut = run.end, run.end - WEEK
    sequences, interactions = pin(run, SEQUENCES), pin(run, INTERACTIONS)
    found = {f"snapshot as of {day}": open_sequences(run.warehouse, sequences, day).count_rows() for day in (cut, end)}
    found["target"] = Snapshot(run.warehouse, INTERACTIONS, interactions).count(cut, end, where=_IS_TARGET)
    for what, rows in found.items():
        if not rows:
            raise Skip(f"nothing to judge on in [{cut}, {end}): no {what}")


def _stacked(run: Run, version: int, cut: date) -> Iterator[pa.RecordBatch]:
    for ago in reversed(range(run.domain.training.weeks)):
        yield from read_sequences(run.warehouse, version, cut - ago * WEEK).to_batches(ROWS)


def _targets(warehouse: str, version: int, start: date, end: date) -> pa.Table:
    """Target interactions of [start, end) without the left-censored ones."""
    return Snapshot(warehouse, INTERACTIONS, version).rows(start, end, columns=_COLUMNS, where=_IS_TARGET)
