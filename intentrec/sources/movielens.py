"""MovieLens 100K (Harper and Konstan, TiiS 2015): ratings of films, as published by GroupLens.

    {data}/u.data     user, film, rating, seconds since 1970 (UTC); separated by tabs, no header
    {data}/u.item     film, title, release date, and a flag per genre; separated by bars, Latin-1

An event is a rating, which is an interaction with its film. Its duration was not measured, so duration_s is null. The
time is that of the rating on the site, not of watching the film. Half of the ratings share their second with another
rating of the same user, so their order is unknown. A user rates a film once.

The list of films has no date, so it counts as known from the first day. The data set has no surfaces, devices, kinds or
languages.
"""

from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.raw_rows import RAW_ITEM
from intentrec.sources import published_file
from intentrec.sources.files import headerless_rows
from intentrec.sources.text import arrived_within, instant_events, integer, iso, parsed_once
from intentrec.storage.runs import Run

NAME, RATINGS, FILMS = "MovieLens 100K", "u.data", "u.item"
_RATING = ("user", "film", "rating", "seconds")
GENRES = (
    *("action", "adventure", "animation", "children", "comedy", "crime", "documentary", "drama", "fantasy"),
    *("film_noir", "horror", "musical", "mystery", "romance", "scifi", "thriller", "war", "western"),
)
_FILM = ("film", "title", "released", "video_released", "url", "unknown", *GENRES)
_LATEST = 253402300799  # the last second of the year 9999; beyond it a timestamp overflows


def read_events(spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
    """Raw ratings of the UTC dates [arrived_from, arrived_until). A rating arrives at its own time.

    Raises:
        PipelineError: there is no such file, or it cannot be read.
    """
    fields = F.col("fields")
    seconds = integer(fields["seconds"])
    moment = F.timestamp_seconds(F.when(seconds.between(0, _LATEST), seconds))
    lines = headerless_rows(spark, run, published_file(spark, run, RATINGS, NAME), _RATING, "\t")
    rows = parsed_once(lines, "moment", moment)
    frame = instant_events(
        rows,
        run,
        kind="rate",
        surface="site",
        user="user",
        item="film",
        when="seconds",
        key=("user", "film", "seconds"),
        signals={"rating": "rating"},
    )
    return arrived_within(frame, arrived_from, arrived_until)


def read_catalog(spark: SparkSession, run: Run) -> DataFrame:
    """The list of films, as a snapshot of the first day.

    Raises:
        PipelineError: there is no such file, or it cannot be read.
    """
    first = run.domain.calendar.history_start
    if not run.start <= first < run.end:
        return spark.createDataFrame([], RAW_ITEM)
    fields, nothing = F.col("fields"), F.lit(None).cast("string")
    flagged = F.array_compact(F.array(*[F.when(fields[genre] == "1", F.lit(genre)) for genre in GENRES]))
    released = F.try_to_timestamp(fields["released"], F.lit("d-MMM-yyyy"))
    frame = headerless_rows(spark, run, published_file(spark, run, FILMS, NAME), _FILM, "|", "ISO-8859-1").select(
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
        nothing.alias("promotion"),
    )
    assert frame.columns == RAW_ITEM.names
    return frame
