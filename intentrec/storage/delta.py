"""Read and write Delta tables without Spark. This is the only module that uses delta-rs (the package `deltalake`).

Spark writes all tables but one and is the only writer of partitions (`intentrec.storage.warehouse`). Through delta-rs
go the reads of training, evaluation and monitoring, the rows of the run ledger, and the flag that a rollback moves.

A warehouse is the root of one domain's tables: a local path, or a URI that delta-rs knows. Dates of partitions are
given as half-open intervals [start, end), where None leaves an end open.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.config import Domain, Profile
from intentrec.contracts import RELEASES, RUN_LEDGER, TABLES, Table
from intentrec.errors import PipelineError


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
    """A version of a table and the id of the run that made it; None where no job did."""

    table: str
    version: int
    run_id: str | None


class Snapshot:
    """One table at one version. Its rows do not change while others write.

    Args:
        warehouse: root of the domain's tables.
        table: which one.
        version: None for the latest.

    Raises:
        PipelineError: the table or the version does not exist.
    """

    def __init__(self, warehouse: str, table: Table, version: int | None = None) -> None:
        self.warehouse = warehouse
        self.table = table
        self._place = _place(warehouse, table)
        try:
            self._delta = DeltaTable(self._place, version=version)
        except TableNotFoundError as error:
            if version is None:
                raise PipelineError(
                    f"table {table.name} does not exist in {warehouse}: run the jobs before this one first"
                ) from error
            raise PipelineError(self._unreadable(version, error)) from error
        except DeltaError as error:
            raise PipelineError(self._unreadable(version, error)) from error

    @property
    def version(self) -> int:
        """The version that is read."""
        return self._delta.version()

    def dataset(self, start: date | None = None, end: date | None = None) -> ds.Dataset:
        """The data files of the partitions in [start, end), to be read in record batches; rows come in no order.

        Whole files are chosen and no row is filtered, so a reader holds one row group at a time. Types are delta-rs's
        own: text may be string_view. `rows` casts them to the contract's.
        """
        # An Arrow thread may drop a file after the interpreter is gone. A file opened through Python, as delta-rs does
        # by default, then aborts the process. Local files are opened by Arrow itself.
        found = self._delta.to_pyarrow_dataset(filesystem=_local(self._place))
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
        """The rows of [start, end) in memory, in no order, with the contract's types.

        Args:
            start: first partition date.
            end: the date after the last.
            columns: of the contract; None for all that the table has. (It may be older than a column.)
            where: further condition on the rows.
        """
        found = self.dataset(start, end)
        names = list(columns or [name for name in self.table.names if name in found.schema.names])
        return found.to_table(columns=names, filter=where).cast(arrow_schema(self.table, names))

    def count(self, start: date | None = None, end: date | None = None, where: pc.Expression | None = None) -> int:
        """How many rows [start, end) has, of those that meet `where`."""
        return self.dataset(start, end).count_rows(filter=where)

    def files(self, start: date | None = None, end: date | None = None) -> list[DataFile]:
        """The data files of the partitions in [start, end), from the log alone."""
        log = pa.table(self._delta.get_add_actions(flatten=True))
        if self.table.partition:
            day = log[f"partition.{self.table.partition}"].cast(pa.date32())
        else:
            day = pa.nulls(len(log), pa.date32())
        columns = (log["path"], log["size_bytes"], log["num_records"], day)
        found = [DataFile(*row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]
        return [each for each in found if each.day is None or (start or date.min) <= each.day < (end or date.max)]

    def history(self) -> list[Commit]:
        """The commits of the table that its log still holds, newest first."""
        return [Commit(self.table.name, entry["version"], _run_id(entry)) for entry in self._delta.history()]

    def update(self, values: Mapping[str, str], where: str, about: Mapping[str, Any]) -> int:
        """Set columns of some rows in one commit on top of this snapshot's version, and return the new version.

        Args:
            values: column -> SQL expression.
            where: SQL condition that chooses the rows.
            about: is kept as JSON with the commit.

        Raises:
            PipelineError: another writer's commit came first, or the table cannot be written. It is as it was.
        """
        told = CommitProperties(custom_metadata={"userMetadata": json.dumps(about)}, max_commit_retries=0)
        try:
            self._delta.update(updates=dict(values), predicate=where, commit_properties=told)
        except DeltaError as error:
            raise PipelineError(
                f"{self.table.name} was not changed, perhaps because another run wrote it at the same time: run it "
                f"again. ({error})"
            ) from error
        return self._delta.version()

    @property
    def former_columns(self) -> dict[str, str]:
        """Columns that this version still has under a former name: former name -> name in the contract."""
        there = {field.name for field in self._delta.schema().fields}
        return {old: new for old, new in self.table.former_names.items() if old in there}

    def rename_columns(self, about: Mapping[str, Any]) -> int:
        """Write all rows anew under the contract's column names, in one commit, and return the new version.

        Rows, properties, comment and NOT NULL stay. (Spark would drop NOT NULL where it overwrites a schema.)

        Args:
            about: is kept as JSON with the commit.

        Raises:
            PipelineError: another writer's commit came first, or the table cannot be written. It is as it was.
        """
        old = {new: former for former, new in self.former_columns.items()}
        found, schema = self.dataset(), arrow_schema(self.table)
        fields = [schema.field(c.name).with_metadata({"comment": c.doc}) for c in self.table.columns]
        names = [old.get(name, name) for name in schema.names]

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in found.to_batches(columns=names):
                yield pa.record_batch(batch.columns, names=schema.names).cast(pa.schema(fields))

        try:
            write_deltalake(
                self._delta,
                pa.RecordBatchReader.from_batches(pa.schema(fields), batches()),
                mode="overwrite",
                schema_mode="overwrite",
                partition_by=[self.table.partition] if self.table.partition else None,
                commit_properties=CommitProperties({"userMetadata": json.dumps(about)}, max_commit_retries=0),
            )
        except DeltaError as error:
            raise PipelineError(
                f"{self.table.name} was not changed, perhaps because another run wrote it at the same time: run it "
                f"again. ({error})"
            ) from error
        return DeltaTable(self._place).version()

    def _unreadable(self, version: int | None, error: DeltaError) -> str:
        at = "" if version is None else f" at version {version}"
        return f"{self.table.name}{at} cannot be read from {self.warehouse}: {error}"


def exists(warehouse: str, table: Table) -> bool:
    """Whether the table was ever written."""
    return DeltaTable.is_deltatable(_place(warehouse, table))


def append(warehouse: str, table: Table, rows: pa.Table) -> None:
    """Add rows in one commit. Makes the table if it does not exist; adds the columns that it is older than.

    Raises:
        WriteConflict: another writer's commit came first.
    """
    try:
        write_deltalake(_place(warehouse, table), rows, mode="append", schema_mode="merge", name=table.name)
    except CommitFailedError as error:
        raise WriteConflict(str(error)) from error


def replace_where(warehouse: str, table: Table, rows: pa.Table, where: str) -> None:
    """Put rows in the place of those that meet the SQL condition `where`, in one commit.

    Raises:
        WriteConflict: another writer's commit came first.
    """
    try:
        write_deltalake(_place(warehouse, table), rows, mode="overwrite", predicate=where)
    except CommitFailedError as error:
        raise WriteConflict(str(error)) from error


def arrow_schema(table: Table, columns: Sequence[str] | None = None) -> pa.Schema:
    """The contract's Arrow schema of some columns, in their order; None for all."""
    schema = to_arrow_schema(table.schema)
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])


