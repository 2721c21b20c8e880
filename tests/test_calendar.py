"""Service days and weeks: plain dates, and the Spark columns against Python's own time zones."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.calendar import (
    DAY,
    WEEK,
    day_start_of,
    due_at,
    service_date,
    service_day_start,
    week_start,
    week_start_of,
    weeks,
    weeks_between,
)
from intentrec.config import ROOT, Calendar
from intentrec.errors import PipelineError
from tests.events.days import service_date_of

ZONES = ("UTC", "America/Los_Angeles", "Asia/Shanghai", "Europe/Berlin", "Asia/Kolkata")


def calendar(zone: str = "America/Los_Angeles", hour: int = 4) -> Calendar:
    return Calendar(zone=zone, day_start=time(hour), history_start=date(2026, 8, 3))


@pytest.mark.parametrize("zone", ZONES)
def test_columns_agree_with_python(spark: SparkSession, zone: str) -> None:
    """Every 53 minutes over the spring and autumn changes of the clock."""
    days = calendar(zone)
    moments = [
        start + timedelta(minutes=53 * step)
        for start in (
            datetime(2026, 3, 7, tzinfo=UTC),
            datetime(2026, 3, 28, tzinfo=UTC),
            datetime(2026, 10, 24, tzinfo=UTC),
        )
        for step in range(27 * 9)
    ]
    frame = spark.createDataFrame([(moment,) for moment in moments], "ts timestamp")
    day = service_date(F.col("ts"), days)
    rows = frame.select(
        F.unix_seconds("ts").alias("ts"),
        day.alias("day"),
        week_start(day, days).alias("week"),
        F.unix_seconds(service_day_start(day, days)).alias("opens"),
    ).collect()
    assert len(rows) == len(moments)
    for row in rows:
        moment = datetime.fromtimestamp(row["ts"], UTC)
        assert row["day"] == service_date_of(moment, days)
        assert row["week"] == week_start_of(row["day"], days)
        assert row["opens"] == day_start_of(row["day"], days).timestamp()


@given(
    moment=st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1)),
    zone=st.sampled_from(ZONES),
    hour=st.sampled_from([0, 4, 6]),
)
@settings(max_examples=300)
def test_a_moment_lies_within_its_service_day(moment: datetime, zone: str, hour: int) -> None:
    days = calendar(zone, hour)
    aware = moment.replace(tzinfo=UTC)
    day = service_date_of(aware, days)
    assert day_start_of(day, days) <= aware < day_start_of(day + DAY, days)


def test_the_day_begins_at_its_hour_and_the_week_at_history_start() -> None:
    days = calendar()
    assert service_date_of(datetime(2026, 8, 3, 10, 59, 59, tzinfo=UTC), days) == date(2026, 8, 2)
    assert service_date_of(datetime(2026, 8, 3, 11, 0, tzinfo=UTC), days) == date(2026, 8, 3)
    assert week_start_of(date(2026, 8, 9), days) == date(2026, 8, 3)
    assert week_start_of(date(2026, 8, 2), days) == date(2026, 7, 27), "weeks also run before history_start"


@pytest.mark.parametrize(
    ("day", "hour"),
    [(date(2026, 8, 3), 11), (date(2026, 12, 7), 12), (date(2026, 3, 8), 11), (date(2026, 11, 1), 12)],
    ids=["summer", "winter", "clocks forward", "clocks back"],
)
def test_a_service_day_begins_at_the_hour_of_its_zone(day: date, hour: int) -> None:
    assert day_start_of(day, calendar()) == datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def test_rows_are_due_a_lateness_after_the_end() -> None:
    assert due_at(date(2026, 8, 10), calendar()) == datetime(2026, 8, 12, 11, tzinfo=UTC)


def test_whole_weeks_of_an_interval() -> None:
    start = date(2026, 8, 3)
    assert weeks(start, start + 3 * WEEK, calendar()) == [start, start + WEEK, start + 2 * WEEK]
    assert weeks_between(start, start + 2 * WEEK - DAY) == [start]
    assert weeks_between(start, start - WEEK) == []


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (0, 0, r"is empty or begins before calendar.history_start 2026-08-03"),
        (-7, 7, r"is empty or begins before calendar.history_start 2026-08-03"),
        (8, 21, r"not made of whole weeks .*: take 2026-08-10..2026-08-24"),
        (1, 8, r"not made of whole weeks .*: take 2026-08-03..2026-08-17"),
        (7, 18, r"not made of whole weeks .*: take 2026-08-10..2026-08-24"),
    ],
)
def test_an_interval_of_no_whole_weeks_is_refused(first: int, last: int, message: str) -> None:
    start = date(2026, 8, 3)
    with pytest.raises(PipelineError, match=message):
        weeks(start + first * DAY, start + last * DAY, calendar())


def test_dates_need_no_pyspark() -> None:
    """The simulator and the training processes use the calendar and never start Spark."""
    check = "import sys, intentrec.calendar; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
