"""The week that models are judged on, read once at pinned versions through delta-rs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.calendar import DAY, WEEK
from intentrec.contracts import CATALOG, INTERACTIONS, SEQUENCES
from intentrec.errors import Skip
from intentrec.storage.runs import Run
from intentrec.training.data import open_sequences, read_catalog, read_sequences
from intentrec.training.inputs import content, pin

ROWS = 4096  # of a batch of stacked rows
_COLUMNS = ["event_date", "user_id", "title_id", "release_age_days", "is_target", "left_censored"]


@dataclass(frozen=True)
class Evidence:
    """Everything about [T - 7d, T) and what was known before it."""

    cut: date
    end: date
    catalog_before: pa.Table  # snapshots dated before the cut: what could be offered then
    catalog: pa.Table  # snapshots dated before T
    before: pa.Table  # `sequences` as of the cut
    week: pa.Table  # `sequences` as of T
    targets: pa.Table  # target interactions of the week: user_id, title_id, release_age_days
    past_targets: pa.Table  # the same of the seven days before it
    learned: Callable[[], Iterator[pa.RecordBatch]]  # the stacked weeks that models learn from, a week at a time
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
            "sequences": content(run.warehouse, SEQUENCES, versions["sequences"], first, end),
            "interactions": content(run.warehouse, INTERACTIONS, versions["interactions"], cut - WEEK, end - DAY),
            "catalog": content(run.warehouse, CATALOG, versions["catalog"], date.min, end - DAY),
        },
    )


def require_evidence(run: Run) -> None:
    """Check that there is something to judge on; nothing is read but counts.

    Raises:
        Skip: there is no snapshot before the week, or nothing happened in it.
    """
    end, cut = run.end, run.end - WEEK
    sequences, interactions = pin(run, SEQUENCES), pin(run, INTERACTIONS)
    found = {f"snapshot as of {day}": open_sequences(run.warehouse, sequences, day).count_rows() for day in (cut, end)}
    delta = DeltaTable(f"{run.warehouse}/{INTERACTIONS.name}", version=interactions)
    within = (ds.field("event_date") >= cut) & (ds.field("event_date") < end)
    asked = within & ds.field("is_target") & ~ds.field("left_censored")
    found["target"] = delta.to_pyarrow_dataset().count_rows(filter=asked)
    for what, rows in found.items():
        if not rows:
            raise Skip(f"nothing to judge on in [{cut}, {end}): no {what}")


def _stacked(run: Run, version: int, cut: date) -> Iterator[pa.RecordBatch]:
    for ago in reversed(range(run.domain.training.weeks)):
        yield from read_sequences(run.warehouse, version, cut - ago * WEEK).to_batches(ROWS)


def _targets(warehouse: str, version: int, start: date, end: date) -> pa.Table:
    """Target interactions of [start, end), left-censored ones aside."""
    delta = DeltaTable(f"{warehouse}/{INTERACTIONS.name}", version=version)
    rows = delta.to_pyarrow_table(
        columns=_COLUMNS, filters=[("event_date", ">=", start), ("event_date", "<", end)]
    ).cast(pa.schema([to_arrow_schema(INTERACTIONS.schema).field(name) for name in _COLUMNS]))
    chosen = pc.and_(rows["is_target"], pc.invert(rows["left_censored"]))
    return rows.filter(chosen).select(["user_id", "title_id", "release_age_days"])

