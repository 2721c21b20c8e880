"""Rows as text, to compare and to hash them by."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

# What JSON writes by itself ends at milliseconds, and rows a microsecond apart would count as one.
_WHOLE_MOMENTS = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}


def row_text(columns: Sequence[str | Column]) -> Column:
    """The columns as one JSON text: the same for equal rows, and no others. Maps have no order: sort their entries."""
    return F.to_json(F.struct(*columns), _WHOLE_MOMENTS)
