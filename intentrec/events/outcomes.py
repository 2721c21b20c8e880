"""The outcome of every raw event row that an ingest run reads. Each row has exactly one, so the counts add up:

    outside       its service date is not in the run's interval
    late          it arrived after its week's lateness, and the run does not include late rows
    quarantined   refused, with every reason
    duplicates    it repeats another row
    replaced      a version of an event that a later one corrects
    accepted      an engagement event

Rows with one event_id are versions of one event. The version that arrived last is the event, whatever week the versions
are in. Versions that arrived at the same moment contradict each other, and all of them are refused. A row that is late,
or refused on its own, corrects nothing. Rows of other weeks take part, so a range of weeks gives the same tables as its
weeks one by one. A version that arrived after a week's lateness is not read with that week; the run then learns of it
from the events that other weeks hold (`versions.elsewhere`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from intentrec.calendar import DAY, WEEK, day_start_of, due_at, service_day_start, week_start, week_start_of, weeks
from intentrec.config import Domain, seconds
from intentrec.contracts import ENGAGEMENT_EVENTS, QUARANTINE
from intentrec.errors import PipelineError, backfill_command
from intentrec.events import versions
from intentrec.events.catalog import snapshot_as_of
from intentrec.events.check import PROVENANCE
from intentrec.events.reasons import filled

OUTSIDE, LATE, QUARANTINED, DUPLICATE, REPLACED, ACCEPTED = OUTCOMES = (
    "outside",
    "late",
    "quarantined",
    "duplicates",
    "replaced",
    "accepted",
)


@dataclass(frozen=True)
class Judged:
    """Event rows with their outcomes.

    Attributes:
        rows: what `outcomes` returns, materialised, because its columns are read several times.
    """

    rows: DataFrame

    @property
    def accepted(self) -> DataFrame:
        """Rows of ENGAGEMENT_EVENTS."""
        return self.rows.where(F.col("outcome") == ACCEPTED).select(*ENGAGEMENT_EVENTS.names)

    @property
    def refused(self) -> DataFrame:
        """Rows of QUARANTINE."""
        refused = self.rows.where(F.col("outcome") == QUARANTINED).withColumn("record", F.lit("event"))
        return refused.select(*QUARANTINE.names)

    def by_day(self) -> dict[str, dict[date, int]]:
        """Rows by outcome and service date; outcomes without a row have no date."""
        found: dict[str, dict[date, int]] = {outcome: {} for outcome in OUTCOMES}
        for row in self.rows.groupBy("outcome", "event_date").count().collect():
            found[row["outcome"]][row["event_date"]] = row["count"]
        return found


def outcomes(
    checked: DataFrame,
    catalog: DataFrame,
    snapshots: Sequence[date],
    start: date,
    end: date,
    domain: Domain,
    include_late: bool,
    elsewhere: DataFrame | None = None,
    refused_items: DataFrame | None = None,
) -> DataFrame:
    """Find each row's outcome, and the reasons that depend on other rows and on the catalogue.

    Args:
        checked: what `check.checked_events` returns.
        catalog: rows of CATALOG.
        snapshots: catalogue snapshots that the interval needs (`catalog.snapshot_dates`).
        start: first service date of the run.
        end: service date after the last.
        domain: the domain file.
        include_late: whether rows that arrived after their week's lateness are accepted, too.
        elsewhere: what `versions.elsewhere` returns; None where no other week holds events.
        refused_items: what `catalog.Items.refused_ids` returns; None where no item was refused.

    Returns:
        The columns of ENGAGEMENT_EVENTS, PROVENANCE, `reasons` and `outcome` (one of OUTCOMES).
    """
    inside = (F.col("event_date") >= F.lit(start)) & (F.col("event_date") < F.lit(end))
    in_history = F.col("event_date") >= F.lit(domain.calendar.history_start)  # what lies before it is outside, not late
    late = F.lit(False) if include_late else F.col("plausible") & in_history & past_deadline(domain)
    placed = checked.withColumn("outcome", F.when(late, LATE).when(~inside, OUTSIDE))
    competes = (F.size("reasons") == 0) & (F.coalesce("outcome", F.lit("")) != LATE)
    compared = versions.compared(placed.where(competes), elsewhere).withColumn("outcome", _of_version())
    alone = placed.where(~competes).withColumn("version", F.lit(None).cast("string"))
    every = compared.unionByName(alone)
    settled = every.where(F.col("outcome").isNotNull())
    open_rows = every.where(F.col("outcome").isNull())
    known = _with_unknown_items(open_rows, catalog, snapshots, refused_items, domain)
    contradicted = F.col("version") == versions.CONFLICT
    reasons = F.when(contradicted, F.array_sort(F.array_append("reasons", F.lit("conflicting_duplicate"))))
    known = known.withColumn("reasons", F.coalesce(reasons, F.col("reasons")))
    known = _with_second_accounts(known, domain)
    refused = known.where(F.size("reasons") > 0).withColumn("outcome", F.lit(QUARANTINED))
    single = _without_overlong_days(known.where(F.size("reasons") == 0), domain)
    columns = [*ENGAGEMENT_EVENTS.names, *PROVENANCE, "reasons", "outcome"]
    judged = [frame.select(*columns) for frame in (settled, refused, single)]
    return judged[0].union(judged[1]).union(judged[2])


def _of_version() -> Column:
    """The outcome of a row that was compared; null where the catalogue and its user's day decide it."""
    return (
        F.when(F.col("outcome").isNotNull(), F.col("outcome"))
        .when(F.col("version") == versions.COPY, DUPLICATE)
        .when(F.col("version") == versions.OLDER, REPLACED)
    )


