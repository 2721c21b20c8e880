"""Versions of one event: rows with the same event_id. The version that arrived last is the event."""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from intentrec.calendar import week_start
from intentrec.config import seconds
from intentrec.contracts import ENGAGEMENT_EVENTS
from intentrec.storage.delta import rows_by_day
from intentrec.storage.warehouse import Warehouse, row_text

CURRENT, COPY, OLDER, CONFLICT = "current", "copy", "older", "conflict"  # what a version is
# Columns that copies of an event share. A copy may have arrived at another time.
_CONTENT = [name for name in ENGAGEMENT_EVENTS.names if name not in ("event_date", "arrived_at")]
CORRECTED = "events.corrected."  # count of a run, and the week whose events its versions replace


def compared(rows: DataFrame, elsewhere: DataFrame | None) -> DataFrame:
    """Add `version`: what each row is among the rows with its event_id.

    `conflict`: another row arrived at the same moment with other content. Of the other rows, the content that arrived
    last is `current`. Rows that repeat it are each a `copy`; rows that arrived with or before other content are
    `older`. A row is `older`, too, if another week holds a version that arrived later.

    Args:
        rows: with the columns of ENGAGEMENT_EVENTS, source_file and source_line.
        elsewhere: what the function of this name returns; None where no other week holds events.
    """
    same, moment = Window.partitionBy("event_id"), Window.partitionBy("event_id", "arrived_at")
    # A map cannot be hashed; its sorted entries can.
    content = [F.array_sort(F.map_entries(name)).alias(name) if name == "extra" else name for name in _CONTENT]
    valid, newest = ~F.col("conflict"), F.col("content") == F.col("newest")
    found = (
        rows.withColumn("content", F.sha2(row_text(content), 256))
        .withColumn("conflict", F.min("content").over(moment) != F.max("content").over(moment))
        .withColumn("newest", F.max_by("content", F.when(valid, F.col("arrived_at"))).over(same))
        .withColumn("other", F.max(F.when(valid & ~newest, F.col("arrived_at"))).over(same))
        .withColumn("last", valid & newest & (F.col("other").isNull() | (F.col("arrived_at") > F.col("other"))))
    )
    order = Window.partitionBy("event_id", "last").orderBy("arrived_at", "source_file", "source_line")
    version = (
        F.when(F.col("conflict"), CONFLICT)
        .when(~F.col("last"), OLDER)
        .when(F.row_number().over(order) > 1, COPY)
        .otherwise(CURRENT)
    )
    found = found.withColumn("version", version)
    if elsewhere is not None:
        latest = elsewhere.groupBy("event_id").agg(F.max("arrived_at").alias("later"))
        superseded = (F.col("version") == CURRENT) & (F.col("later") > F.col("arrived_at"))
        found = found.join(latest, "event_id", "left")
        found = found.withColumn("version", F.when(superseded, OLDER).otherwise(F.col("version")))
    return found.select(*rows.columns, "version")


def elsewhere(warehouse: Warehouse, checked: DataFrame) -> DataFrame | None:
    """The events of other weeks that have the id of a row that the run reads: event_id, arrived_at, week.

    Only events within `events.max_age` of the run's interval are looked at: an id that comes again after a longer time
    is not a correction. None if there are no such events. The run records the version of the table that it reads.

    Args:
        warehouse: of the run.
        checked: its raw rows, what `check.checked_events` returns.
    """
    run = warehouse.run
    if not warehouse.exists(ENGAGEMENT_EVENTS):
        return None
    reach = timedelta(seconds=seconds(run.domain.events.max_age))
    spans = ((run.start - reach, run.start), (run.end, run.end + reach))
    stored = reduce(DataFrame.union, [warehouse.read(ENGAGEMENT_EVENTS, *span) for span in spans])
    held = rows_by_day(run.warehouse, ENGAGEMENT_EVENTS)
    if not any(first <= day < until for first, until in spans for day in held):
        return None
    week = week_start(F.col("event_date"), run.domain.calendar).alias("week")
    ids = checked.where(F.size("reasons") == 0).select("event_id").distinct()
    return stored.select("event_id", "arrived_at", week).join(ids, "event_id", "left_semi").localCheckpoint()


def corrected(accepted: DataFrame, others: DataFrame | None) -> Mapping[date, int]:
    """Events of other weeks of which `accepted` holds a version that arrived later, by week.

    Such a week holds an event that is no longer true: it is stale until it is ingested again.

    Args:
        accepted: accepted events of the run.
        others: what `elsewhere` returned.
    """
    if others is None or others.isEmpty():
        return {}
    ours = accepted.select("event_id", F.col("arrived_at").alias("corrected_at"))
    outdated = others.join(ours, "event_id").where(F.col("corrected_at") > F.col("arrived_at"))
    return {row["week"]: row["count"] for row in outdated.groupBy("week").count().orderBy("week").collect()}
