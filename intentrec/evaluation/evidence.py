"""The week that models are judged on, read once at pinned table versions, without Spark."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from intentrec.calendar import DAY, WEEK
from intentrec.contracts import CATALOG, INTERACTIONS, SEQUENCES, TITLE_FACTS, TITLE_STATE
from intentrec.errors import Skip
from intentrec.evaluation.targets import Targets
from intentrec.inference.seen import SeenTitles
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run
from intentrec.training.data import (
    known_from,
    latest_sequences,
    open_sequences,
    read_catalog,
    read_sequences,
    read_title_facts,
    served_from,
)
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
        before: the latest row of `sequences` as of the cut of each user who is served then.
        week: `sequences` as of T.
        targets: target interactions of the week: user_id, title_id, release_age_days.
        title_facts: rows of `title_facts` up to the cut.
        seen: titles that the users of `targets` had seen as of the cut.
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
    title_facts: pa.Table
    seen: SeenTitles
    learned: StackedWeeks
    fingerprint: dict[str, str]


def read_evidence(run: Run) -> Evidence:
    """Read the evidence of the week that ends at the run's end.

    Raises:
        Skip: there is no snapshot before the week, or nothing happened in it.
        PipelineError: a table, or the state as of the cut, does not exist.
    """
    require_evidence(run)
    end, cut = run.end, run.end - WEEK
    first = cut - max(run.domain.training.weeks, run.domain.publishing.active_weeks) * WEEK + DAY
    versions = {table.name: pin(run, table) for table in (SEQUENCES, CATALOG, INTERACTIONS, TITLE_STATE, TITLE_FACTS)}
    targets = _targets(run.warehouse, versions["interactions"], cut, end)
    users = pc.unique(targets["user_id"])
    return Evidence(
        cut,
        end,
        read_catalog(run.warehouse, versions["catalog"], cut),
        read_catalog(run.warehouse, versions["catalog"], end),
        latest_sequences(run.warehouse, versions["sequences"], cut, run.domain.publishing.active_weeks),
        read_sequences(run.warehouse, versions["sequences"], end),
        targets,
        read_title_facts(run.warehouse, versions["title_facts"], cut),
        SeenTitles.read(run.warehouse, versions["title_state"], cut, users, run.domain),
        partial(stacked_weeks, run, versions["sequences"], cut),
        {
            "sequences": content(run, SEQUENCES, versions["sequences"], first, end),
            "interactions": content(run, INTERACTIONS, versions["interactions"], cut, end - DAY),
            "title_facts": content(run, TITLE_FACTS, versions["title_facts"], known_from(cut), cut),
            "catalog": content(run, CATALOG, versions["catalog"], date.min, end - DAY),
            "title_state": content(run, TITLE_STATE, versions["title_state"], cut, cut),
        },
    )


def require_evidence(run: Run) -> None:
    """Check that there is something to judge on, before anything is trained. Nothing that is read is kept.

    Raises:
        Skip: there is no snapshot before the week, or nothing happened in it that a system could foretell.
        PipelineError: a table, or the state as of the cut, does not exist.
    """
    end, cut = run.end, run.end - WEEK
    sequences, interactions = pin(run, SEQUENCES), pin(run, INTERACTIONS)
    found = {f"snapshot as of {day}": open_sequences(run.warehouse, sequences, day).count_rows() for day in (cut, end)}
    found["target"] = Snapshot(run.warehouse, INTERACTIONS, interactions).count(cut, end, where=_IS_TARGET)
    for what, rows in found.items():
        if not rows:
            raise Skip(f"nothing to judge on in [{cut}, {end}): no {what}")
    if missing := _unjudged(run, sequences, _targets(run.warehouse, interactions, cut, end)):
        raise Skip(f"nothing to judge on in [{cut}, {end}): no {missing}")


def _unjudged(run: Run, sequences: int, targets: pa.Table) -> str | None:
    """What both protocols need of a week and this one lacks; None if it lacks nothing.

    Args:
        run: its end is the week's.
        sequences: version of the table.
        targets: target interactions of the week.
    """
    cut, root = run.end - WEEK, run.warehouse
    snapshot = Snapshot(root, SEQUENCES, sequences)
    first = served_from(cut, run.domain.publishing.active_weeks)
    known = snapshot.rows(first, cut + DAY, columns=["user_id"])["user_id"]
    targets = targets.filter(pc.is_in(targets["user_id"], value_set=known))
    if not len(targets):
        return "target of a user who is served"
    if not run.domain.publishing.seen_titles:
        users = pc.unique(targets["user_id"])
        seen = SeenTitles.read(root, pin(run, TITLE_STATE), cut, users, run.domain)
        if seen.holds(targets["user_id"], targets["title_id"]).all():
            return "target that its user had not seen"
    week = snapshot.rows(run.end, run.end + DAY, columns=["is_target", "n_new", "end_ts"])
    if not any(len(Targets.of(batch)) for batch in week.to_batches()):
        return "target that something of its user precedes"
    return None


def stacked_weeks(run: Run, version: int, cut: date) -> Iterator[pa.RecordBatch]:
    """Rows of the weekly snapshots up to `cut` that models learn from, the oldest week first.

    Args:
        run: its domain says how many weeks.
        version: of `sequences`.
        cut: as_of of the last snapshot.
    """
    for ago in reversed(range(run.domain.training.weeks)):
        yield from read_sequences(run.warehouse, version, cut - ago * WEEK).to_batches(ROWS)


def _targets(warehouse: str, version: int, start: date, end: date) -> pa.Table:
    """Target interactions of [start, end) without the left-censored ones."""
    return Snapshot(warehouse, INTERACTIONS, version).rows(start, end, columns=_COLUMNS, where=_IS_TARGET)
