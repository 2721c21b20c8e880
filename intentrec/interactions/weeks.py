"""Whole weeks of a run's interval: the unit in which state is folded and sequences are cut."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import week_start, week_start_of
from intentrec.config import Calendar
from intentrec.errors import PipelineError
from intentrec.storage.runs import Run

WEEK = timedelta(days=7)


def weeks(start: date, end: date, calendar: Calendar) -> list[date]:
    """First service dates of the weeks that make up [start, end).

    Raises:
        PipelineError: the interval is not made of whole weeks of the calendar, or begins before it.
    """
    first, last = week_start_of(start, calendar), week_start_of(end - timedelta(days=1), calendar) + WEEK
    if start < calendar.history_start:
        raise PipelineError(
            f"[{start}, {end}) begins before calendar.history_start {calendar.history_start}: choose a later --start"
        )
    if (first, last) != (start, end):
        raise PipelineError(
            f"[{start}, {end}) is not made of whole weeks counted from calendar.history_start "
            f"{calendar.history_start}: use --start {first} --end {last}"
        )
    return [start + index * WEEK for index in range((end - start) // WEEK)]


def refuse_silent_weeks(run: Run, accepted: DataFrame) -> None:
    """Of several weeks none may be silent, as none may alone (the audits count rows).

    Args:
        run: over whole weeks.
        accepted: events of these.

    Raises:
        PipelineError: names the weeks without an accepted event in which the service was not closed.
    """
    calendar = run.domain.calendar
    first = week_start(F.col("event_date"), calendar).alias("week")
    heard = {row["week"] for row in accepted.select(first).distinct().collect()}
    silent = [week for week in weeks(run.start, run.end, calendar) if week not in heard]
    broken = sorted(set(silent) - set(run.domain.quality.closed_weeks))
    if heard and broken:
        raise PipelineError(
            f"no accepted event in the weeks of {', '.join(map(str, broken))}: they were never ingested, or the source "
            "is broken. Deliver and ingest them; if the service was closed, name them in quality.closed_weeks of the "
            "domain file"
        )
