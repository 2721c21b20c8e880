"""Text to values, the strict way: null where the text is not exactly of the form."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_ISO = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$"
_NUMBER = r"^\s*([+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|NaN|[+-]?Infinity)\s*$"
_INTEGER = r"^\s*[+-]?\d+\s*$"


def moment(text: Column) -> Column:
    """A timestamp from ISO 8601 with date, time and zone; without a zone it would be a guess."""
    return F.when(text.rlike(_ISO), text.try_cast("timestamp"))


def number(text: Column) -> Column:
    """A double, NaN and infinities included; a cast alone would also take Java's '1d' and '0x1p3'."""
    return F.when(text.rlike(_NUMBER), text.try_cast("double"))


def integer(text: Column, of: str = "bigint") -> Column:
    """A whole number that fits the type."""
    return F.when(text.rlike(_INTEGER), text.try_cast(of))


def iso(ts: Column) -> Column:
    """A timestamp as ISO 8601 text in UTC, to the microsecond (the session's time zone is UTC)."""
    return F.date_format(ts, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")


def parsed_once(frame: DataFrame, name: str, parsed: Column) -> DataFrame:
    """`frame` with a costly column that is computed once a row.

    As a plain column the optimiser would copy the parse into every filter and field that refers to it, hundreds of
    times for a wide row; it copies nothing across an explode.
    """
    return frame.select("*", F.explode(F.array(parsed)).alias(name))
