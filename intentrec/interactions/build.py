"""Weeks of interactions, and the state after each week, from events, catalogue and the state before the first week.

An event gets the catalogue facts of its service date, never those of a later snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY, WEEK, service_date, week_start_of, weeks
from intentrec.config import Domain
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, INTERACTIONS, TITLE_STATE
from intentrec.errors import PipelineError, backfill_command
from intentrec.events.catalog import snapshot_as_of, snapshot_dates
from intentrec.interactions import rules, state
from intentrec.interactions.visits import left_censored, visits
from intentrec.storage.warehouse import Warehouse


@dataclass(frozen=True)
class Built:
    """What a range of weeks gives.

    Attributes:
        interactions: rows of INTERACTIONS that began in the weeks.
        states: rows of TITLE_STATE as of the end of each week.
        n_events: number of events in these interactions.
        n_visits: number of interactions.
    """

    interactions: DataFrame
    states: DataFrame
    n_events: int
    n_visits: int


def build_from(warehouse: Warehouse) -> tuple[DataFrame, Built]:
    """Read the tables that the weeks of the warehouse's run need, and build the interactions. Writes nothing.

    Args:
        warehouse: its run names the weeks and the domain.

    Returns:
        The accepted events of the weeks, and what is built from them.

    Raises:
        PipelineError: the interval is not whole weeks, a table or the state before the weeks is missing, or an event's
            item is not in the catalogue.
    """
    run = warehouse.run
    week_starts = weeks(run.start, run.end, run.domain.calendar)
    first_day = run.start - run.domain.events.longest_visit
    events = warehouse.read(ENGAGEMENT_EVENTS, first_day, run.end)
    catalog = warehouse.read(CATALOG, end=run.end)
    snapshots = snapshot_dates(catalog, first_day, run.end)
    before = _state_before(warehouse)
    built = build(events, catalog, before, week_starts, snapshots, run.domain)
    return events.where(F.col("event_date") >= F.lit(run.start)), built


def build(
    events: DataFrame,
    catalog: DataFrame,
    before: DataFrame,
    week_starts: Sequence[date],
    snapshots: Sequence[date],
    domain: Domain,
) -> Built:
    """Interactions of consecutive weeks and the state after each. Each week's state is the input of the next week.

    The values of a visit are known when it has ended. So a visit that began before a week and ended in it belongs to
    the state after that week.

    Every week is materialised (`localCheckpoint`) before Spark plans the next one. Otherwise the plan would grow with
    the range, and Spark would analyse all of it again for every week.

    Args:
        events: accepted events of the weeks, and of the days before them (`config.Events.longest_visit`), because a
            visit of those days may end in the weeks.
        catalog: rows of CATALOG.
        before: title_state as of the first week.
        week_starts: first service dates of the weeks, consecutive.
        snapshots: catalogue snapshots that the weeks need (`catalog.snapshot_dates`).
        domain: the domain file.

    Raises:
        PipelineError: an event's item is not in the catalogue as of its date.
    """
    found = visits(with_facts(events, catalog, snapshots), domain).localCheckpoint()
    require_known(found)
    ended_on = service_date(F.col("end_ts"), domain.calendar)
    labelled, states, current = [], [], before
    for week in week_starts:
        began, ended = (day.between(week, week + WEEK - DAY) for day in (F.col("event_date"), ended_on))
        scoped = state.before_visits(found.where(ended | began), current, domain)
        labelled.append(label(scoped.where(began), domain).localCheckpoint())
        current = state.fold(current, found.where(ended), week + WEEK, domain).localCheckpoint()
        states.append(current)
    of_weeks = found.where(F.col("event_date") >= F.lit(week_starts[0]))
    each = F.expr("aggregate(map_values(event_counts), 0L, (a, b) -> a + b)")
    counted = of_weeks.agg(F.count("*"), F.sum(each)).first()
    assert counted is not None
    return Built(reduce(DataFrame.union, labelled), reduce(DataFrame.union, states), int(counted[1] or 0), counted[0])


def label(scoped: DataFrame, domain: Domain) -> DataFrame:
    """INTERACTIONS rows of visits with r, s and u (`state.before_visits`)."""
    known = scoped.withColumns(
        {
            **state.after_visit(domain),
            "action_type": rules.action_type(domain),
            "left_censored": left_censored(F.col("event_date"), domain),
            "rules_version": F.lit(domain.interactions.rules_version),
        }
    ).drop("r", "s", "u")
    return known.withColumn("is_target", rules.is_target(domain)).select(*INTERACTIONS.names)


def with_facts(events: DataFrame, catalog: DataFrame, dates: Sequence[date]) -> DataFrame:
    """Add the facts of each event's item as of its service date.

    Args:
        events: accepted events.
        catalog: rows of CATALOG.
        dates: its snapshots that the events need.

    Returns:
        The columns of `events`, and title_id, kind, genres, creator, language, episode and runtime_s of the item.
        title_release_ts is the earliest release among the items of the title in that snapshot, so that a new episode
        does not make an old show new. All are null if the snapshot does not list the item, or there is none.
    """
    title = "snapshot_date", "title_id"
    releases = catalog.groupBy(*title).agg(F.min("release_ts").alias("title_release_ts"))
    facts = (
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
    chosen = events.withColumn("snapshot_date", snapshot_as_of(F.col("event_date"), dates))
    return chosen.join(facts, ["snapshot_date", "item_id"], "left").drop("snapshot_date")


def require_known(found: DataFrame) -> None:
    """Refuse visits of items that the catalogue does not hold, instead of leaving them out silently.

    Raises:
        PipelineError: there are such visits. The message has their number, the first date and an example.
    """
    unknown = found.where(F.col("title_id").isNull())
    counted = unknown.agg(F.count("*"), F.min("event_date"), F.min("item_id")).first()
    assert counted is not None
    if counted[0]:
        raise PipelineError(
            f"{counted[0]:,} visits are of items that no catalogue snapshot on or before their date holds, such as "
            f"item {counted[2]!r}; the first is of {counted[1]}. Events and catalogue do not belong together: run "
            "ingest again for the weeks concerned"
        )


def require_all(events: DataFrame, built: Built) -> None:
    """Check that every event of the weeks is in exactly one visit.

    Raises:
        PipelineError: the numbers of events differ.
    """
    read = events.count()
    if read != built.n_events:
        raise PipelineError(
            f"{read:,} events were read but the visits hold {built.n_events:,}: some have a type that the domain file "
            f"does not list under events.types. Ingest the interval again with this domain file"
        )


def _state_before(warehouse: Warehouse) -> DataFrame:
    """title_state as of the run's start; empty if the weeks that a state covers have no event.

    Raises:
        PipelineError: those weeks have events, but no state was built from them. The message has the command.
    """
    domain, first, built_until = warehouse.run.domain, warehouse.run.start, None
    if warehouse.exists(TITLE_STATE):
        states = warehouse.read(TITLE_STATE, end=first + DAY)
        built_until = _one(states, F.max("as_of"))
        if built_until == first:
            return states.where(F.col("as_of") == F.lit(first))
    oldest = first - timedelta(weeks=domain.interactions.state_weeks)
    first_event = _one(warehouse.read(ENGAGEMENT_EVENTS, oldest, first), F.min("event_date"))
    if first_event is None:
        return state.empty(warehouse.spark)
    begin = built_until or week_start_of(first_event, domain.calendar)
    raise PipelineError(
        f"title_state has no rows as of {first}, though there are events before it: the weeks [{begin}, {first}) were "
        f"not built. Run {backfill_command(domain.domain, begin, first)}, and then this job again"
    )


def _one(frame: DataFrame, value: Column) -> date | None:
    row = frame.agg(value).first()
    assert row is not None
    return row[0]
