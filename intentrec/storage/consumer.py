"""What consumers read: the rows of one release, by default of the active one, and no others. It needs no Spark."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from intentrec.contracts import PUBLISHED, RELEASES, Table
from intentrec.errors import PipelineError, did_you_mean
from intentrec.storage.delta import Snapshot, exists


def read(table: str, warehouse: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a published table that belong to the active release, without an order.

    They are read at the version that the release names, so a publication at the same time changes nothing.

    Args:
        table: name of the table, one of `contracts.PUBLISHED`.
        warehouse: root of the domain's tables, such as `var/warehouse/streaming`.
        columns: None for all.

    Raises:
        PipelineError: no such table, nothing was published yet, no release is active, or the active one has no rows of
            the table.
    """
    tables = {each.name: each for each in PUBLISHED}
    if table not in tables:
        raise PipelineError(
            f"{table} is not a published table{did_you_mean(table, tables)}; choose one of {', '.join(tables)}"
        )
    root = str(warehouse)
    if not exists(root, RELEASES):
        raise PipelineError(f"{root} has no table releases: nothing was published, or this is not a domain's warehouse")
    active = Snapshot(root, RELEASES).rows(where=pc.field("active")).to_pylist()
    if not active:
        raise PipelineError(f"no release of {root} is active: publish one, or run `intentrec rollback` to choose one")
    (release,) = active
    return rows_of(tables[table], root, release, columns)


def rows_of(
    table: Table,
    warehouse: str,
    release: Mapping[str, Any],
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """The rows of a published table that belong to a release, without an order, at the version that it names.

    Args:
        table: one of `contracts.PUBLISHED`.
        warehouse: root of the domain's tables.
        release: row of `releases`.
        columns: None for all.
        where: further condition on the rows.

    Raises:
        PipelineError: the release has no rows of the table.
    """
    versions = dict(release["table_versions"])
    if table.name not in versions:
        raise PipelineError(
            f"release {release['release_id']} as of {release['as_of']}, which {release['model_name']} made, has no "
            f"rows of {table.name}. Naive baselines write no intents and no vectors; only V4 writes lists for intents; "
            "releases of earlier versions have no popular titles"
        )
    snapshot = Snapshot(warehouse, table, versions[table.name])
    day, is_own = release["as_of"], pc.field("release_id") == release["release_id"]
    return snapshot.rows(day, day + timedelta(days=1), columns, is_own if where is None else is_own & where)
