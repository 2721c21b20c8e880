"""The service's days and weeks: on plain dates, and as Spark column functions.

A service day begins at `calendar.day_start` by the wall clock of `calendar.zone`. Weeks are counted from
`calendar.history_start`. Intervals are half open, [start, end).

The column functions need a Spark session whose time zone is UTC; `intentrec.storage.spark.start` makes one. They import
pyspark when they are called, so that code which only needs dates does not load it.

Choose a `day_start` that daylight saving time never skips or repeats. With 01:30 in New York, for example, the start of
two days a year is ambiguous by an hour.
"""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from intentrec.config import Calendar, seconds
from intentrec.errors import PipelineError

if TYPE_CHECKING:
    from pyspark.sql import Column

DAY = timedelta(days=1)
WEEK = timedelta(days=7)


def day_start_of(day: date, calendar: Calendar) -> datetime:
    """The moment (aware, UTC) at which a service date begins."""
    return datetime.combine(day, calendar.day_start, ZoneInfo(calendar.zone)).astimezone(UTC)


def due_at(end: date, calendar: Calendar) -> datetime:
    """The moment (aware, UTC) until which rows of a week may arrive: the end of the week plus `calendar.lateness`.

    Args:
        end: the end of the week: the service date after its last.
        calendar: the service's calendar.
    """
    return day_start_of(end, calendar) + timedelta(seconds=seconds(calendar.lateness))


def week_start_of(day: date, calendar: Calendar) -> date:
    """First service date of the week that `day` falls into, also for a day before `history_start`."""
    return day - (day - calendar.history_start) % WEEK


def weeks_between(start: date, end: date) -> list[date]:
    """First dates of the whole weeks in [start, end), counted from `start`. A rest of less than a week is left out."""
    return [start + WEEK * number for number in range(max((end - start) // WEEK, 0))]


def weeks(start: date, end: date, calendar: Calendar) -> list[date]:
    """First service dates of the weeks that make up [start, end).

    Args:
        start: first service date.
        end: service date after the last.
        calendar: the service's calendar.

    Raises:
        PipelineError: the interval is empty, begins before `history_start`, or is not made of whole weeks.
    """
    begin = calendar.history_start
    if not begin <= start < end:
        raise PipelineError(f"[{start}, {end}) is empty or begins before calendar.history_start {begin}")
    first, last = week_start_of(start, calendar), week_start_of(end - DAY, calendar) + WEEK
    if (first, last) != (start, end):
        raise PipelineError(
            f"[{start}, {end}) is not made of whole weeks counted from calendar.history_start {begin}: "
            f"take {first}..{last}"
        )
    return weeks_between(start, end)


def service_date(ts: "Column", calendar: Calendar) -> "Column":
    """Service date of a UTC timestamp: the date of (wall clock in the zone - day_start)."""
    from pyspark.sql import functions as F

    back = F.make_dt_interval(secs=F.lit(_day_start_s(calendar)))
    return F.to_date(F.from_utc_timestamp(ts, calendar.zone) - back)


def service_day_start(day: "Column", calendar: Calendar) -> "Column":
    """The moment (UTC timestamp) at which a service date begins."""
    from pyspark.sql import functions as F

    forward = F.make_dt_interval(secs=F.lit(_day_start_s(calendar)))
    return F.to_utc_timestamp(day.cast("timestamp") + forward, calendar.zone)


def week_start(day: "Column", calendar: Calendar) -> "Column":
    """First service date of the week that a service date (a date column) falls into."""
    from pyspark.sql import functions as F

    return F.date_sub(day, F.pmod(F.datediff(day, F.lit(calendar.history_start)), F.lit(7)).cast("int"))


def _day_start_s(calendar: Calendar) -> int:
    clock = calendar.day_start
    return clock.hour * 3600 + clock.minute * 60 + clock.second
