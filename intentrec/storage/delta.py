"""Read and write Delta tables without Spark. This is the only module that uses delta-rs (the package `deltalake`), and
it is long because of that.

Spark is the only writer of partitions (`intentrec.storage.warehouse`). Training, evaluation and monitoring read through
delta-rs. It also writes the rows of the run ledger, the active flag of a release when a rollback moves it, and renamed
and new columns in a migration.

A warehouse is the root of one domain's tables: a local path, or a URI that delta-rs knows. Partition dates are given as
a half-open interval [start, end); None leaves that end open.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.config import Domain, Profile
from intentrec.contracts import RELEASES, RUN_LEDGER, TABLES, Column, Table
from intentrec.errors import PipelineError
from intentrec.storage.delta_folder import filesystem


class WriteConflict(Exception):
    """Another writer's commit came first; this one changed nothing."""


@dataclass(frozen=True)
class DataFile:
    """A data file of a table: its path below the table, bytes, rows, and partition date if the table has one."""

    path: str
    size: int
    rows: int
    day: date | None


@dataclass(frozen=True)
class Commit:
    """A version of a table.

    Attributes:
        table: its name.
        version: the version that the commit made.
        run_id: the attempt that made it; None if no job made it.
        began_at: the version that the commit began with, if known.
        about: what the attempt recorded with it.
    """

    table: str
    version: int
    run_id: str | None
    began_at: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)