def read_counts(checked: DataFrame, start: date, domain: Domain) -> tuple[int, int]:
    """Number of rows, and of those without a readable time that a reader of whole files gives to every run.

    Args:
        checked: what `check.checked_events` returns.
        start: first service date of the run.
        domain: the domain file. Rows without a time have the date of `calendar.history_start`.
    """
    first_day = domain.calendar.history_start
    refused = ~F.col("plausible") & (F.size("reasons") > 0)
    undated = refused & (F.col("event_date") == F.lit(first_day)) & F.lit(start > first_day)
    counted = checked.agg(F.count("*"), F.count_if(undated)).first()
    assert counted is not None
    return counted[0], counted[1]


def arrival_dates(start: date, end: date, domain: Domain, include_late: bool) -> tuple[date, date]:
    """UTC dates of arrival [from, until) whose rows may belong to the service dates [start, end).

    With `include_late` there is no last date.
    """
    calendar = domain.calendar
    # If a device's clock is ahead, the event's time lies after its arrival.
    first = day_start_of(start, calendar) - timedelta(seconds=seconds(domain.events.max_clock_skew))
    last = due_at(end, calendar)
    return first.date(), date.max if include_late else last.date() + DAY


def past_deadline(domain: Domain) -> Column:
    """Whether an event arrived after the lateness of its week. Only --include-late accepts such events."""
    return F.col("arrived_at") > _deadline(domain)


def require_every_week(days: Collection[date], start: date, end: date, domain: Domain) -> None:
    """Check that no week of a range lacks events. For a range without any event, the audit of row counts fails instead.

    Args:
        days: service dates of [start, end) that have an accepted event.
        start: first service date of the first week.
        end: service date after the last week.
        domain: the domain file; `quality.closed_weeks` are the weeks in which the service was closed.

    Raises:
        PipelineError: a week has no accepted event and is not a closed one; the message names all such weeks.
    """
    present = {week_start_of(day, domain.calendar) for day in days}
    missing = sorted({*weeks(start, end, domain.calendar)} - present - {*domain.quality.closed_weeks})
    if present and missing:
        command = backfill_command(domain.domain, missing[0], missing[-1] + WEEK)
        raise PipelineError(
            f"no accepted event in the weeks of {', '.join(map(str, missing))}: they were never ingested, or the "
            f"source is broken. Deliver them, then run {command}"
            "; if the service was closed, name them in quality.closed_weeks of the domain file"
        )


