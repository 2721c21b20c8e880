"""MovieLens 100K (Harper and Konstan, TiiS 2015): ratings of films, as published by GroupLens.

    {data}/u.data     user, film, rating, seconds since 1970 (UTC); parted by tabs, no header
    {data}/u.item     film, title, release date, and a flag per genre; parted by bars, Latin-1

An event is a rating, an interaction with its film: nobody measured how long it took, so duration_s is 0. It is given on
the site when the user remembers the film, not when it was watched; half of the ratings share their second with another
one of the user, and those are known together. A film is rated once.

The list of films is one dump; it is taken as known from the first day. The data set has no surfaces, devices, kinds
or languages.
"""

from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.contracts import RAW_EVENT, RAW_ITEM
from intentrec.errors import PipelineError
from intentrec.runs import Run
from intentrec.sources import data_folder
from intentrec.sources.delimited import bare_rows
from intentrec.sources.files import Entry, listing
from intentrec.sources.text import integer, iso, parsed_once

RATINGS, FILMS = "u.data", "u.item"
_RATING = ("user", "film", "rating", "seconds")
GENRES = (
    *("action", "adventure", "animation", "children", "comedy", "crime", "documentary", "drama", "fantasy"),
    *("film_noir", "horror", "musical", "mystery", "romance", "scifi", "thriller", "war", "western"),
)
_FILM = ("film", "title", "released", "video_released", "url", "unknown", *GENRES)
_LATEST = 253402300799  # the last second of the year 9999; beyond it a timestamp overflows


def read_events(spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
    """Raw ratings of the UTC dates [arrived_from, arrived_until); they arrive as they are given.

    Raises:
        PipelineError: no such file, an unreadable file.
    """
    fields = F.col("fields")
    seconds = integer(fields["seconds"])
    moment = F.timestamp_seconds(F.when(seconds.between(0, _LATEST), seconds))
    rows = parsed_once(bare_rows(spark, _file(spark, run, RATINGS), _RATING, "\t"), "moment", moment)
    start, read = F.lit(run.domain.calendar.history_start).cast("timestamp"), fields.isNotNull()
    key = F.concat_ws("|", *[F.coalesce(fields[name], F.lit("")) for name in ("user", "film", "seconds")])
    extra = F.create_map(F.lit("rating"), fields["rating"])
    frame = rows.select(
        "raw",
        "source_file",
        "source_line",
        F.coalesce("moment", start).alias("arrived_at"),
        F.coalesce("read_error", F.when(F.col("moment").isNull(), "bad_type_arrived_at")).alias("read_error"),
        F.when(read, F.sha2(key, 256)).alias("event_id"),
        fields["user"].alias("user_id"),
        fields["user"].alias("account_id"),
        fields["film"].alias("item_id"),
        F.coalesce(iso(F.col("moment")), fields["seconds"]).alias("event_ts"),
        F.when(read, F.lit("rate")).alias("event_type"),
        F.when(read, F.lit("0")).alias("duration_s"),
        F.lit(None).cast("string").alias("position_s"),
        F.when(read, F.lit("site")).alias("surface"),
        F.when(read, F.lit("unknown")).alias("device"),
        F.when(read, F.map_filter(extra, lambda _, value: value.isNotNull())).alias("extra"),
    )
    assert frame.columns == RAW_EVENT.names
    arrived = F.to_date("arrived_at")
    return frame.where((arrived >= F.lit(arrived_from)) & (arrived < F.lit(arrived_until)))


def read_catalog(spark: SparkSession, run: Run) -> DataFrame:
    """The list of films, dated on the log's first day.

    Raises:
        PipelineError: no such file, an unreadable file.
    """
    first = run.domain.calendar.history_start
    if not run.start <= first < run.end:
        return spark.createDataFrame([], RAW_ITEM)
    fields, nothing = F.col("fields"), F.lit(None).cast("string")
    flagged = F.array_compact(F.array(*[F.when(fields[genre] == "1", F.lit(genre)) for genre in GENRES]))
    released = F.try_to_timestamp(fields["released"], F.lit("d-MMM-yyyy"))
    frame = bare_rows(spark, _file(spark, run, FILMS), _FILM, "|", "ISO-8859-1").select(
        "raw",
        "source_file",
        "source_line",
        F.lit(first).alias("snapshot_date"),
        "read_error",
        fields["film"].alias("item_id"),
        fields["film"].alias("title_id"),
        F.when(fields.isNotNull(), F.lit("film")).alias("kind"),
        F.when(fields.isNotNull(), F.to_json(flagged)).alias("genres"),
        nothing.alias("creator"),
        nothing.alias("episode"),
        F.coalesce(iso(released), F.nullif(fields["released"], F.lit(""))).alias("release_ts"),
        nothing.alias("runtime_s"),
        nothing.alias("language"),
        fields["title"].alias("text"),
        nothing.alias("available_from"),
        nothing.alias("available_to"),
    )
    assert frame.columns == RAW_ITEM.names
    return frame


def _file(spark: SparkSession, run: Run, name: str) -> Entry:
    folder = data_folder(run)
    found = [file for file in listing(spark, folder) if file.name == name]
    if not found:
        raise PipelineError(f"{folder}/{name}: no such file. Name the folder of MovieLens 100K with INTENTREC_DATA.")
    return found[0]
