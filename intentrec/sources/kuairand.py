"""KuaiRand-Pure (Gao et al., CIKM 2022): short-video impressions with their feedback, as published.

    {data}/log_standard_*.csv.gz              a row per impression
    {data}/video_features_basic_pure.csv      a row per video: one dump, not dated

The documentation does not define some columns. We inferred their meaning from 222,444 distinct impressions of 25 April
to 8 May 2022:

- `time_ms` is the **start** of the play. No row has time_ms + play_time_ms after its log hour. Of 12,444 pairs of
  successive plays within ten minutes, 63 overlap by more than a second; if time_ms were the end, 153 would.
- `date` and `hourmin` are the hour of **logging** in the service's zone: the hour of time_ms, or one to three hours
  later. So a row arrives at the start of that hour, or at time_ms where that is later within the hour. A row without a
  readable hour counts as arrived at the start of the log and gets a read error.
- Tabs 5 and 6 log nearly every play twice, sometimes in two different hours. User, video and time_ms identify an event.
  Copies that differ only in the time of logging are duplicates. Of the few that differ otherwise, those of the same
  hour are conflicts, and of the others the last one counts.

The file of videos has no date, so it counts as known from the first day of the log. The data set has no devices,
accounts or languages.
"""

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.calendar import day_start_of
from intentrec.errors import PipelineError
from intentrec.raw_rows import RAW_EVENT, RAW_ITEM
from intentrec.sources import data_folder, published_file
from intentrec.sources.files import CORRUPT, csv_rows, listing
from intentrec.sources.text import arrived_within, extra_map, hashed_key, integer, iso, number, parsed_once
from intentrec.storage.runs import Run

VIDEOS = "video_features_basic_pure.csv"
_LOG_COLUMNS = ("user_id", "video_id", "date", "hourmin", "time_ms", "play_time_ms", "duration_ms", "tab")
_VIDEO_COLUMNS = ("video_id", "author_id", "upload_dt", "upload_type", "video_duration", "tag")
_LATEST_MS = 253402300799999  # the last millisecond of the year 9999; beyond it a timestamp overflows


def read_events(spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
    """Raw plays that were logged on the UTC dates [arrived_from, arrived_until).

    Raises:
        PipelineError: there is no log file, a column is missing, or a file cannot be read.
    """
    folder = data_folder(run)
    logs = [f for f in listing(spark, folder) if f.name.startswith("log_standard_") and f.name.endswith(".csv.gz")]
    if not logs:
        raise PipelineError(
            f"{folder}: no log_standard_*.csv.gz. Name KuaiRand's folder as source.options.data in the domain file, or "
            "with INTENTREC_DATA."
        )
    frames = [_plays(csv_rows(spark, run, log, _LOG_COLUMNS), run) for log in logs]
    plays = reduce(DataFrame.unionByName, frames)
    return arrived_within(plays, arrived_from, arrived_until)


def read_catalog(spark: SparkSession, run: Run) -> DataFrame:
    """The file of videos, as a snapshot of the log's first day.

    Raises:
        PipelineError: there is no such file, a column is missing, or it cannot be read.
    """
    calendar = run.domain.calendar
    if not run.start <= calendar.history_start < run.end:
        return spark.createDataFrame([], RAW_ITEM)
    videos = published_file(spark, run, VIDEOS, "KuaiRand")
    fields = F.col("fields")
    tags = F.transform(F.split(fields["tag"], ","), lambda tag: F.concat(F.lit("tag_"), F.trim(tag)))
    uploaded = F.to_utc_timestamp(fields["upload_dt"].try_cast("date").cast("timestamp"), calendar.zone)
    release = F.coalesce(iso(uploaded), fields["upload_dt"])
    seconds = number(fields["video_duration"]) / 1000
    return csv_rows(spark, run, videos, _VIDEO_COLUMNS).select(
        "raw",
        "source_file",
        "source_line",
        F.lit(calendar.history_start).alias("snapshot_date"),
        "read_error",
        fields["video_id"].alias("item_id"),
        fields["video_id"].alias("title_id"),
        fields["upload_type"].alias("kind"),
        F.to_json(F.coalesce(tags, F.array().cast("array<string>"))).alias("genres"),
        fields["author_id"].alias("creator"),
        F.lit(None).cast("string").alias("episode"),
        release.alias("release_ts"),
        F.coalesce(seconds.cast("string"), fields["video_duration"]).alias("runtime_s"),
        F.lit(None).cast("string").alias("language"),
        F.lit(None).cast("string").alias("text"),
        release.alias("available_from"),
        F.lit(None).cast("string").alias("available_to"),
        F.lit(None).cast("string").alias("promotion"),
    )


def _plays(rows: DataFrame, run: Run) -> DataFrame:
    calendar = run.domain.calendar
    zone, log_start = calendar.zone, day_start_of(calendar.history_start, calendar)
    fields = F.col("fields")
    millis = integer(fields["time_ms"])
    hour = F.concat(fields["date"], F.lpad(fields["hourmin"], 4, "0"))
    seconds = number(fields["play_time_ms"]) / 1000
    values = F.struct(
        F.timestamp_millis(F.when(millis.between(0, _LATEST_MS), millis)).alias("began"),
        F.to_utc_timestamp(F.try_to_timestamp(hour, F.lit("yyyyMMddHHmm")), zone).alias("hour_start"),
        seconds.alias("seconds"),
        F.least(seconds, number(fields["duration_ms"]) / 1000).alias("position"),
    )
    began, hour_start, seconds, position = (
        F.col(f"values.{n}") for n in ("began", "hour_start", "seconds", "position")
    )
    hour_end = hour_start + F.make_dt_interval(hours=F.lit(1))
    arrived = F.when(hour_start.isNotNull(), F.least(F.greatest(hour_start, began), hour_end))
    unread_hour = F.when(arrived.isNull(), "bad_type_arrived_at")
    others = [name for name in rows.select("fields.*").columns if name not in (*_LOG_COLUMNS, CORRUPT)]

    def if_parsed(value: Column) -> Column:
        return F.when(fields.isNotNull(), value)

    frame = parsed_once(rows, "values", values).select(
        "raw",
        "source_file",
        "source_line",
        F.coalesce(arrived, F.lit(log_start)).alias("arrived_at"),
        F.coalesce("read_error", unread_hour).alias("read_error"),
        if_parsed(hashed_key(fields, ("user_id", "video_id", "time_ms"))).alias("event_id"),
        fields["user_id"].alias("user_id"),
        fields["user_id"].alias("account_id"),
        fields["video_id"].alias("item_id"),
        F.coalesce(iso(began), fields["time_ms"]).alias("event_ts"),
        if_parsed(F.lit("play")).alias("event_type"),
        F.coalesce(seconds.cast("string"), fields["play_time_ms"]).alias("duration_s"),
        F.coalesce(position.cast("string"), fields["duration_ms"]).alias("position_s"),
        F.concat(F.lit("tab_"), fields["tab"]).alias("surface"),
        if_parsed(F.lit("unknown")).alias("device"),
        if_parsed(extra_map(fields, {name: name for name in others})).alias("extra"),
    )
    assert frame.columns == RAW_EVENT.names
    return frame
