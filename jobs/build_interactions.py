"""Turn the accepted events of whole weeks [start, end) into interactions, and fold the weekly state behind them.

Writes interactions and feature_profiles of [start, end) and title_state as of each week's end in (start, end]. Reads
title_state as of start, which the weeks before it must have written.
"""

from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY, week_start_of, weeks
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, FEATURE_PROFILES, INTERACTIONS, TITLE_STATE
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.errors import PipelineError
from intentrec.events.catalog import snapshot_dates
from intentrec.events.outcomes import refuse_silent_weeks
from intentrec.interactions import rules, state
from intentrec.interactions.build import Built, build, require_all
from intentrec.monitoring.profiles import profiles
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse


def build_interactions(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Build the interactions of whole weeks."""
    with job("build_interactions", start, end, config, profile) as run:
        body(run, config)


def body(run: Run, config: Path) -> None:
    """Build, check that no event was lost, write the three tables."""
    weeks(run.start, run.end, run.domain.calendar)  # refused before Spark starts
    warehouse = Warehouse.open(run)
    rules.check(warehouse.spark, run.domain, config)
    events, built = build_from(warehouse, config)
    refuse_silent_weeks(run, events)
    require_all(events, built)
    run.counts["interactions.events"] = built.events
    run.counts["interactions.runs"] = built.runs
    run.say(f"{built.events:,} events make {built.runs:,} interactions")
    warehouse.replace(INTERACTIONS, built.interactions, run.start, run.end)
    warehouse.replace(TITLE_STATE, built.states, run.start + DAY, run.end + DAY)
    counted = profiles(events, built.interactions, run.domain)
    warehouse.replace(FEATURE_PROFILES, counted, run.start, run.end)


def build_from(warehouse: Warehouse, config: Path) -> tuple[DataFrame, Built]:
    """The events of the run's weeks, and what the domain's rules make of them; nothing is written.

    Raises:
        PipelineError: the interval is not whole weeks, a table or the state before it is missing, or an event's item
            is not in the catalogue.
    """
    run = warehouse.run
    run_weeks = weeks(run.start, run.end, run.domain.calendar)
    begin = run.start - run.domain.events.overhang
    events = warehouse.read(ENGAGEMENT_EVENTS, begin, run.end)
    catalog = warehouse.read(CATALOG, end=run.end)
    snapshots = snapshot_dates(catalog, begin, run.end)
    before = _state_before(warehouse, config)
    built = build(events, catalog, before, run_weeks, snapshots, run.domain)
    return events.where(F.col("event_date") >= F.lit(run.start)), built


def _state_before(warehouse: Warehouse, config: Path) -> DataFrame:
    """title_state as of the run's start; empty where no event happened in the weeks that a state remembers.

    Raises:
        PipelineError: those weeks have events, but no state was built from them. The message holds the command.
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
        f"title_state has no rows as of {first}, though there are events before it. Build the weeks before first, "
        f"after their ingest if that failed: python -m jobs.build_interactions --start {begin} --end {first} "
        f"--config {config}"
    )


def _one(frame: DataFrame, value: Column) -> date | None:
    row = frame.agg(value).first()
    assert row is not None
    return row[0]


if __name__ == "__main__":
    main(build_interactions, __doc__)
