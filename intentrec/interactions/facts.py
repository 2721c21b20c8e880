"""Catalogue facts as of an event's service date: never those of a later snapshot."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.errors import PipelineError
from intentrec.events.snapshots import snapshot_as_of


def facts(catalog: DataFrame, dates: Sequence[date]) -> DataFrame:
    """One row per (snapshot_date, item_id) of the chosen snapshots.

    Kind, genres, creator, language, episode and runtime are the item's. `title_release_ts` is the title's: the
    earliest release among its items in that snapshot, so that a new episode does not make an old show new.
    """
    title = "snapshot_date", "title_id"
    releases = catalog.groupBy(*title).agg(F.min("release_ts").alias("title_release_ts"))
    return (
        catalog.where(F.col("snapshot_date").isin(list(dates)))
        .join(releases, list(title), "left")
        .select(
            "snapshot_date",
            "item_id",
            "title_id",
            "kind",
            "genres",
            "creator",
            "language",
            "episode",
            "runtime_s",
            "title_release_ts",
        )
    )


def with_facts(events: DataFrame, catalog: DataFrame, dates: Sequence[date]) -> DataFrame:
    """Events with the facts of their item as of their service date; null where no such snapshot lists the item."""
    chosen = events.withColumn("snapshot_date", snapshot_as_of(F.col("event_date"), dates))
    return chosen.join(facts(catalog, dates), ["snapshot_date", "item_id"], "left").drop("snapshot_date")


def require_known(runs: DataFrame) -> None:
    """Refuse runs of items that the catalogue does not hold: dropping them would go unnoticed.

    Raises:
        PipelineError: names how many, from when, and an example.
    """
    unknown = runs.where(F.col("title_id").isNull())
    found = unknown.agg(F.count("*"), F.min("event_date"), F.min("item_id")).first()
    assert found is not None
    if found[0]:
        raise PipelineError(
            f"{found[0]:,} runs are of items that no catalogue snapshot on or before their date holds, such as item "
            f"{found[2]!r}; the first is of {found[1]}. Events and catalogue do not belong together: run ingest again "
            f"for the weeks concerned"
        )
