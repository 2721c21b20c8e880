"""Raw rows of a Parquet file, in the form that `files.csv_rows` gives to the lines of a text file."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.errors import PipelineError
from intentrec.sources.files import without_pattern
from intentrec.sources.integrity import Entry, read_errors


def parquet_rows(spark: SparkSession, file: Entry, columns: Mapping[str, str]) -> DataFrame:
    """Rows of a Parquet file as texts.

    Args:
        spark: the session.
        file: the file.
        columns: field -> the column of the file that is read for it.

    Returns:
        One row per row of the file: raw (the columns that are read, as JSON), source_file, source_line (1-based number
        of the row), read_error (always null) and `fields`, a struct of texts.

    Raises:
        PipelineError: a column is missing, or the file cannot be read.
    """
    with read_errors():
        frame = spark.read.parquet(without_pattern(file.path))
    missing = sorted(set(columns.values()) - set(frame.columns))
    if missing:
        raise PipelineError(
            f"{file.path}: column {', '.join(missing)} is missing (there are {', '.join(frame.columns)}). "
            "Take the file of the original release."
        )
    given = {field: F.col(f"`{column}`") for field, column in columns.items()}
    texts = [column.cast("string").alias(field) for field, column in given.items()]
    return frame.select(
        F.to_json(F.struct(*given.values())).alias("raw"),
        F.lit(file.name).alias("source_file"),
        (F.col("_metadata.row_index") + 1).alias("source_line"),
        F.lit(None).cast("string").alias("read_error"),
        F.struct(*texts).alias("fields"),
    )