def warehouse_of(profile: Profile, domain: Domain) -> str:
    """Root of a domain's tables."""
    return f"{profile.warehouse}/{domain.domain}"


def rows_by_partition(profile: Profile, domain: Domain) -> dict[str, dict[date, int]]:
    """Rows of every partitioned table by partition date; a table that does not exist yet has none."""
    warehouse = warehouse_of(profile, domain)
    return {table.name: _counted(warehouse, table) for table in TABLES.values() if table.partition}


def releases(profile: Profile, domain: Domain) -> list[dict]:
    """The rows of `releases`, oldest as_of first; none where the table does not exist yet."""
    warehouse = warehouse_of(profile, domain)
    if not exists(warehouse, RELEASES):
        return []
    rows = Snapshot(warehouse, RELEASES).rows().to_pylist()
    return sorted(rows, key=lambda row: (row["as_of"], row["release_id"]))


def commits(profile: Profile, domain: Domain) -> list[Commit]:
    """Every commit of every table but the ledger."""
    warehouse = warehouse_of(profile, domain)
    tables = [table for table in TABLES.values() if table is not RUN_LEDGER and exists(warehouse, table)]
    return [commit for table in tables for commit in Snapshot(warehouse, table).history()]


def _counted(warehouse: str, table: Table) -> dict[date, int]:
    if not exists(warehouse, table):
        return {}
    rows: dict[date, int] = {}
    for file in Snapshot(warehouse, table).files():
        assert file.day is not None
        rows[file.day] = rows.get(file.day, 0) + file.rows
    return dict(sorted(rows.items()))


def _place(warehouse: str, table: Table) -> str:
    return f"{warehouse}/{table.name}"


def _local(place: str) -> FileSystem | None:
    """The file system of a table in a local folder; None elsewhere."""
    scheme = urlparse(place).scheme if "://" in place else ""
    if scheme not in ("", "file"):
        return None
    path = unquote(urlparse(place).path) if scheme else os.path.abspath(place)
    return SubTreeFileSystem(path, LocalFileSystem())


def _partition(table: Table) -> str:
    if table.partition is None:
        raise ValueError(f"{table.name} has no partition dates to choose by")
    return table.partition


def _inside(day: pc.Expression, start: date | None, end: date | None) -> pc.Expression:
    """Whether `day` lies in [start, end)."""
    bounds = [day >= start] if start is not None else []
    bounds += [day < end] if end is not None else []
    return bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]


def _run_id(entry: Mapping[str, Any]) -> str | None:
    try:
        return json.loads(entry["userMetadata"])["run_id"]
    except (KeyError, TypeError, ValueError):
        return None
