"""Read and write tables with Spark: stage, audit and commit exactly one interval; read at a pinned version.

A row that failed a critical expectation is never visible. A writer that is killed leaves the old rows or the new ones.
If the interval already holds equal rows, nothing is committed: the table keeps its version, and tables derived from it
do not become stale.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import and_

from delta.exceptions import captured
from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructType

from intentrec.contracts import TABLES, Table
from intentrec.errors import PipelineError, lost_file
from intentrec.storage import audit, spark
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version

# What Delta raises if another commit came first. These classes share no base class of their own.
CONFLICTS = (
    captured.ConcurrentAppendException,
    captured.ConcurrentDeleteDeleteException,
    captured.ConcurrentDeleteReadException,
    captured.ConcurrentTransactionException,
    captured.ConcurrentWriteException,
    captured.DeltaConcurrentModificationException,
    captured.MetadataChangedException,
    captured.ProtocolChangedException,
)
# How long old versions can be read. Releases name versions, and a rollback may return to one.
RETENTION = {
    "delta.deletedFileRetentionDuration": "interval 400 days",
    "delta.logRetentionDuration": "interval 400 days",
}
# By default, timestamps in JSON end at milliseconds, and rows a microsecond apart would have equal texts.
_MICROSECONDS = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
STRAY_ROWS = "DELTA_REPLACE_WHERE_MISMATCH"  # Delta's error for rows outside the replaced interval


@dataclass(frozen=True)
class Fingerprint:
    """Row count of a frame, and a checksum that does not depend on the order of rows."""

    rows: int
    checksum: str


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

    @classmethod
    def open(cls, run: Run) -> "Warehouse":
        """Start Spark for a run that is going to write."""
        audit.preload()
        return cls(spark.start(run.profile, run.job), run)

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
            PipelineError: the table does not exist yet.
        """
        if not self.exists(table):
            raise PipelineError(f"table {table.name} does not exist in {self.root}: run the jobs before this one first")
        version = self.run.inputs.setdefault(table.name, self.version(table))
        frame = self.spark.read.format("delta").option("versionAsOf", version).load(self.path(table))
        return _between(frame, table, start, end)

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
            PipelineError: the frame does not fit the contract, has rows outside the interval, or another run wrote the
                same interval meanwhile. The table is unchanged.
            AuditFailed: a critical expectation failed. The table is unchanged.
        """
        _require_contract(table, frame)
        self._require_migrated(table)
        with self.scratch(table.name, frame.select(*table.names), table.schema) as staged:
            self.run.say(f"{table.name} [{start}, {end}): staged, now the audit")
            audit.enforce(audit.audit(table, staged, self.run), self.run)
            new = fingerprint(staged)
            self.run.counts[f"{table.name}.rows"] = new.rows
            if self.exists(table) and self._current_fingerprint(table, start, end) == new:
                self.run.say(f"{table.name} [{start}, {end}): {new.rows:,} rows, unchanged")
            else:
                self._commit(table, staged, start, end)
                self.run.say(f"{table.name} [{start}, {end}): {new.rows:,} rows committed")
        version = self.version(table)
        self.run.outputs[table.name] = version
        return version

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
            PipelineError: the frame does not fit the contract, or another run wrote at the same time. The table is
                unchanged.
            AuditFailed: a critical expectation failed. The table is unchanged.
        """
        _require_contract(table, frame)
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
                if since is not None and self.version(table) != since:
                    raise PipelineError(
                        f"{table.name}: another run wrote this since it was read (version {since}); this run changed "
                        "nothing in it. Run it again"
                    )
                with self._conflicts(table, "rows"):
                    merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
            self.run.say(f"{table.name}: {rows:,} rows merged" if rows else f"{table.name}: unchanged")
        version = self.version(table)
        self.run.outputs[table.name] = version
        return version

    @contextmanager
    def scratch(self, name: str, frame: DataFrame, schema: StructType | None = None) -> Iterator[DataFrame]:
        """Compute `frame` once and keep its rows in the staging area until the block ends.

        Args:
            name: part of the folder's name, unique among the open blocks of the run.
            frame: the rows.
            schema: schema of the frame that is read back; None for that of `frame`.
        """
        folder = f"{self.root}/_staging/{self.run.run_id}-{name}"
        try:
            frame.write.format("parquet").mode("overwrite").save(folder)
            yield self.spark.read.schema(schema or frame.schema).parquet(folder)
        finally:
            self._delete(folder)

    def current(self, table: Table, start: date | None = None, end: date | None = None) -> DataFrame:
        """Rows of [start, end) at the latest version. Unlike `read`, it records no input."""
        return _between(self.spark.read.format("delta").load(self.path(table)), table, start, end)

    def checksums(self) -> dict[str, Fingerprint]:
        """Fingerprint of every existing table but the ledger, which grows with each attempt."""
        tables = [table for table in TABLES.values() if table.name != "run_ledger" and self.exists(table)]
        with ThreadPoolExecutor(2) as pool:  # Spark plans one table while it computes another
            found = pool.map(lambda table: fingerprint(self.current(table)), tables)
            return {table.name: each for table, each in zip(tables, found, strict=True)}

    def _current_fingerprint(self, table: Table, start: date, end: date) -> Fingerprint | None:
        """Fingerprint of the interval; None if one of its data files is lost. Writing the interval repairs that."""
        try:
            return fingerprint(self.current(table, start, end))
        except Exception as error:
            message = lost_file(error)
            if message is None:
                raise
            self.run.warn(f"{table.name} [{start}, {end}): {message}")
            return None

    def _require_migrated(self, table: Table) -> None:
        """Refuse to write a table that still has a column under its former name."""
        if not table.former_names or not self.exists(table):
            return
        for old, new in Snapshot(self.root, table).former_columns.items():
            raise PipelineError(
                f"{table.name}: its column {old} is called {new} now: run `intentrec migrate --config` with the domain "
                f"file of {self.run.domain.domain} first"
            )

    def _delete(self, path: str) -> None:
        """Delete a folder through Hadoop, so that it works on any warehouse URI."""
        jvm = self.spark.sparkContext._jvm
        assert jvm is not None
        folder = jvm.org.apache.hadoop.fs.Path(path)
        folder.getFileSystem(self.spark.sparkContext._jsc.hadoopConfiguration()).delete(folder, True)

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
        with self._conflicts(table, f"[{start}, {end})"):
            writer.save(self.path(table))

    @contextmanager
    def _conflicts(self, table: Table, what: str) -> Iterator[None]:
        try:
            yield
        except CONFLICTS as error:
            raise PipelineError(
                f"{table.name} {what}: another run wrote this at the same time; "
                f"this run changed nothing. Run it again. ({str(error).splitlines()[0]})"
            ) from error
        except AnalysisException as error:
            if error.getCondition() != STRAY_ROWS:
                raise
            raise PipelineError(
                f"{table.name} {what}: the job made rows with {table.partition} outside its interval; "
                f"nothing was changed. Check --start and --end of the runs that wrote its inputs"
            ) from error


