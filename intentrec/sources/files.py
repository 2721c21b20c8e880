"""Raw text files on any Hadoop file system: what is in a folder, and every line with its exact number."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import unquote

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.errors import PipelineError

CUTS = "spark.sql.files.minPartitionNum"


@dataclass(frozen=True)
class Entry:
    """A file or folder: its full path, and its name below the folder that was listed."""

    path: str
    name: str
    is_folder: bool


def listing(spark: SparkSession, folder: str) -> list[Entry]:
    """What a folder holds, by name; hidden entries (`_`, `.`), which writers use for work in progress, are left out.

    Raises:
        PipelineError: the folder does not exist.
    """
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    path = jvm.org.apache.hadoop.fs.Path(folder)
    system = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    if not system.exists(path):
        raise PipelineError(
            f"{folder}: no such folder. Put the raw files there, or name another with source.options.data"
        )
    entries = [
        Entry(status.getPath().toString(), status.getPath().getName(), status.isDirectory())
        for status in system.listStatus(path)
    ]
    return sorted((entry for entry in entries if entry.name[0] not in "_."), key=lambda entry: entry.name)


def numbered_lines(spark: SparkSession, files: Sequence[Entry]) -> DataFrame:
    """Every line of `files`: `value` (bytes as they came), `source_file` (the entry's name), `source_line` (1-based).

    Reads the files twice instead of sorting their lines: once to count the lines of each block that a task reads, and
    again, lazily, to number them from there. The first pass also finds files that cannot be read to their end. Both
    must cut the files alike: a block that the first one did not see ends the second with an error.

    Raises:
        PipelineError: names a file that cannot be read, such as a truncated gzip.
    """
    # Spark cuts by the cores that it has just now, and on a cluster more of them may register between the passes.
    spark.conf.set(CUTS, spark.conf.get(CUTS, None) or str(spark.sparkContext.defaultParallelism))
    # recursiveFileLookup: the names of parent folders are not columns here
    reader = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true")
    lines = reader.text([_no_glob(file.path) for file in files]).select(
        "value",
        F.col("_metadata.file_path").alias("_path"),
        F.col("_metadata.file_block_start").alias("_block"),
        F.monotonically_increasing_id().alias("_row"),  # consecutive within a block
    )
    with readable():
        blocks = (
            lines.groupBy("_path", "_block").agg(F.min("_row").alias("first"), F.count("*").alias("lines")).collect()
        )
    names = {file.path: file.name for file in files}
    offsets = []
    for path, of_file in groupby(
        sorted(blocks, key=lambda row: (row["_path"], row["_block"])), lambda row: row["_path"]
    ):
        before = 1
        for block in of_file:
            offsets.append((path, block["_block"], names[unquote(path)], before - block["first"]))
            before += block["lines"]
    unseen = F.raise_error(F.concat(F.lit("cut differently than when its lines were counted: "), "_path"))
    return lines.join(F.broadcast(_offsets(spark, offsets)), ["_path", "_block"], "left").select(
        "value", "source_file", F.coalesce(F.col("_row") + F.col("_offset"), unseen.cast("long")).alias("source_line")
    )


def first_line(spark: SparkSession, file: Entry) -> str | None:
    """The first line of a file; None where it is empty.

    Raises:
        PipelineError: the file cannot be read.
    """
    with readable():
        row = spark.read.text(_no_glob(file.path)).select(F.expr("make_valid_utf8(value)").alias("value")).first()
    return None if row is None else row["value"]


@contextmanager
def readable() -> Iterator[None]:
    """Turn Spark's failure to read a file into an error that names it."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        text = str(error)
        found = re.search(r"\[FAILED_READ_FILE[^]]*\][^:]*?file (\S+?)\.?\s", text)
        if found is None:
            raise
        causes = re.findall(r"Caused by: (?:[\w.$]+\.)?(\w+(?:: [^\n]*)?)", text)
        path = re.sub(r"^file:/+", "/", unquote(found.group(1)))
        why = causes[-1] if causes else "no cause given"
        raise PipelineError(
            f"{path}: cannot be read to its end ({why}). Nothing was written. "
            "Deliver the file again, or remove it, and run this interval again."
        ) from error


def _offsets(spark: SparkSession, rows: list[tuple[str, int, str, int]]) -> DataFrame:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    types = {"_path": pa.string(), "_block": pa.int64(), "source_file": pa.string(), "_offset": pa.int64()}
    arrays = [pa.array(values, of) for values, of in zip(columns, types.values(), strict=True)]
    return spark.createDataFrame(pa.table(arrays, names=list(types)))


def _no_glob(path: str) -> str:
    """The path with the characters escaped that Hadoop would read as a pattern."""
    return re.sub(r"([][{}*?\\])", r"\\\1", path)
