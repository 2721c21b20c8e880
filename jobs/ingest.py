"""Read the raw rows of whole weeks [start, end): catalogue snapshots, accepted events, and everything refused.

Rows count that arrived until the end of their week plus the domain's lateness; --include-late takes in later ones too.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY, day_start_of, weeks
from intentrec.config import Domain, seconds
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, QUARANTINE
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.errors import PipelineError
from intentrec.events.catalog import checked_items, snapshot_dates
from intentrec.events.check import checked_events
from intentrec.events.outcomes import ACCEPTED, OUTCOMES, QUARANTINED, outcomes, past_deadline, refuse_silent_weeks
from intentrec.interactions import rules
from intentrec.sources import load
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse

IncludeLate = Annotated[
    bool, typer.Option("--include-late", help="take in rows that arrived after the lateness allowed")
]


def ingest(
    start: Start, end: End, config: Config, profile: ProfileFile = None, include_late: IncludeLate = False
) -> None:
    """Ingest whole weeks."""
    with job("ingest", start, end, config, profile) as run:
        body(run, config, include_late)


def arrivals(run: Run, include_late: bool) -> tuple[date, date]:
    """UTC dates of arrival [from, until) that can hold rows of the run's service dates."""
    domain: Domain = run.domain
    # A clock that runs ahead dates an event after its arrival.
    first = day_start_of(run.start, domain.calendar) - timedelta(seconds=seconds(domain.events.max_clock_skew))
    last = day_start_of(run.end, domain.calendar) + timedelta(seconds=seconds(domain.calendar.lateness))
    return first.date(), date.max if include_late else last.date() + DAY


def read_items(warehouse: Warehouse) -> DataFrame:
    """Every raw catalogue row of the interval's snapshots as `items.checked_items` has it, counted."""
    run = warehouse.run
    items = checked_items(load(run.domain.source.reader).read_catalog(warehouse.spark, run)).localCheckpoint()
    counted = items.agg(F.count("*"), F.count_if(F.size("reasons") > 0), F.count_if("is_copy")).first()
    assert counted is not None
    read, quarantined, copies = counted
    run.counts |= {"catalog.read": read, "catalog.accepted": read - quarantined - copies}
    run.counts |= {"catalog.quarantined": quarantined, "catalog.duplicates": copies}
    run.say(f"{read:,} catalogue rows read")
    return items


def accepted_items(items: DataFrame) -> DataFrame:
    """Those of `read_items` that the catalogue takes in."""
    return items.where((F.size("reasons") == 0) & ~F.col("is_copy")).select(*CATALOG.names)


def refused_items(items: DataFrame) -> DataFrame:
    """Those that it does not, as QUARANTINE has them."""
    return items.where(F.size("reasons") > 0).select(
        F.col("snapshot_date").alias("event_date"),
        F.lit("catalog").alias("record"),
        "reasons",
        "raw",
        "source_file",
        "source_line",
        F.col("snapshot_date").cast("timestamp").alias("arrived_at"),
    )


def replace_catalog(warehouse: Warehouse, items: DataFrame) -> None:
    """Write the interval's snapshots, or take back those that are no longer delivered."""
    run = warehouse.run
    if run.counts["catalog.read"] or not _held(warehouse, run.start, run.end).isEmpty():
        warehouse.replace(CATALOG, accepted_items(items), run.start, run.end)
    else:  # not worth a warning: some services deliver their catalogue once
        run.say("no catalogue snapshot of these dates: the facts of the last one hold on")


def _held(warehouse: Warehouse, start: date | None, end: date) -> DataFrame:
    if not warehouse.exists(CATALOG):
        return warehouse.spark.createDataFrame([], CATALOG.schema)
    return warehouse.current(CATALOG, start, end)


def needed_snapshots(warehouse: Warehouse, items: DataFrame) -> list[date]:
    """Catalogue snapshots that will hold in the run's interval, oldest first: earlier ones, and those of its `items`.

    Raises:
        PipelineError: none holds on the first date.
    """
    run = warehouse.run
    known = _held(warehouse, None, run.start).unionByName(accepted_items(items))
    dates = snapshot_dates(known, run.start, run.end)
    if not dates or dates[0] > run.start:
        raise PipelineError(
            f"no catalogue snapshot on or before {run.start}, so every item of that day is unknown: deliver the "
            "snapshot of that date, or ingest the earlier weeks first"
        )
    return dates


