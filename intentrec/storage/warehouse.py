"""Read and write tables with Spark: stage, audit and commit exactly one interval; read at a pinned version.

A row that failed a critical expectation is never visible. A writer that is killed leaves the old rows or the new ones.
If the interval already holds equal rows, nothing is committed: the table keeps its version, and tables derived from it
do not become stale. A run whose interval or inputs another run has changed meanwhile is refused (`concurrency`).
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from operator import and_

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, MapType, StructType

from intentrec.contracts import TABLES, Table
from intentrec.errors import PipelineError, Superseded, lost_file
from intentrec.storage import audit, delta, spark, staging
from intentrec.storage.concurrency import ConcurrencyCheck, Seen
from intentrec.storage.conflicts import explained
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version
from intentrec.storage.schemas import require_frame, require_migrated

# How long old versions can be read. Releases name versions, and a rollback may return to one.
RETENTION = {
    "delta.deletedFileRetentionDuration": "interval 400 days",
    "delta.logRetentionDuration": "interval 400 days",
}
# By default, timestamps in JSON end at milliseconds, and rows a microsecond apart would have equal texts.
_MICROSECONDS = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}


@dataclass(frozen=True)
class Fingerprint:
    """Row count of a frame, and a checksum that does not depend on the order of rows."""

    rows: int
    checksum: str


NOTHING = Fingerprint(0, f"{0:016x}")  # of no rows


def fingerprint(frame: DataFrame) -> Fingerprint:
    """Count and checksum of the frame's rows, independent of their order and of the order inside maps."""
    row = F.xxhash64(_as_text(frame.schema))
    total = frame.agg(F.count("*").alias("rows"), F.sum(row.cast("decimal(38,0)")).alias("sum")).first()
    assert total is not None
    return Fingerprint(total["rows"], f"{int(total['sum'] or 0) & (2**64 - 1):016x}")


def _as_text(schema: StructType, alias: str = "") -> Column:
    """A row as text, the same for equal rows; `alias` is the frame's alias with a dot."""
    return row_text([_without_maps(alias, field.name, field.dataType) for field in schema])


def _without_maps(alias: str, name: str, of: DataType) -> Column:
    column = F.col(alias + name)
    return F.array_sort(F.map_entries(column)).alias(name) if isinstance(of, MapType) else column


def row_text(columns: Sequence[str | Column]) -> Column:
    """The columns as one JSON text: equal rows have equal texts, and different rows have different texts.

    A map has no fixed order, so pass its sorted entries instead.
    """
    return F.to_json(F.struct(*columns), _MICROSECONDS)