class Snapshot:
    """One table at one version. Its rows do not change while others write.

    Args:
        warehouse: root of the domain's tables.
        table: the table to read.
        version: None for the latest.

    Raises:
        PipelineError: the table or the version does not exist.
    """

    def __init__(self, warehouse: str, table: Table, version: int | None = None) -> None:
        self.warehouse = warehouse
        self.table = table
        self._path = _path(warehouse, table)
        try:
            self._delta = DeltaTable(self._path, version=version)
        except TableNotFoundError as error:
            if version is None:
                raise PipelineError(
                    f"table {table.name} does not exist in {warehouse}: run the jobs before this one first"
                ) from error
            raise self._unreadable(version, error) from error
        except DeltaError as error:
            raise self._unreadable(version, error) from error

    @property
    def version(self) -> int:
        """The version of this snapshot."""
        return self._delta.version()

    def dataset(self, start: date | None = None, end: date | None = None) -> ds.Dataset:
        """The data files of the partitions in [start, end), to be read in record batches. The rows have no order.

        Files are chosen whole and rows are not filtered, so a reader holds one row group at a time. The types are those
        of delta-rs: text may be string_view. `rows` casts them to the types of the contract.
        """
        found = self._delta.to_pyarrow_dataset(filesystem=filesystem(self._path))
        if start is None and end is None:
            return found
        chosen = found.get_fragments(filter=_inside(ds.field(_partition(self.table)), start, end))
        return ds.FileSystemDataset(list(chosen), found.schema, found.format, found.filesystem)

    def rows(
        self,
        start: date | None = None,
        end: date | None = None,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """The rows of [start, end) in memory, without an order, with the contract's names and types.

        Args:
            start: first partition date.
            end: partition date after the last.
            columns: of the contract; None for all that the table has, which may lack a new column.
            where: further condition on the rows.
        """
        found, former = self.dataset(start, end), {new: old for old, new in self.former_columns.items()}
        names = list(columns or [name for name in self.table.names if former.get(name, name) in found.schema.names])
        chosen = {name: ds.field(former.get(name, name)) for name in names}
        return found.to_table(columns=chosen, filter=where).cast(arrow_schema(self.table, names))

    def batches(self, day: date) -> Iterator[pa.RecordBatch]:
        """The rows of one partition batch by batch, without an order, with the contract's types."""
        found = self.dataset(day, day + timedelta(days=1))
        schema = arrow_schema(self.table, [name for name in self.table.names if name in found.schema.names])
        for batch in found.to_batches(columns=schema.names):
            yield batch.cast(schema)

    def count(self, start: date | None = None, end: date | None = None, where: pc.Expression | None = None) -> int:
        """Number of rows of [start, end) that meet `where`."""
        return self.dataset(start, end).count_rows(filter=where)

    def files(self, start: date | None = None, end: date | None = None) -> list[DataFile]:
        """The data files of the partitions in [start, end). Reads the log only."""
        log = pa.table(self._delta.get_add_actions(flatten=True))
        if self.table.partition:
            day = log[f"partition.{self.table.partition}"].cast(pa.date32())
        else:
            day = pa.nulls(len(log), pa.date32())
        columns = (log["path"], log["size_bytes"], log["num_records"], day)
        found = [DataFile(*row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]
        return [each for each in found if each.day is None or (start or date.min) <= each.day < (end or date.max)]

    def history(self, limit: int | None = None) -> list[Commit]:
        """The commits that the table's log still holds, newest first; at most `limit`."""
        found = [(entry, _about(entry)) for entry in self._delta.history(limit)]
        return [
            Commit(self.table.name, entry["version"], about.get("run_id"), entry.get("readVersion"), about)
            for entry, about in found
        ]

    def update(self, values: Mapping[str, str], where: str, about: Mapping[str, Any]) -> int:
        """Set columns of some rows in one commit on top of this snapshot's version, and return the new version.

        Args:
            values: column -> SQL expression.
            where: SQL condition that chooses the rows.
            about: metadata of the commit, stored as JSON.

        Raises:
            PipelineError: another writer's commit came first, or the table cannot be written. It is unchanged.
        """
        try:
            self._delta.update(updates=dict(values), predicate=where, commit_properties=_properties(about))
        except DeltaError as error:
            raise self._unchanged(error) from error
        return self._delta.version()

    @property
    def former_columns(self) -> dict[str, str]:
        """Columns that this version still has under a former name: former name -> name in the contract."""
        present = {field.name for field in self._delta.schema().fields}
        return {old: new for old, new in self.table.former_names.items() if old in present}

    @property
    def missing_columns(self) -> list[Column]:
        """Columns of the contract that this version has under no name."""
        present = {self.table.former_names.get(field.name, field.name) for field in self._delta.schema().fields}
        return [column for column in self.table.columns if column.name not in present]

    @property
    def strict_columns(self) -> list[str]:
        """Columns that may not be null in this version, but may in the contract."""
        strict = {field.name for field in self._delta.schema().fields if not field.nullable}
        return [column.name for column in self.table.columns if column.nullable and column.name in strict]

    def add_columns(self, columns: Sequence[Column], about: Mapping[str, Any]) -> int:
        """Add columns of the contract that may be null, in one commit, and return the new version. No row is rewritten.

        Args:
            columns: the columns.
            about: metadata of the commit, stored as JSON.

        Raises:
            PipelineError: another writer's commit came first, or the table cannot be written. It is unchanged.
        """
        fields = Schema.from_arrow(_documented(self.table, columns)).fields
        try:
            self._delta.alter.add_columns(fields, commit_properties=_properties(about))
        except DeltaError as error:
            raise self._unchanged(error) from error
        return DeltaTable(self._path).version()

    def rename_columns(self, about: Mapping[str, Any]) -> int:
        """Rewrite all rows under the contract's column names, in one commit, and return the new version.

        Rows, properties, comment and NOT NULL stay. (Spark would drop NOT NULL when it overwrites a schema.)

        Args:
            about: metadata of the commit, stored as JSON.

        Raises:
            PipelineError: another writer's commit came first, or the table cannot be written. It is unchanged.
        """
        old = {new: former for former, new in self.former_columns.items()}
        found, schema = self.dataset(), _documented(self.table, self.table.columns)
        names = [old.get(name, name) for name in schema.names]

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in found.to_batches(columns=names):
                yield pa.record_batch(batch.columns, names=schema.names).cast(schema)

        try:
            write_deltalake(
                self._delta,
                pa.RecordBatchReader.from_batches(schema, batches()),
                mode="overwrite",
                schema_mode="overwrite",
                partition_by=[self.table.partition] if self.table.partition else None,
                commit_properties=_properties(about),
            )
        except DeltaError as error:
            raise self._unchanged(error) from error
        return DeltaTable(self._path).version()

    def _unreadable(self, version: int | None, error: DeltaError) -> PipelineError:
        at = "" if version is None else f" at version {version}"
        return PipelineError(f"{self.table.name}{at} cannot be read from {self.warehouse}: {error}")

    def _unchanged(self, error: DeltaError) -> PipelineError:
        return PipelineError(
            f"{self.table.name} was not changed, perhaps because another run wrote it at the same time: run it again. "
            f"({error})"
        )


def exists(warehouse: str, table: Table) -> bool:
    """Whether the table was ever written."""
    return DeltaTable.is_deltatable(_path(warehouse, table))


def versions(warehouse: str) -> dict[str, int]:
    """The latest version of every existing table but the ledger, in which every attempt writes."""
    return {table.name: Snapshot(warehouse, table).version for table in _written(warehouse)}


def append(warehouse: str, table: Table, rows: pa.Table) -> None:
    """Add rows in one commit. Creates the table if it does not exist, and columns of the rows that it lacks.

    Raises:
        WriteConflict: another writer's commit came first.
    """
    try:
        write_deltalake(_path(warehouse, table), rows, mode="append", schema_mode="merge", name=table.name)
    except CommitFailedError as error:
        raise WriteConflict(str(error)) from error


def replace_where(warehouse: str, table: Table, rows: pa.Table, where: str) -> None:
    """Replace the rows that meet the SQL condition `where` by `rows`, in one commit.

    Raises:
        WriteConflict: another writer's commit came first.
    """
    try:
        write_deltalake(_path(warehouse, table), rows, mode="overwrite", predicate=where)
    except CommitFailedError as error:
        raise WriteConflict(str(error)) from error


def arrow_schema(table: Table, columns: Sequence[str] | None = None) -> pa.Schema:
    """The contract's Arrow schema of `columns`, in their order; of all columns if it is None."""
    schema = to_arrow_schema(table.schema)
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def warehouse_of(profile: Profile, domain: Domain) -> str:
    """Root of a domain's tables."""
    return f"{profile.warehouse}/{domain.domain}"


def rows_by_partition(profile: Profile, domain: Domain) -> dict[str, dict[date, int]]:
    """Rows of every partitioned table by partition date; a table that does not exist yet has none."""
    warehouse = warehouse_of(profile, domain)
    return {table.name: rows_by_day(warehouse, table) for table in TABLES.values() if table.partition}


def releases(profile: Profile, domain: Domain) -> list[dict]:
    """The rows of `releases`, oldest as_of first; none if the table does not exist yet."""
    warehouse = warehouse_of(profile, domain)
    if not exists(warehouse, RELEASES):
        return []
    rows = Snapshot(warehouse, RELEASES).rows().to_pylist()
    return sorted(rows, key=lambda row: (row["as_of"], row["release_id"]))


def commits(profile: Profile, domain: Domain) -> list[Commit]:
    """Every commit of every table but the ledger."""
    warehouse = warehouse_of(profile, domain)
    return [commit for table in _written(warehouse) for commit in Snapshot(warehouse, table).history()]


def rows_by_day(warehouse: str, table: Table) -> dict[date, int]:
    """Rows of a partitioned table by partition date; none if it does not exist yet. Reads the log only."""
    if not exists(warehouse, table):
        return {}
    rows: dict[date, int] = {}
    for file in Snapshot(warehouse, table).files():
        assert file.day is not None
        rows[file.day] = rows.get(file.day, 0) + file.rows
    return dict(sorted(rows.items()))


def _written(warehouse: str) -> list[Table]:
    """The tables that exist, without the ledger."""
    return [table for table in TABLES.values() if table is not RUN_LEDGER and exists(warehouse, table)]


def _documented(table: Table, columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of some columns, with their descriptions as Delta keeps them."""
    schema = arrow_schema(table)
    return pa.schema([schema.field(column.name).with_metadata({"comment": column.doc}) for column in columns])


def _path(warehouse: str, table: Table) -> str:
    return f"{warehouse}/{table.name}"


def _properties(about: Mapping[str, Any]) -> CommitProperties:
    """Metadata of a commit that fails if another commit came first."""
    return CommitProperties(custom_metadata={"userMetadata": json.dumps(about)}, max_commit_retries=0)


def _partition(table: Table) -> str:
    if table.partition is None:
        raise ValueError(f"{table.name} has no partitions, so it cannot be read by date")
    return table.partition


def _inside(day: pc.Expression, start: date | None, end: date | None) -> pc.Expression:
    """Whether `day` lies in [start, end)."""
    bounds = [day >= start] if start is not None else []
    bounds += [day < end] if end is not None else []
    return bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]


def _about(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that a job gave a commit; empty if no job made it."""
    try:
        found = json.loads(entry["userMetadata"])
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
