"""Why a raw row is refused, as column expressions that are null where a reason does not apply."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

# With these a line was not taken apart, so that no field can be judged.
UNREAD = ("unreadable_line", "invalid_utf8", "repeated_field")


def missing(column: str, name: str | None = None) -> Column:
    """The field is absent or blank. `name` is the field's where the column has another one."""
    text = F.col(column)
    return F.when(text.isNull() | (F.trim(text) == ""), f"missing_{name or column}")


def bad_type(name: str, text: Column, value: Column) -> Column:
    """The field holds text that is not of its type."""
    return F.when(text.isNotNull() & (F.trim(text) != "") & value.isNull(), f"bad_type_{name}")


def all_reasons(read_error: Column, found: Sequence[Column]) -> Column:
    """Every reason, sorted; only the read error where the line could not be taken apart."""
    every = F.array_sort(F.array_distinct(F.array_compact(F.array(read_error, *found))))
    return F.when(read_error.isin(*UNREAD), F.array(read_error)).otherwise(every)
