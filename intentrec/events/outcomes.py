"""What becomes of every raw row a run reads: exactly one of five outcomes, so that the counts add up.

    outside       its service date belongs to another run
    late          it arrived after its week's lateness: only a run that includes late rows takes it
    quarantined   refused, with every reason
    duplicate     another row already says exactly this
    accepted      an engagement event

Rows are only ever compared within their own week, so that a range and its weeks one by one give the same tables.
"""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from intentrec.calendar import service_day_start, week_start
from intentrec.config import Domain, seconds
from intentrec.contracts import ENGAGEMENT_EVENTS
from intentrec.events.catalog import snapshot_as_of
from intentrec.events.check import PROVENANCE
from intentrec.storage.row_text import row_text

OUTSIDE, LATE, QUARANTINED, DUPLICATE, ACCEPTED = OUTCOMES = (
    "outside",
    "late",
    "quarantined",
    "duplicates",
    "accepted",
)
# A copy may have arrived at another time; all else must agree.
_CONTENT = [name for name in ENGAGEMENT_EVENTS.names if name not in ("event_date", "arrived_at")]


def outcomes(
    checked: DataFrame,
    catalog: DataFrame,
    snapshots: Sequence[date],
    start: date,
    end: date,
    domain: Domain,
    include_late: bool,
) -> DataFrame:
    """Rows of `check.checked_events` with `outcome`, and with the reasons that only other rows can tell.

    Args:
        checked: rows to judge.
        catalog: the catalogue.
        snapshots: its snapshots that the interval needs (`snapshots.snapshot_dates`).
        start: first service date of the run.
        end: the service date after the last.
        domain: the domain file.
        include_late: whether rows that arrived after their week's lateness are taken in.
    """
    inside = (F.col("event_date") >= F.lit(start)) & (F.col("event_date") < F.lit(end))
    late = F.lit(False) if include_late else F.col("believable") & past_deadline(domain)
    placed = checked.withColumn("outcome", F.when(late, LATE).when(~inside, OUTSIDE))
    elsewhere = placed.where(F.col("outcome").isNotNull())
    known = _with_unknown_items(placed.where(F.col("outcome").isNull()), catalog, snapshots)
    refused = known.where(F.size("reasons") > 0).withColumn("outcome", F.lit(QUARANTINED))
    single = _once(known.where(F.size("reasons") == 0), domain)
    columns = [*ENGAGEMENT_EVENTS.names, *PROVENANCE, "reasons", "outcome"]
    judged = [frame.select(*columns) for frame in (elsewhere, refused, _human(single, domain))]
    return judged[0].union(judged[1]).union(judged[2])


def past_deadline(domain: Domain) -> Column:
    """Whether an event arrived after the lateness of its week, so that only --include-late takes it in."""
    return F.col("arrived_at") > _deadline(domain)


def _deadline(domain: Domain) -> Column:
    """The last moment at which a row of the event's week arrives in time."""
    week_end = service_day_start(F.date_add(week_start(F.col("event_date"), domain.calendar), 7), domain.calendar)
    return week_end + F.make_dt_interval(secs=F.lit(seconds(domain.calendar.lateness)))


def _with_unknown_items(rows: DataFrame, catalog: DataFrame, snapshots: Sequence[date]) -> DataFrame:
    items = catalog.where(F.col("snapshot_date").isin(list(snapshots))).select(
        F.col("snapshot_date").alias("as_of"), F.col("item_id"), F.lit(True).alias("listed")
    )
    found = rows.withColumn("as_of", snapshot_as_of(F.col("event_date"), snapshots))
    joined = found.join(items, ["as_of", "item_id"], "left")
    # A row that names no item has its own reason already.
    unknown = F.col("listed").isNull() & (F.trim("item_id") != "")
    reasons = F.when(unknown, F.array_sort(F.array_append("reasons", F.lit("unknown_item"))))
    return joined.withColumn("reasons", F.coalesce(reasons, F.col("reasons")))


def _once(valid: DataFrame, domain: Domain) -> DataFrame:
    """One row per event id and week: copies become duplicates, contradictions are all refused."""
    week = week_start(F.col("event_date"), domain.calendar)
    same = Window.partitionBy("event_id", "week")
    # A map has no hash of its own: its entries have an order once sorted.
    content = [F.array_sort(F.map_entries(name)).alias(name) if name == "extra" else name for name in _CONTENT]
    compared = valid.withColumns({"week": week, "content": F.sha2(row_text(content), 256)}).withColumns(
        {
            "conflict": F.min("content").over(same) != F.max("content").over(same),
            "copy": F.row_number().over(same.orderBy("arrived_at", "source_file", "source_line")),
        }
    )
    conflicting = F.array(F.lit("conflicting_duplicate"))
    return compared.withColumns(
        {
            "reasons": F.when(F.col("conflict"), conflicting).otherwise(F.col("reasons")),
            "outcome": F.when(F.col("conflict"), QUARANTINED).when(F.col("copy") > 1, DUPLICATE),
        }
    )


def _human(single: DataFrame, domain: Domain) -> DataFrame:
    """Refuse whole user-days of more hours than a person has; accept the rest."""
    candidate = F.col("outcome").isNull()
    # Sums of doubles depend on the order of the rows, which nothing fixes here.
    exact = F.when(candidate, F.col("duration_s").cast("decimal(28,6)"))
    engaged = F.sum(exact).over(Window.partitionBy("user_id", "event_date"))
    inhuman = candidate & (engaged > domain.events.max_hours_per_day * 3600)
    return single.withColumn("inhuman", F.coalesce(inhuman, F.lit(False))).withColumns(
        {
            "reasons": F.when(F.col("inhuman"), F.array(F.lit("inhuman_activity"))).otherwise(F.col("reasons")),
            "outcome": F.when(F.col("inhuman"), QUARANTINED).otherwise(F.coalesce("outcome", F.lit(ACCEPTED))),
        }
    )
