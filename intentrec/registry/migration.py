"""Bring the tables of an earlier version to the contract: renamed columns, and the releases that name these tables.

Consumers read each table at the version that a release names. A renamed column gives a table a new version, so the
releases whose rows are in that version are moved to it. A release whose rows were replaced since keeps its old version,
with the former name.
"""

from typing import Any

import pyarrow.compute as pc

from intentrec.contracts import RELEASES, TABLES, Table
from intentrec.errors import PipelineError
from intentrec.registry.releases import PUBLISHED
from intentrec.storage import delta
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import code_version
from intentrec.storage.warehouse import Warehouse


def migrate(warehouse: Warehouse) -> list[str]:
    """Rename columns that the tables still have under a former name; sentences that say what changed.

    One commit per table, and one for `releases`. A second call changes nothing. A call that was killed can be repeated.

    Args:
        warehouse: of the attempt; its inputs and outputs are filled in.

    Raises:
        PipelineError: another run wrote one of the tables meanwhile. Make the call again.
    """
    run, said = warehouse.run, []
    about = {"run_id": run.run_id, "job": run.job, "code_version": code_version()}
    for table in TABLES.values():
        if not table.former_names or not delta.exists(warehouse.root, table):
            continue
        before = Snapshot(warehouse.root, table)
        if renamed := before.former_columns:
            run.inputs[table.name] = before.version
            run.outputs[table.name] = before.rename_columns(about)
            names = ", ".join(f"{old} to {new}" for old, new in renamed.items())
            said.append(f"{table.name}: renamed {names}, now at version {run.outputs[table.name]}")
        if table in PUBLISHED:
            said += _move_releases(warehouse, table)
    return said


def _move_releases(warehouse: Warehouse, table: Table) -> list[str]:
    """Let releases that name a version with former column names name the latest one, if it has their rows."""
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
    """Whether this version has a column under a former name. The log may no longer have so old a version."""
    try:
        return bool(Snapshot(warehouse.root, table, version).former_columns)
    except PipelineError:
        return True
