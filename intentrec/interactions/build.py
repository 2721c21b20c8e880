"""Weeks of interactions and the states between them, from events, catalogue and the state before the first.

Catalogue facts as of an event's service date: never those of a later snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY, WEEK, service_date
from intentrec.config import Domain
from intentrec.contracts import INTERACTIONS
from intentrec.errors import PipelineError
from intentrec.events.catalog import snapshot_as_of
from intentrec.interactions import rules, state
from intentrec.interactions.visits import left_censored, runs


@dataclass(frozen=True)
class Built:
    """What a range of weeks makes: its interactions, and the states as of the end of each week."""

    interactions: DataFrame
    states: DataFrame
    events: int
    runs: int


def build(
    events: DataFrame,
    catalog: DataFrame,
    before: DataFrame,
    weeks: Sequence[date],
    snapshots: Sequence[date],
    domain: Domain,
) -> Built:
    """Interactions of consecutive weeks and the state after each, one week folded into the next.

    What was known before a run is what had ended before it: a run that began before a week and ended in it belongs to
    the state after that week, and before its end nobody knows of it.

    Every week is materialised before the next one is planned (`localCheckpoint`): a plan that grew with the range
    would be analysed again and again.

    Args:
        events: accepted events of the weeks, and of the days before them from which runs may reach into them
            (`Events.overhang`).
        catalog: the catalogue.
        before: title_state as of the first week.
        weeks: first service dates of the weeks, consecutive.
        snapshots: catalogue snapshots that the weeks need (`events.snapshots.snapshot_dates`).
        domain: the domain file.

    Raises:
        PipelineError: an event's item is not in the catalogue as of its date.
    """
    found = runs(with_facts(events, catalog, snapshots), domain).localCheckpoint()
    require_known(found)
    ended_on = service_date(F.col("end_ts"), domain.calendar)
    labelled, states, current = [], [], before
    for week in weeks:
        began, ended = (day.between(week, week + WEEK - DAY) for day in (F.col("event_date"), ended_on))
        scoped = state.before_runs(found.where(ended | began), current, domain)
        labelled.append(label(scoped.where(began), domain).localCheckpoint())
        current = state.fold(current, found.where(ended), week + WEEK, domain).localCheckpoint()
        states.append(current)
    of_weeks = found.where(F.col("event_date") >= F.lit(weeks[0]))
    each = F.expr("aggregate(map_values(event_counts), 0L, (a, b) -> a + b)")
    counted = of_weeks.agg(F.count("*"), F.sum(each)).first()
    assert counted is not None
    return Built(reduce(DataFrame.union, labelled), reduce(DataFrame.union, states), int(counted[1] or 0), counted[0])


def label(scoped: DataFrame, domain: Domain) -> DataFrame:
    """INTERACTIONS rows of runs with r, s and u (`state.before_runs`)."""
    known = scoped.withColumns(
        {
            "action_type": rules.action_type(domain),
            "left_censored": left_censored(F.col("event_date"), domain),
            "rules_version": F.lit(domain.interactions.rules_version),
        }
    ).drop("r", "s", "u")
    return known.withColumn("is_target", rules.is_target(domain)).select(*INTERACTIONS.names)


def require_all(events: DataFrame, built: Built) -> None:
    """Check that every event of the weeks is in exactly one run.

    Raises:
        PipelineError: they are not.
    """
    read = events.count()
    if read != built.events:
        raise PipelineError(
            f"{read:,} events were read but the runs hold {built.events:,}: some have a type that the domain file does "
            f"not list under events.types; ingest the interval again with this domain file"
        )


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
