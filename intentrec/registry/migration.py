"""Bring the tables of an earlier version to the contract: renamed and new columns, columns that may be null now.

The releases that name these tables follow.

A new column that may be null is null in the rows that exist. A new column that may not be null cannot be added to them:
the table must be built again.

Consumers read each table at the version that a release names. A renamed or new column gives a table a new version, so
the releases whose rows are in that version are moved to it. A release whose rows were replaced since keeps its old
version, with the columns of that time.
"""

from typing import Any

import pyarrow.compute as pc

from intentrec.calendar import DAY, WEEK, week_start_of
from intentrec.contracts import PUBLISHED, RELEASES, TABLES, Table
from intentrec.errors import PipelineError, backfill_command
from intentrec.storage import delta
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import code_version
from intentrec.storage.warehouse import Warehouse


def migrate(warehouse: Warehouse) -> list[str]:
    """Give the tables the columns of the contract; sentences that say what changed.

    One commit per table and kind of change, and one for `releases`. A second call changes nothing. A call that was
    killed can be repeated.

    Args:
        warehouse: of the attempt; its inputs and outputs are filled in.

    Raises:
        PipelineError: another run wrote one of the tables meanwhile: make the call again. Or a table lacks a column
            that may not be null: the message says how to build it again, and the other tables are migrated.
    """
    existing = [table for table in TABLES.values() if delta.exists(warehouse.root, table)]
    said, rebuilt = [], []
    for table in existing:
        if required := [
            column.name for column in Snapshot(warehouse.root, table).missing_columns if not column.nullable
        ]:
            rebuilt.append(_rebuild(warehouse, table, required))
        else:
            said += _migrate(warehouse, table)
    for table in existing:
        if table in PUBLISHED and not rebuilt:
            said += _move_releases(warehouse, table)
    for line in said if rebuilt else []:
        warehouse.run.say(line)
    if rebuilt:
        raise PipelineError("; ".join(rebuilt))
    return said


def _migrate(warehouse: Warehouse, table: Table) -> list[str]:
    run, said = warehouse.run, []
    about = {"run_id": run.run_id, "job": run.job, "code_version": code_version()}
    before = Snapshot(warehouse.root, table)
    if added := before.missing_columns:
        run.inputs[table.name] = before.version
        run.outputs[table.name] = before.add_columns(added, about)
        names = ", ".join(column.name for column in added)
        said.append(f"{table.name}: added {names}, empty in all rows, now at version {run.outputs[table.name]}")
    if strict := Snapshot(warehouse.root, table).strict_columns:
        run.inputs.setdefault(table.name, before.version)
        run.outputs[table.name] = warehouse.allow_nulls(table, strict)
        said.append(f"{table.name}: {', '.join(strict)} may be null, now at version {run.outputs[table.name]}")
    before = Snapshot(warehouse.root, table)
    if renamed := before.former_columns:
        run.inputs.setdefault(table.name, before.version)
        run.outputs[table.name] = before.rename_columns(about)
        names = ", ".join(f"{old} to {new}" for old, new in renamed.items())
        said.append(f"{table.name}: renamed {names}, now at version {run.outputs[table.name]}")
    return said


def _rebuild(warehouse: Warehouse, table: Table, columns: list[str]) -> str:
    """How to build a table again whose rows lack columns that may not be null."""
    domain, dates = warehouse.run.domain, delta.rows_by_partition(warehouse.run.profile, warehouse.run.domain)
    missing = f"{table.name}: its rows have no {', '.join(columns)}, which may not be empty"
    days = dates.get(table.name)
    if not days:  # there are no rows, or the table has no dates
        return f"{missing}: move the folder {warehouse.path(table)} away, and run the job again that writes it"
    by_end = table.partition == "as_of"
    first, last = (week_start_of(day - DAY if by_end else day, domain.calendar) for day in (min(days), max(days)))
    first = max(first, domain.calendar.history_start)
    command = backfill_command(domain.domain, first, last + WEEK, "--publish" if table in PUBLISHED else "")
    return f"{missing}: move the folder {warehouse.path(table)} away, and run {command}"


def _move_releases(warehouse: Warehouse, table: Table) -> list[str]:
    """Let releases that name a version with earlier columns name the latest one, if it has their rows."""
    if not delta.exists(warehouse.root, RELEASES):
        return []
    since, latest = warehouse.version(RELEASES), Snapshot(warehouse.root, table)
    present = {
        release
        for batch in latest.dataset().to_batches(columns=["release_id"])
        for release in pc.unique(batch["release_id"]).to_pylist()
    }
    moved = []
    for row in warehouse.current(RELEASES).collect():
        release: dict[str, Any] = row.asDict()
        if release["release_id"] in present and _is_old(warehouse, table, release["table_versions"][table.name]):
            release["table_versions"] = {**release["table_versions"], table.name: latest.version}
            moved.append(release)
    if not moved:
        return []
    rows = [tuple(release[name] for name in RELEASES.names) for release in moved]
    warehouse.merge(RELEASES, warehouse.spark.createDataFrame(rows, RELEASES.schema), since)
    ids = ", ".join(release["release_id"] for release in moved)
    return [f"releases: {ids} moved to version {latest.version} of {table.name}"]


def _is_old(warehouse: Warehouse, table: Table, version: int) -> bool:
    """Whether this version lacks a column of the contract. The log may no longer have so old a version."""
    try:
        then = Snapshot(warehouse.root, table, version)
        return bool(then.former_columns or then.missing_columns)
    except PipelineError:
        return True
