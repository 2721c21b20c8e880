"""Whole weeks of a run's interval: the unit in which state is folded and sequences are cut."""

from datetime import date, timedelta

from intentrec.config import Calendar
from intentrec.errors import PipelineError
from intentrec.events.calendar import week_start_of

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