def _between(frame: DataFrame, table: Table, start: date | None, end: date | None) -> DataFrame:
    if start is not None:
        frame = frame.where(F.col(str(table.partition)) >= F.lit(start))
    if end is not None:
        frame = frame.where(F.col(str(table.partition)) < F.lit(end))
    return frame


def _require_contract(table: Table, frame: DataFrame) -> None:
    """Compare names and types with the contract. Delta would accept a frame without a nullable column."""
    have = {field.name: field.dataType for field in frame.schema}
    want = {field.name: field.dataType for field in table.schema}
    problems = [f"missing {name}" for name in want.keys() - have.keys()]
    problems += [f"unexpected {name}" for name in have.keys() - want.keys()]
    problems += [
        f"{name} is {have[name].simpleString()}, not {want[name].simpleString()}"
        for name in want.keys() & have.keys()
        if _type_text(have[name]) != _type_text(want[name])
    ]
    if problems:
        raise PipelineError(f"frame for {table.name} does not fit its contract: {'; '.join(sorted(problems))}")


def _type_text(of: DataType) -> str:
    """The type without nullability, which Spark infers. Delta itself refuses a null in a column that allows none."""
    if isinstance(of, ArrayType):
        return f"array<{_type_text(of.elementType)}>"
    if isinstance(of, MapType):
        return f"map<{_type_text(of.keyType)},{_type_text(of.valueType)}>"
    return of.simpleString()