def read_events(warehouse: Warehouse, include_late: bool) -> DataFrame:
    """Every raw event row that the run reads as `check.checked_events` has it, counted."""
    run = warehouse.run
    raw = load(run.domain.source.reader).read_events(warehouse.spark, run, *arrivals(run, include_late))
    # Read and taken apart once: outcomes look at the rows several times, and so do the counts and both tables.
    checked = checked_events(raw, run.domain).localCheckpoint()
    run.counts["events.read"] = checked.count()
    run.say(f"{run.counts['events.read']:,} raw events read")
    return checked


def judge(warehouse: Warehouse, checked: DataFrame, snapshots: list[date], include_late: bool) -> DataFrame:
    """The rows of `read_events`, each with its outcome."""
    run = warehouse.run
    catalog = warehouse.read(CATALOG, end=run.end)
    return outcomes(checked, catalog, snapshots, run.start, run.end, run.domain, include_late).localCheckpoint()


def count(run: Run, judged: DataFrame, refused: DataFrame) -> None:
    """Rows by outcome and refused rows by reason, into the run's counts.

    Raises:
        AssertionError: the outcomes do not add up to the rows read.
    """
    by_outcome = {row["outcome"]: row["count"] for row in judged.groupBy("outcome").count().collect()}
    assert by_outcome.keys() <= set(OUTCOMES), by_outcome
    assert sum(by_outcome.values()) == run.counts["events.read"], (by_outcome, run.counts["events.read"])
    run.counts |= {f"events.{outcome}": by_outcome.get(outcome, 0) for outcome in OUTCOMES}
    reasons = refused.select(F.explode("reasons").alias("reason")).groupBy("reason").count().orderBy("reason")
    run.counts |= {f"quarantine.reason.{row['reason']}": row["count"] for row in reasons.collect()}


def say_what_late_rows_become(warehouse: Warehouse, include_late: bool) -> None:
    """Keep whether late rows count, and how many of those that an earlier run took in this one leaves out again."""
    run = warehouse.run
    run.counts["late.included"] = int(include_late)
    if include_late or not warehouse.exists(ENGAGEMENT_EVENTS):
        return
    held = warehouse.current(ENGAGEMENT_EVENTS, run.start, run.end)
    left_out = run.counts["late.left_out"] = held.where(past_deadline(run.domain)).count()
    if left_out:
        run.warn(
            f"{left_out:,} events that came too late, and that an earlier run took in with --include-late, are left "
            "out again: to keep them, ingest these weeks with --include-late once more"
        )


def body(run: Run, config: Path, include_late: bool = False) -> None:
    """Catalogue, refused rows, accepted rows, in this order: after a failed audit a rerun replaces all three.

    None is written before everything has been read, so that a broken delivery changes nothing.
    """
    weeks(run.start, run.end, run.domain.calendar)
    warehouse = Warehouse.open(run)
    rules.check(warehouse.spark, run.domain, config)
    items = read_items(warehouse)
    snapshots = needed_snapshots(warehouse, items)
    checked = read_events(warehouse, include_late)
    replace_catalog(warehouse, items)
    judged = judge(warehouse, checked, snapshots, include_late)
    refused_events = judged.where(F.col("outcome") == QUARANTINED).withColumn("record", F.lit("event"))
    refused = refused_events.select(*QUARANTINE.names).unionByName(refused_items(items))
    count(run, judged, refused)
    warehouse.replace(QUARANTINE, refused, run.start, run.end)
    accepted = judged.where(F.col("outcome") == ACCEPTED)
    refuse_silent_weeks(run, accepted)
    say_what_late_rows_become(warehouse, include_late)
    warehouse.replace(ENGAGEMENT_EVENTS, accepted.select(*ENGAGEMENT_EVENTS.names), run.start, run.end)


if __name__ == "__main__":
    main(ingest, __doc__)