def _deadline(domain: Domain) -> Column:
    """The last moment at which a row of the event's week arrives in time."""
    week_end = service_day_start(F.date_add(week_start(F.col("event_date"), domain.calendar), 7), domain.calendar)
    return week_end + F.make_dt_interval(secs=F.lit(seconds(domain.calendar.lateness)))


def _with_unknown_items(
    rows: DataFrame, catalog: DataFrame, snapshots: Sequence[date], refused: DataFrame | None, domain: Domain
) -> DataFrame:
    """Add a reason to rows whose item is not in the snapshot of their date.

    It is `refused_item` where a snapshot of the row's own week has the item in a refused row, else `unknown_item`. Of
    the snapshots of other weeks only the accepted rows are known.
    """
    as_of = F.col("snapshot_date").alias("as_of")
    items = catalog.where(F.col("snapshot_date").isin(list(snapshots))).select(
        as_of, F.col("item_id"), F.lit(True).alias("listed")
    )
    if refused is not None:
        items = items.unionByName(refused.select(as_of, F.col("item_id"), F.lit(False).alias("listed")))
        items = items.groupBy("as_of", "item_id").agg(F.max("listed").alias("listed"))
    found = rows.withColumn("as_of", snapshot_as_of(F.col("event_date"), snapshots))
    joined = found.join(items, ["as_of", "item_id"], "left")
    # A row without an item has its own reason already.
    absent = ~F.coalesce("listed", F.lit(False)) & filled(F.col("item_id"))
    same_week = week_start(F.col("as_of"), domain.calendar) == week_start(F.col("event_date"), domain.calendar)
    reason = F.when(F.col("listed").isNotNull() & same_week, "refused_item").otherwise("unknown_item")
    reasons = F.when(absent, F.array_sort(F.array_append("reasons", reason)))
    return joined.withColumn("reasons", F.coalesce(reasons, F.col("reasons")))


def _with_second_accounts(rows: DataFrame, domain: Domain) -> DataFrame:
    """Add the reason `conflicting_account` to valid rows of a user whose first event of the week has another account.

    Interactions and all later tables name one account per user and week, and a request for erasure names an account.
    The first event is that with the smallest time; the smallest account decides between events of one moment. In
    another week the user may have another account.
    """
    valid = F.size("reasons") == 0
    week = week_start(F.col("event_date"), domain.calendar)
    of_user = Window.partitionBy("user_id", week)
    first = F.min(F.when(valid, F.struct("event_ts", "account_id"))).over(of_user)["account_id"]
    second = valid & (F.col("account_id") != first)
    reasons = F.when(second, F.array(F.lit("conflicting_account"))).otherwise(F.col("reasons"))
    return rows.withColumn("reasons", reasons)


def _without_overlong_days(single: DataFrame, domain: Domain) -> DataFrame:
    """Refuse all rows of a user-day with more than `events.max_hours_per_day` of engagement. Accept the other rows."""
    # A sum of doubles depends on the order of the rows, which is not fixed here. A sum of decimals does not.
    exact = F.col("duration_s").cast("decimal(28,6)")
    engaged = F.sum(exact).over(Window.partitionBy("user_id", "event_date"))
    overlong = F.coalesce(engaged > domain.events.max_hours_per_day * 3600, F.lit(False))
    return single.withColumn("overlong", overlong).withColumns(
        {
            "reasons": F.when(F.col("overlong"), F.array(F.lit("inhuman_activity"))).otherwise(F.col("reasons")),
            "outcome": F.when(F.col("overlong"), QUARANTINED).otherwise(ACCEPTED),
        }
    )
