"""What the tables hold, week by week, from their Delta logs: no Spark, no data read."""

import json
from datetime import date

import pyarrow as pa
from deltalake import DeltaTable

from intentrec.config import Domain, Profile
from intentrec.contracts import RELEASES, RUN_LEDGER, TABLES, Table


def rows_by_partition(profile: Profile, domain: Domain) -> dict[str, dict[date, int]]:
    """Rows of every partitioned table by partition date; a table that does not exist yet has none."""
    return {
        table.name: _partitions(path, table) if (path := _existing(profile, domain, table)) else {}
        for table in TABLES.values()
        if table.partition
    }


def releases(profile: Profile, domain: Domain) -> list[dict]:
    """The `releases` table, oldest as_of first."""
    path = _existing(profile, domain, RELEASES)
    if path is None:
        return []
    return sorted(DeltaTable(path).to_pyarrow_table().to_pylist(), key=lambda row: (row["as_of"], row["release_id"]))


def commits(profile: Profile, domain: Domain) -> list[dict]:
    """Every commit of every table but the ledger: table, version and the run that made it (None: not a job)."""
    found = []
    for table in TABLES.values():
        path = None if table is RUN_LEDGER else _existing(profile, domain, table)
        if path is None:
            continue
        for entry in DeltaTable(path).history():
            found.append({"table": table.name, "version": entry["version"], "run_id": _run_id(entry)})
    return found


def _run_id(entry: dict) -> str | None:
    try:
        return json.loads(entry["userMetadata"])["run_id"]
    except (KeyError, TypeError, ValueError):
        return None


def _existing(profile: Profile, domain: Domain, table: Table) -> str | None:
    path = f"{profile.warehouse}/{domain.domain}/{table.name}"
    return path if DeltaTable.is_deltatable(path) else None


def _partitions(path: str, table: Table) -> dict[date, int]:
    files = pa.table(DeltaTable(path).get_add_actions(flatten=True))
    rows: dict[date, int] = {}
    for day, count in zip(
        files[f"partition.{table.partition}"].to_pylist(), files["num_records"].to_pylist(), strict=True
    ):
        rows[day] = rows.get(day, 0) + count
    return dict(sorted(rows.items()))
