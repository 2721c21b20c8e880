"""Which catalogue snapshot holds on a service date: the last one not after it, never a later one."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def snapshot_dates(catalog: DataFrame, start: date, end: date) -> list[date]:
    """Snapshots that events of [start, end) need, oldest first: the last one on or before `start`, and those within.

    One small query: there are as many dates as snapshots, whatever the size of the catalogue.
    """
    found = catalog.where(F.col("snapshot_date") < F.lit(end)).select("snapshot_date").distinct().collect()
    dates = sorted(row["snapshot_date"] for row in found)
    known_at_start = [day for day in dates if day <= start]
    return known_at_start[-1:] + [day for day in dates if start < day < end]


def snapshot_as_of(day: Column, dates: Sequence[date]) -> Column:
    """The last of `dates` that is not after `day`; null where all are."""
    passed = [F.when(day >= F.lit(known), F.lit(known)) for known in dates]
    return F.greatest(*passed, F.lit(None).cast("date"), F.lit(None).cast("date"))
