"""Delimited text, taken apart line by line."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.errors import PipelineError
from intentrec.sources.files import Entry, first_line, numbered_lines
from intentrec.sources.text import parsed_once

BROKEN = "_broken"  # where from_csv puts a line that does not fit the header


def csv_rows(spark: SparkSession, file: Entry, required: tuple[str, ...]) -> DataFrame:
    """The lines below the header, each with raw, source_file, source_line, read_error and `fields`.

    `fields` is a struct of texts named as in the header, and null where a line could not be taken apart. Blanks around
    a value are cut.

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


def bare_rows(
    spark: SparkSession, file: Entry, names: Sequence[str], separator: str, charset: str = "UTF-8"
) -> DataFrame:
    """The same of a file without a header and without quotes, whose columns are `names`.

    Raises:
        PipelineError: the file cannot be read.
    """
    lines = numbered_lines(spark, [file])
    if charset != "UTF-8":
        lines = lines.withColumn("value", F.decode(F.col("value").cast("binary"), charset))
    return _fields(lines, names, {"sep": separator, "quote": ""})


def _fields(lines: DataFrame, names: Sequence[str], options: dict[str, str]) -> DataFrame:
    schema = ", ".join(f"`{name.replace('`', '``')}` string" for name in (*names, BROKEN))
    row = F.from_csv(F.rtrim("value", F.lit("\r")), schema, {"columnNameOfCorruptRecord": BROKEN, **options})
    lines = parsed_once(lines, "row", row)
    error = F.when(~F.expr("is_valid_utf8(value)"), "invalid_utf8").when(
        # a blank line passes as a row of nothing
        (F.trim("value") == "") | F.col("row").isNull() | F.col("row")[BROKEN].isNotNull(),
        "unreadable_line",
    )
    return lines.withColumn("read_error", error).select(
        F.expr("make_valid_utf8(value)").alias("raw"),
        "source_file",
        "source_line",
        "read_error",
        F.when(F.col("read_error").isNull(), F.col("row")).alias("fields"),
    )
