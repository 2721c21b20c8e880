"""Read the raw rows of whole weeks [start, end) into catalog, engagement_events and quarantine.

An event is late if it arrived after the end of its week plus the domain's lateness. --include-late also accepts late
events.
"""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import DataFrame

from intentrec.calendar import weeks
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS, QUARANTINE
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.events.catalog import Items, check_catalog, required_snapshots
from intentrec.events.check import checked_events
from intentrec.events.outcomes import (
    Judged,
    arrival_dates,
    outcomes,
    past_deadline,
    read_counts,
    require_every_week,
)
from intentrec.events.reasons import count_reasons
from intentrec.interactions import rules
from intentrec.sources import load
from intentrec.sources.whole import unchanged
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse

IncludeLate = Annotated[bool, typer.Option("--include-late", help="also accept rows that arrived after the lateness")]


def ingest(
    start: Start, end: End, config: Config, profile: ProfileFile = None, include_late: IncludeLate = False
) -> None:
    """Ingest whole weeks."""
    with job("ingest", start, end, config, profile) as run:
        body(run, config, include_late)


def body(run: Run, config: Path, include_late: bool = False) -> None:
    """Read everything, then write catalogue, quarantine and accepted events.

    Everything is read before anything is written, so that an unreadable delivery changes nothing. If an audit fails,
    the tables before it are already written; a rerun replaces all three. The quarantine is written before the events,
    so that it shows why their audit failed.
    """
    domain = run.domain
    weeks(run.start, run.end, domain.calendar)  # refuses a wrong interval before Spark starts
    warehouse = Warehouse.open(run)
    rules.check(warehouse.spark, domain, config)
    reader = load(domain.source.reader)
    raw_items = reader.read_catalog(warehouse.spark, run)
    with unchanged(raw_items):
        items = check_catalog(raw_items)
    run.counts |= {f"catalog.{name}": rows for name, rows in items.count.items()}
    run.say(f"{items.count['read']:,} catalogue rows read")
    known = stored_snapshots(warehouse, None, run.start).unionByName(items.accepted)
    snapshots = required_snapshots(known, run.start, run.end)
    arrived = arrival_dates(run.start, run.end, domain, include_late)
    raw_events = reader.read_events(warehouse.spark, run, *arrived)
    # Materialised, because the outcomes use the rows several times.
    with unchanged(raw_events):
        checked = checked_events(raw_events, domain).localCheckpoint()
    count_read(run, checked)
    replace_catalog(warehouse, items)
    catalog = warehouse.read(CATALOG, end=run.end)
    judged = Judged(outcomes(checked, catalog, snapshots, run.start, run.end, domain, include_late).localCheckpoint())
    refused = judged.refused.unionByName(items.refused)
    count(run, judged, refused)
    warehouse.replace(QUARANTINE, refused, run.start, run.end)
    require_every_week(judged.accepted, run.start, run.end, domain)
    count_left_out(warehouse, include_late)
    warehouse.replace(ENGAGEMENT_EVENTS, judged.accepted, run.start, run.end)


def count_read(run: Run, checked: DataFrame) -> None:
    """Count the rows read, and warn of those without a time. Only the run of the first week quarantines these."""
    rows, undated = read_counts(checked, run.start, run.domain)
    run.counts["events.read"] = rows
    run.say(f"{rows:,} raw events read")
    if undated:
        run.counts["events.undated"] = undated
        run.warn(
            f"{undated:,} lines have no readable time, so they count as outside these weeks: look at the quarantine of "
            f"{run.domain.calendar.history_start} after you ingest the week that begins then"
        )


def stored_snapshots(warehouse: Warehouse, start: date | None, end: date) -> DataFrame:
    """Snapshots of [start, end) that the catalogue holds now; none if there is no catalogue yet."""
    if not warehouse.exists(CATALOG):
        return warehouse.spark.createDataFrame([], CATALOG.schema)
    return warehouse.current(CATALOG, start, end)


def replace_catalog(warehouse: Warehouse, items: Items) -> None:
    """Write the interval's snapshots. Delete those that are no longer delivered."""
    run = warehouse.run
    if items.count["read"] or not stored_snapshots(warehouse, run.start, run.end).isEmpty():
        warehouse.replace(CATALOG, items.accepted, run.start, run.end)
    else:  # not a warning: some services deliver their catalogue only once
        run.say("no catalogue snapshot of these dates: the last one still holds")


def count(run: Run, judged: Judged, refused: DataFrame) -> None:
    """Put events by outcome, and refused rows by reason, into the run's counts.

    Raises:
        AssertionError: the outcomes do not add up to the events read.
    """
    by_outcome = judged.count()
    assert sum(by_outcome.values()) == run.counts["events.read"], (by_outcome, run.counts["events.read"])
    run.counts |= {f"events.{outcome}": rows for outcome, rows in by_outcome.items()}
    run.counts |= {f"quarantine.reason.{reason}": rows for reason, rows in count_reasons(refused).items()}


def count_left_out(warehouse: Warehouse, include_late: bool) -> None:
    """Count the late events that an earlier run accepted and that this run leaves out again."""
    run = warehouse.run
    run.counts["late.included"] = int(include_late)
    if include_late or not warehouse.exists(ENGAGEMENT_EVENTS):
        return
    before = warehouse.current(ENGAGEMENT_EVENTS, run.start, run.end)
    left_out = run.counts["late.left_out"] = before.where(past_deadline(run.domain)).count()
    if left_out:
        run.warn(
            f"{left_out:,} late events, which an earlier run accepted with --include-late, are left out now: to keep "
            "them, ingest these weeks with --include-late again"
        )


if __name__ == "__main__":
    main(ingest, __doc__)
