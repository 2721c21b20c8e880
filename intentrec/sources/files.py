"""Raw text files on any Hadoop file system: folder listings, numbered lines, and the fields of delimited lines."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.config import Source
from intentrec.errors import PipelineError
from intentrec.sources.integrity import (
    LINE_LIMIT,
    SPLIT_DIFFERENTLY,
    Entry,
    read_errors,
    require_content,
    require_short_lines,
)
from intentrec.sources.text import parsed_once
from intentrec.storage.runs import Run

MIN_PARTITIONS = "spark.sql.files.minPartitionNum"  # decides where Spark splits files
CORRUPT = "_broken"  # column of from_csv for a line that does not fit the header
MAX_LINE_BYTES: int = Source.model_fields["max_line_bytes"].default


def listing(spark: SparkSession, folder: str) -> list[Entry]:
    """Entries of a folder, sorted by name. Hidden entries (`_`, `.`), which writers use while they work, are left out.

    Raises:
        PipelineError: the folder does not exist, or a link in it leads nowhere.
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
        Entry(status.getPath().toString(), status.getPath().getName(), status.isDirectory(), status.getLen())
        for status in system.listStatus(path)
    ]
    visible = sorted((entry for entry in entries if entry.name[0] not in "_."), key=lambda entry: entry.name)
    _refuse_dangling_links(folder, {entry.name for entry in visible})
    return visible


def _refuse_dangling_links(folder: str, listed: set[str]) -> None:
    """Refuse links of a local folder that lead nowhere: Hadoop leaves them out without a word."""
    local = re.sub(r"^file:/+", "/", folder)
    if "://" in local:
        return
    for name in sorted(set(os.listdir(local)) - listed):
        path = os.path.join(local, name)
        if name[0] not in "_." and os.path.islink(path) and not os.path.exists(path):
            raise PipelineError(
                f"{path}: leads to {os.readlink(path)}, which does not exist. Deliver that file, or remove the link, "
                "and run this interval again."
            )


def numbered_lines(spark: SparkSession, files: Sequence[Entry], longest: int = MAX_LINE_BYTES) -> DataFrame:
    """Every line of `files`: `value` (the raw bytes), `source_file` (the entry's name), `source_line` (1-based).

    The function reads the files twice instead of sorting their lines. The first pass counts the lines of each block
    that a task reads, and fails on a file that cannot be read to its end. The second pass is lazy and numbers the lines
    from these counts. Both passes must split the files alike: the second pass fails on a block without a count.

    Whoever materialises the lines does so within `whole.unchanged`.

    Args:
        spark: the session.
        files: the files.
        longest: bytes that a line may have.

    Raises:
        PipelineError: a file cannot be read, such as a truncated gzip, or has a longer line; the message names it.
    """
    require_content(files)
    # Spark splits files by the number of cores it has, and on a cluster cores may register between the passes.
    spark.conf.set(MIN_PARTITIONS, spark.conf.get(MIN_PARTITIONS, None) or str(spark.sparkContext.defaultParallelism))
    # With recursiveFileLookup, Spark does not turn the names of parent folders into columns.
    reader = spark.read.options(lineSep="\n", recursiveFileLookup="true", **_line_limit(longest))
    with read_errors():
        lines = reader.text([without_pattern(file.path) for file in files]).select(
            "value",
            F.col("_metadata.file_path").alias("_path"),
            F.col("_metadata.file_block_start").alias("_block"),
            F.monotonically_increasing_id().alias("_row"),  # consecutive within a block
        )
        size = F.sum(F.octet_length("value") + 1)
        by_block = lines.groupBy("_path", "_block")
        blocks = by_block.agg(F.min("_row").alias("first"), F.count("*").alias("lines"), size.alias("bytes")).collect()
    read: Counter[str] = Counter()
    for row in blocks:
        read[unquote(row["_path"])] += row["bytes"]
    require_short_lines(spark, files, read, longest)
    names = {file.path: file.name for file in files}
    offsets = []
    for path, of_file in groupby(
        sorted(blocks, key=lambda row: (row["_path"], row["_block"])), lambda row: row["_path"]
    ):
        before = 1
        for block in of_file:
            offsets.append((path, block["_block"], names[unquote(path)], before - block["first"]))
            before += block["lines"]
    no_count = F.raise_error(F.concat(F.lit(SPLIT_DIFFERENTLY), "_path"))
    return lines.join(F.broadcast(_offsets(spark, offsets)), ["_path", "_block"], "left").select(
        "value", "source_file", F.coalesce(F.col("_row") + F.col("_offset"), no_count.cast("long")).alias("source_line")
    )


def first_line(spark: SparkSession, file: Entry, longest: int = MAX_LINE_BYTES) -> str | None:
    """The first line of a file that has no line longer than `longest` bytes; None if the file is empty.

    Raises:
        PipelineError: the file cannot be read.
    """
    require_content([file])
    text = F.expr("make_valid_utf8(value)").alias("value")
    with read_errors():
        row = spark.read.options(**_line_limit(longest)).text(without_pattern(file.path)).select(text).first()
    return None if row is None else row["value"]


def _line_limit(longest: int) -> dict[str, str]:
    """Read options with which Spark skips longer lines instead of holding them."""
    return {LINE_LIMIT: str(longest + len("\n") + 1)}


def csv_rows(spark: SparkSession, run: Run, file: Entry, required: tuple[str, ...]) -> DataFrame:
    """Lines of a CSV file with a header, parsed into fields.

    Args:
        spark: the session.
        run: the attempt; its domain limits the length of a line.
        file: the file.
        required: columns that the header must have.

    Returns:
        One row per line below the header: raw, source_file, source_line, read_error and `fields`. `fields` is a struct
        of texts with the header's names, without blanks around the values. It is null where the line cannot be parsed.

    Raises:
        PipelineError: a required column is missing, a column appears twice, or the file cannot be read.
    """
    longest = run.domain.source.max_line_bytes
    lines = numbered_lines(spark, [file], longest)
    header = (first_line(spark, file, longest) or "").rstrip("\r").split(",")
    missing = sorted(set(required) - set(header))
    if missing:
        raise PipelineError(
            f"{file.path}: column {', '.join(missing)} is missing (there are {', '.join(header)}). "
            "Take the file of the original release."
        )
    if len({name.casefold() for name in header}) < len(header):
        raise PipelineError(f"{file.path}: a column appears twice in {', '.join(header)}")
    return _fields(lines.where("source_line > 1"), header, {})


def headerless_rows(
    spark: SparkSession, run: Run, file: Entry, names: Sequence[str], separator: str, charset: str = "UTF-8"
) -> DataFrame:
    """Lines of a delimited file without header and quotes. Returns what `csv_rows` returns.

    Args:
        spark: the session.
        run: the attempt; its domain limits the length of a line.
        file: the file.
        names: names of its columns, in order.
        separator: the character between two fields.
        charset: encoding of the file.

    Raises:
        PipelineError: the file cannot be read.
    """
    lines = numbered_lines(spark, [file], run.domain.source.max_line_bytes)
    if charset != "UTF-8":
        lines = lines.withColumn("value", F.decode(F.col("value").cast("binary"), charset))
    return _fields(lines, names, {"sep": separator, "quote": ""})


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


def without_pattern(path: str) -> str:
    """The path, with the characters escaped that Hadoop would take for a pattern."""
    return re.sub(r"([][{}*?\\])", r"\\\1", path)
