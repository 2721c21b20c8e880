"""The service date of a moment in plain Python, for oracles."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from intentrec.config import Calendar


def service_date_of(moment: datetime, calendar: Calendar) -> date:
    """Service date of an aware datetime."""
    wall, start = moment.astimezone(ZoneInfo(calendar.zone)).replace(tzinfo=None), calendar.day_start
    return (wall - timedelta(hours=start.hour, minutes=start.minute, seconds=start.second)).date()
