"""Read the raw rows of whole weeks [start, end) into catalog, engagement_events and quarantine.

An event is late if it arrived after the end of its week plus the domain's lateness. --include-late also accepts late
events. A delivery that is not whole (quality.delivery of the domain file) changes nothing, unless --accept-partial
gives a reason.
"""

from pathlib import Path
from typing import Annotated

import typer

from intentrec.calendar import weeks
from intentrec.contracts import ENGAGEMENT_EVENTS, QUARANTINE
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.events import versions
from intentrec.events.catalog import check_catalog, replace_catalog, required_snapshots, stored_snapshots
from intentrec.events.check import checked_events
from intentrec.events.counts import count_corrected, count_left_out, count_read, require_whole
from intentrec.events.outcomes import Judged, arrival_dates, outcomes
from intentrec.events.reasons import count_reasons
from intentrec.interactions import rules
from intentrec.monitoring.changed_settings import require_one_calendar
from intentrec.sources import delivery, load
from intentrec.sources.integrity import unchanged
from intentrec.storage.runs import Run, ledger
from intentrec.storage.warehouse import Warehouse

IncludeLate = Annotated[bool, typer.Option("--include-late", help="also accept rows that arrived after the lateness")]
AcceptPartial = Annotated[
    str,
    typer.Option(
        envvar="INTENTREC_ACCEPT_PARTIAL",
        help="why a delivery that is not whole is ingested; kept in ledger and report",
        show_default=False,
    ),
]


def ingest(
    start: Start,
    end: End,
    config: Config,
    profile: ProfileFile = None,
    include_late: IncludeLate = False,
    accept_partial: AcceptPartial = "",
) -> None:
    """Ingest whole weeks."""
    with job("ingest", start, end, config, profile) as run:
        body(run, config, include_late, accept_partial)


def body(run: Run, config: Path, include_late: bool = False, accept_partial: str = "") -> None:
    """Read and judge everything, then write catalogue, quarantine and accepted events.

    Nothing is written before everything was read and the delivery is whole, so an unreadable or partial delivery
    changes nothing. If an audit fails, the tables before it are already written; a rerun replaces all three. The
    quarantine is written before the events, so that it shows why their audit failed.
    """
    domain = run.domain
    weeks(run.start, run.end, domain.calendar)  # refuses a wrong interval before Spark starts
    require_one_calendar(ledger(run.profile, run.domain), run.start, run.domain)
    warehouse = Warehouse.open(run)
    rules.check(warehouse.spark, domain, config)
    reader = load(domain.source.reader)
    raw_items = reader.read_catalog(warehouse.spark, run)
    with unchanged(raw_items):
        items = check_catalog(raw_items)
    run.counts |= {f"catalog.{name}": rows for name, rows in items.count.items()}
    run.say(f"{items.count['read']:,} catalogue rows read")
    catalog = stored_snapshots(warehouse, run.start).unionByName(items.accepted)
    snapshots = required_snapshots(catalog, run.start, run.end)
    arrived = arrival_dates(run.start, run.end, domain, include_late)
    raw_events = reader.read_events(warehouse.spark, run, *arrived)
    delivery.record(warehouse.spark, run, (raw_items, raw_events))
    # Materialised, because the outcomes use the rows several times.
    with unchanged(raw_events):
        checked = checked_events(raw_events, domain).localCheckpoint()
    count_read(run, checked)
    others = versions.elsewhere(warehouse, checked)
    found = outcomes(checked, catalog, snapshots, run.start, run.end, domain, include_late, others, items.refused_ids)
    judged = Judged(found.localCheckpoint())
    refused = judged.refused.unionByName(items.refused)
    run.counts |= {f"quarantine.reason.{reason}": rows for reason, rows in count_reasons(refused).items()}
    require_whole(run, judged, items, refused, accept_partial)
    replace_catalog(warehouse, items)
    warehouse.replace(QUARANTINE, refused, run.start, run.end)
    count_left_out(warehouse, include_late)
    count_corrected(run, versions.corrected(judged.accepted, others))
    warehouse.replace(ENGAGEMENT_EVENTS, judged.accepted, run.start, run.end)


if __name__ == "__main__":
    main(ingest, __doc__)