class Warehouse:
    """One domain's Delta tables, read and written by one run.

    Attributes:
        spark: the session.
        run: the attempt; it records the versions that are read and written.
        root: folder or URI of the tables.
    """

    def __init__(self, spark: SparkSession, run: Run) -> None:
        self.spark = spark
        self.run = run
        self.root = run.warehouse
        self._migrated: set[str] = set()
        self._concurrency = ConcurrencyCheck(delta.versions(self.root), self._rows_of)

    @classmethod
    def open(cls, run: Run) -> "Warehouse":
        """Start Spark for a run that is going to write, and clear what killed attempts left in the staging area."""
        audit.preload()
        session = spark.start(run.profile, run.job)
        staging.clear(session, run)
        return cls(session, run)

    def path(self, table: Table) -> str:
        """Location of a table."""
        return f"{self.root}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether the table was ever written."""
        return DeltaTable.isDeltaTable(self.spark, self.path(table))

    def version(self, table: Table) -> int:
        """The table's latest version."""
        return Snapshot(self.root, table).version  # without a Spark job

    def read(self, table: Table, start: date | None = None, end: date | None = None) -> DataFrame:
        """Rows of [start, end). The run reads one version, the latest at its first read, and records it as an input.

        Args:
            table: the table to read.
            start: first partition date; None for no lower bound.
            end: partition date after the last; None for no upper bound.

        Raises:
            PipelineError: the table does not exist yet, or an earlier version made it.
        """
        if not self.exists(table):
            raise PipelineError(f"table {table.name} does not exist in {self.root}: run the jobs before this one first")
        self._require_migrated(table)
        version = self.run.inputs.setdefault(table.name, self.version(table))
        self._concurrency.saw(Seen(table, version, start, end))
        return self._at(table, version, start, end)

    def replace(self, table: Table, frame: DataFrame, start: date, end: date) -> int:
        """Stage `frame`, audit it, and make it the content of [start, end).

        Args:
            table: the table to write.
            frame: rows with the columns of the contract.
            start: first partition date.
            end: partition date after the last.

        Returns:
            The table's version afterwards.

        Raises:
            PipelineError: the frame does not fit the contract, or has rows outside the interval. The table is
                unchanged.
            Superseded: another run wrote other rows into the interval since this run began, or changed rows that this
                run read or wrote. The table is unchanged.
            AuditFailed: a critical expectation failed. The table is unchanged.
        """
        require_frame(table, frame)
        self._require_migrated(table)
        with self.scratch(table.name, frame.select(*table.names), table.schema) as staged:
            self.run.say(f"{table.name} [{start}, {end}): staged, now the audit")
            audit.enforce(audit.audit(table, staged, self.run), self.run)
            new = fingerprint(staged)
            self.run.counts[f"{table.name}.rows"] = new.rows
            changed = self._make_content(table, staged, new, start, end)
            self.run.say(
                f"{table.name} [{start}, {end}): {new.rows:,} rows{' committed' if changed else ', unchanged'}"
            )
        return self._wrote(table, start, end)

    def merge(self, table: Table, frame: DataFrame, since: int | None = None) -> int:
        """Upsert rows by the table's key, staged and audited, in one commit that touches only rows that differ.

        For small tables whose readers may follow the change feed.

        Args:
            table: the table to write.
            frame: rows with the columns of the contract.
            since: the version that the rows were made from; None to skip this check. If the table has a later version,
                another run wrote it, and the merge would undo its rows.

        Returns:
            The table's version afterwards.

        Raises:
            PipelineError: the frame does not fit the contract. The table is unchanged.
            Superseded: another run wrote the table, or changed rows that this run read or wrote. The table is
                unchanged.
            AuditFailed: a critical expectation failed. The table is unchanged.
        """
        require_frame(table, frame)
        self._require_migrated(table)
        with self.scratch(table.name, frame.select(*table.names), table.schema) as staged:
            audit.enforce(audit.audit(table, staged, self.run), self.run)
            self._create(table)
            same_key = reduce(and_, [F.col(f"new.{name}") == F.col(f"old.{name}") for name in table.key])
            same_row = same_key & (_as_text(table.schema, "new.") == _as_text(table.schema, "old."))
            changed = staged.alias("new").join(self.current(table).alias("old"), same_row, "left_anti")
            rows = changed.count()
            self.run.counts[f"{table.name}.rows"] = staged.count()
            if rows:
                target = DeltaTable.forPath(self.spark, self.path(table)).alias("old")
                merge = target.merge(changed.alias("new"), same_key)
                self._concurrency.require(self.root, table, "rows")
                if since is not None and self.version(table) != since:
                    raise Superseded(
                        f"{table.name}: another run wrote this since it was read (version {since}); this run changed "
                        "nothing in it. Run it again"
                    )
                with explained(table, "rows"):
                    merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
            self.run.say(f"{table.name}: {rows:,} rows merged" if rows else f"{table.name}: unchanged")
        return self._wrote(table)

    def allow_nulls(self, table: Table, columns: Sequence[str]) -> int:
        """Drop NOT NULL of columns, one commit each, and return the table's version. No row is rewritten."""
        for name in columns:
            self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` ALTER COLUMN {name} DROP NOT NULL")
        return self.version(table)

    @contextmanager
    def scratch(self, name: str, frame: DataFrame, schema: StructType | None = None) -> Iterator[DataFrame]:
        """Compute `frame` once and keep its rows in the staging area until the block ends.

        Args:
            name: part of the folder's name, unique among the open blocks of the run.
            frame: the rows.
            schema: schema of the frame that is read back; None for that of `frame`.
        """
        folder = staging.folder(self.run, name)
        try:
            frame.write.format("parquet").mode("overwrite").save(folder)
            yield self.spark.read.schema(schema or frame.schema).parquet(folder)
        finally:
            staging.delete(self.spark, folder)

    def current(self, table: Table, start: date | None = None, end: date | None = None) -> DataFrame:
        """Rows of [start, end) at the latest version. Unlike `read`, it records no input.

        Raises:
            PipelineError: an earlier version of IntentRec made the table.
        """
        self._require_migrated(table)
        return _between(self.spark.read.format("delta").load(self.path(table)), table, start, end)

    def checksums(self) -> dict[str, Fingerprint]:
        """Fingerprint of every existing table but the ledger, which grows with each attempt."""
        tables = [table for table in TABLES.values() if table.name != "run_ledger" and self.exists(table)]
        with ThreadPoolExecutor(2) as pool:  # Spark plans one table while it computes another
            found = pool.map(lambda table: fingerprint(self._at(table, self.version(table))), tables)
            return {table.name: each for table, each in zip(tables, found, strict=True)}

    def _make_content(self, table: Table, staged: DataFrame, new: Fingerprint, start: date, end: date) -> bool:
        """Make the staged rows the content of the interval, and return whether that needed a commit."""
        if self._holds(table, new, start, end):
            return False
        before = Seen(table, self.version(table) if self.exists(table) else None, start, end)
        try:
            self._concurrency.require(self.root, table, f"[{start}, {end})", start, end)
            self._commit(table, staged, start, end)
        except Superseded:
            if not self._holds(table, new, start, end):  # another run over the same inputs wrote the same rows
                raise
            return False
        self._require_nothing_lost(before)
        return True

    def _require_nothing_lost(self, before: Seen) -> None:
        """Check that no other run wrote the interval between the last look at it and the begin of the own commit.

        Delta refuses only what is written after that. It is a moment; what was lost in it cannot be kept, but is told.
        """
        table = before.table
        mine = next((c for c in Snapshot(self.root, table).history(100) if c.run_id == self.run.run_id), None)
        if mine is None or mine.began_at is None or mine.began_at == before.version:
            return  # Delta makes no commit where there is nothing to write and nothing to remove
        if self._rows_of(replace(before, version=mine.began_at)) != self._rows_of(before):
            raise Superseded(
                f"{before}: another run wrote this in the moment before version {mine.version}, which replaced its "
                "rows. Run both again"
            )

    def _holds(self, table: Table, rows: Fingerprint, start: date, end: date) -> bool:
        """Whether the interval holds these rows now."""
        return self.exists(table) and self._rows_of(Seen(table, self.version(table), start, end)) == rows

    def _rows_of(self, seen: Seen) -> Fingerprint | None:
        """Fingerprint of the rows; None if one of their data files is lost. Writing the interval repairs that."""
        if seen.version is None:
            return NOTHING
        try:
            return fingerprint(self._at(seen.table, seen.version, seen.start, seen.end))
        except Exception as error:
            message = lost_file(error)
            if message is None:
                raise
            self.run.warn(f"{seen}: {message}")
            return None

    def _at(self, table: Table, version: int, start: date | None = None, end: date | None = None) -> DataFrame:
        """Rows of [start, end) at a version."""
        frame = self.spark.read.format("delta").option("versionAsOf", version).load(self.path(table))
        return _between(frame, table, start, end)

    def _wrote(self, table: Table, start: date | None = None, end: date | None = None) -> int:
        """Record that the run wrote the interval, and return the table's version."""
        version = self.run.outputs[table.name] = self.version(table)
        self._concurrency.wrote(Seen(table, version, start, end))
        return version

    def _require_migrated(self, table: Table) -> None:
        """Refuse a table of an earlier version."""
        if table.name not in self._migrated and self.exists(table):
            require_migrated(Snapshot(self.root, table), self.run.domain.domain)
            self._migrated.add(table.name)

    def _create(self, table: Table) -> None:
        builder = DeltaTable.createIfNotExists(self.spark).location(self.path(table)).comment(f"one row is {table.row}")
        builder = builder.addColumns(table.schema)
        for name, value in RETENTION.items():
            builder = builder.property(name, value)
        if table.partition:
            builder = builder.partitionedBy(table.partition)
        builder.execute()

    def _commit(self, table: Table, staged: DataFrame, start: date, end: date) -> None:
        self._create(table)
        about = {"run_id": self.run.run_id, "job": self.run.job, "code_version": code_version()}
        writer = staged.write.format("delta").mode("overwrite").option("userMetadata", json.dumps(about))
        if table.partition:
            inside = f"{table.partition} >= DATE'{start}' AND {table.partition} < DATE'{end}'"
            writer = writer.option("replaceWhere", inside).partitionBy(table.partition)
        with explained(table, f"[{start}, {end})"):
            writer.save(self.path(table))


def _between(frame: DataFrame, table: Table, start: date | None, end: date | None) -> DataFrame:
    if start is not None:
        frame = frame.where(F.col(str(table.partition)) >= F.lit(start))
    if end is not None:
        frame = frame.where(F.col(str(table.partition)) < F.lit(end))
    return frame
