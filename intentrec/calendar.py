"""The service's days and weeks, as Spark column functions and for plain dates.

Days begin at `calendar.day_start` by the clock on the wall in `calendar.zone`; weeks are counted from
`calendar.history_start`. The columns assume a session time zone of UTC, which `intentrec.storage.spark.start` sets. A
`day_start` that daylight saving repeats or leaves out on some day (01:30 in New York, say) is a poor choice: that day's
boundary is then ambiguous by an hour.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from pyspark.sql import Column
from pyspark.sql import functions as F

from intentrec.config import Calendar


def _day_start_s(calendar: Calendar) -> int:
    clock = calendar.day_start
    return clock.hour * 3600 + clock.minute * 60 + clock.second


def service_date(ts: Column, calendar: Calendar) -> Column:
    """Service date of a UTC timestamp: the date of (wall clock in the zone - day_start)."""
    back = F.make_dt_interval(secs=F.lit(_day_start_s(calendar)))
    return F.to_date(F.from_utc_timestamp(ts, calendar.zone) - back)


def service_day_start(day: Column, calendar: Calendar) -> Column:
    """The moment (UTC timestamp) at which a service date begins."""
    forward = F.make_dt_interval(secs=F.lit(_day_start_s(calendar)))
    return F.to_utc_timestamp(day.cast("timestamp") + forward, calendar.zone)


def week_start(day: Column, calendar: Calendar) -> Column:
    """First service date of the week that a service date (a date column) falls into."""
    return F.date_sub(day, F.pmod(F.datediff(day, F.lit(calendar.history_start)), F.lit(7)).cast("int"))


def day_start_of(day: date, calendar: Calendar) -> datetime:
    """The moment (aware, UTC) at which a service date begins."""
    return datetime.combine(day, calendar.day_start, ZoneInfo(calendar.zone)).astimezone(UTC)


def week_start_of(day: date, calendar: Calendar) -> date:
    """First service date of the week that `day` falls into."""
    return day - timedelta(days=(day - calendar.history_start).days % 7)
