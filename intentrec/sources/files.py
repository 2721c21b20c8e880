"""Raw text files on any Hadoop file system: folder listings, numbered lines, and the fields of delimited lines."""

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
from intentrec.sources.text import parsed_once

MIN_PARTITIONS = "spark.sql.files.minPartitionNum"  # decides where Spark splits files
CORRUPT = "_broken"  # column of from_csv for a line that does not fit the header


@dataclass(frozen=True)
class Entry:
    """A file or folder: its full path, and its name relative to the listed folder."""

    path: str
    name: str
    is_folder: bool


def listing(spark: SparkSession, folder: str) -> list[Entry]:
    """Entries of a folder, sorted by name. Hidden entries (`_`, `.`), which writers use while they work, are left out.

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
    """Every line of `files`: `value` (the raw bytes), `source_file` (the entry's name), `source_line` (1-based).

    The function reads the files twice instead of sorting their lines. The first pass counts the lines of each block
    that a task reads, and fails on a file that cannot be read to its end. The second pass is lazy and numbers the lines
    from these counts. Both passes must split the files alike: the second pass fails on a block without a count.

    Raises:
        PipelineError: a file cannot be read, such as a truncated gzip; the message names it.
    """
    # Spark splits files by the number of cores it has, and on a cluster cores may register between the passes.
    spark.conf.set(MIN_PARTITIONS, spark.conf.get(MIN_PARTITIONS, None) or str(spark.sparkContext.defaultParallelism))
    # With recursiveFileLookup, Spark does not turn the names of parent folders into columns.
    reader = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true")
    lines = reader.text([_without_pattern(file.path) for file in files]).select(
        "value",
        F.col("_metadata.file_path").alias("_path"),
        F.col("_metadata.file_block_start").alias("_block"),
        F.monotonically_increasing_id().alias("_row"),  # consecutive within a block
    )
    with _read_errors():
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
    no_count = F.raise_error(F.concat(F.lit("split differently than when its lines were counted: "), "_path"))
    return lines.join(F.broadcast(_offsets(spark, offsets)), ["_path", "_block"], "left").select(
        "value", "source_file", F.coalesce(F.col("_row") + F.col("_offset"), no_count.cast("long")).alias("source_line")
    )


def first_line(spark: SparkSession, file: Entry) -> str | None:
    """The first line of a file; None if the file is empty.

    Raises:
        PipelineError: the file cannot be read.
    """
    with _read_errors():
        row = (
            spark.read.text(_without_pattern(file.path)).select(F.expr("make_valid_utf8(value)").alias("value")).first()
        )
    return None if row is None else row["value"]


def csv_rows(spark: SparkSession, file: Entry, required: tuple[str, ...]) -> DataFrame:
    """Lines of a CSV file with a header, parsed into fields.

    Args:
        spark: the session.
        file: the file.
        required: columns that the header must have.

    Returns:
        One row per line below the header: raw, source_file, source_line, read_error and `fields`. `fields` is a struct
        of texts with the header's names, without blanks around the values. It is null where the line cannot be parsed.

    Raises:
        PipelineError: a required column is missing, a column appears twice, or the file cannot be read.
    """
    header = (first_line(spark, file) or "").rstrip("\r").split(",")
    missing = sorted(set(required) - set(header))
    if missing:
        raise PipelineError(
            f"{file.path}: column {', '.join(missing)} is missing (there are {', '.join(header)}). "
            "Take the file of the original release."
        )
    if len({name.casefold() for name in header}) < len(header):
        raise PipelineError(f"{file.path}: a column appears twice in {', '.join(header)}")
    return _fields(numbered_lines(spark, [file]).where("source_line > 1"), header, {})


def headerless_rows(
    spark: SparkSession, file: Entry, names: Sequence[str], separator: str, charset: str = "UTF-8"
) -> DataFrame:
    """Lines of a delimited file without header and quotes. Returns what `csv_rows` returns.

    Args:
        spark: the session.
        file: the file.
        names: names of its columns, in order.
        separator: the character between two fields.
        charset: encoding of the file.

    Raises:
        PipelineError: the file cannot be read.
    """
    lines = numbered_lines(spark, [file])
    if charset != "UTF-8":
        lines = lines.withColumn("value", F.decode(F.col("value").cast("binary"), charset))
    return _fields(lines, names, {"sep": separator, "quote": ""})


@contextmanager
def _read_errors() -> Iterator[None]:
    """Turn Spark's failure to read a file into a PipelineError that names the file."""
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


def _fields(lines: DataFrame, names: Sequence[str], options: dict[str, str]) -> DataFrame:
    schema = ", ".join(f"`{name.replace('`', '``')}` string" for name in (*names, CORRUPT))
    row = F.from_csv(F.rtrim("value", F.lit("\r")), schema, {"columnNameOfCorruptRecord": CORRUPT, **options})
    lines = parsed_once(lines, "row", row)
    error = F.when(~F.expr("is_valid_utf8(value)"), "invalid_utf8").when(
        # from_csv accepts a blank line as a row of nulls
        (F.trim("value") == "") | F.col("row").isNull() | F.col("row")[CORRUPT].isNotNull(),
        "unreadable_line",
    )
    return lines.withColumn("read_error", error).select(
        F.expr("make_valid_utf8(value)").alias("raw"),
        "source_file",
        "source_line",
        "read_error",
        F.when(F.col("read_error").isNull(), F.col("row")).alias("fields"),
    )


def _offsets(spark: SparkSession, rows: list[tuple[str, int, str, int]]) -> DataFrame:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    types = {"_path": pa.string(), "_block": pa.int64(), "source_file": pa.string(), "_offset": pa.int64()}
    arrays = [pa.array(values, of) for values, of in zip(columns, types.values(), strict=True)]
    return spark.createDataFrame(pa.table(arrays, names=list(types)))


def _without_pattern(path: str) -> str:
    """The path, with the characters escaped that Hadoop would take for a pattern."""
    return re.sub(r"([][{}*?\\])", r"\\\1", path)
