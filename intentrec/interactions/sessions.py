"""Events to sessions and runs: which events belong together, as columns on the events."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from intentrec.config import Calendar, seconds

DAY = ("user_id", "event_date")


def with_runs(events: DataFrame, calendar: Calendar) -> DataFrame:
    """Events with `end_ts`, `n`, `tie`, `session_start` and `run`.

    A session ends where the user did nothing for longer than `session_gap` after the end of all that was engaged so
    far, and at the service day's start: it lies within (user_id, event_date). A run is a maximal sequence of one
    title's events inside a session.

    Order is (event_ts, hash of event_id). Events of one title at the same instant stand together, at the place of
    the smallest hash among them, so that two runs of a title never begin at the same instant: (user_id, start_ts,
    title_id) is a key. Hashes carry no meaning; ordering ties by an id would leak what comes next.

    Args:
        events: accepted events with `title_id`.
        calendar: the domain's calendar.

    Returns:
        The events' columns and end_ts (event_ts + duration_s), n (1-based place within user and day), tie (hash of
        event_id), session_start (first moment of the session) and run (n of the run's first event).
    """
    length = F.round(F.col("duration_s") * 1_000_000).cast("long")
    # One exchange for all windows below and for the aggregation into runs.
    timed = events.repartition(*DAY).withColumns(
        {
            "end_ts": F.timestamp_micros(F.unix_micros("event_ts") + length),
            "tie": F.xxhash64("event_id"),
        }
    )
    instant = Window.partitionBy(*DAY, "event_ts", "title_id")
    ordered = Window.partitionBy(*DAY).orderBy("event_ts", "title_tie", "title_id", "tie", "event_id")
    before = ordered.rowsBetween(Window.unboundedPreceding, -1)
    so_far = ordered.rowsBetween(Window.unboundedPreceding, Window.currentRow)

    gap = F.make_dt_interval(secs=F.lit(seconds(calendar.session_gap)))
    busy_until = F.max("end_ts").over(before)
    begins_session = busy_until.isNull() | (F.col("event_ts") > busy_until + gap)
    same_title = F.col("title_id").eqNullSafe(F.lag("title_id").over(ordered))
    return (
        timed.withColumn("title_tie", F.min("tie").over(instant))
        .withColumns({"n": F.row_number().over(ordered), "begins_session": begins_session})
        .withColumn("begins_run", F.col("begins_session") | ~same_title)
        .withColumns(
            {
                "session_start": F.last(F.when(F.col("begins_session"), F.col("event_ts")), True).over(so_far),
                "run": F.last(F.when(F.col("begins_run"), F.col("n")), True).over(so_far),
            }
        )
        .drop("title_tie", "begins_session", "begins_run")
    )
