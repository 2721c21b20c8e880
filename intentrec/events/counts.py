"""What a run of ingestion counts, and whether its delivery is whole. The numbers come from the rows and the tables."""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame

from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS
from intentrec.errors import PartialDelivery, lost_file
from intentrec.events import completeness, versions
from intentrec.events.catalog import Items
from intentrec.events.completeness import Numbers
from intentrec.events.outcomes import (
    ACCEPTED,
    QUARANTINED,
    Judged,
    past_deadline,
    read_counts,
    require_every_week,
)
from intentrec.events.reasons import refusals
from intentrec.storage.delta import rows_by_day
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse

_REASON = "quarantine.reason."  # how the counts of refused rows begin


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


def require_whole(run: Run, judged: Judged, items: Items, refused: DataFrame, accept_partial: str) -> None:
    """Count the events by outcome, and check that the delivery is whole.

    Args:
        run: the attempt; its `note` becomes the reason for which a partial delivery is accepted.
        judged: the events.
        items: the catalogue rows.
        refused: rows of QUARANTINE, of events and of the catalogue.
        accept_partial: that reason; blank if there is none.

    Raises:
        PartialDelivery: a bound of `quality.delivery` is not met, and no reason was given.
        PipelineError: a week of a range has no accepted event.
        AssertionError: the outcomes do not add up to the events read.
    """
    days = judged.by_day()
    run.counts |= {f"events.{outcome}": sum(by_day.values()) for outcome, by_day in days.items()}
    assert sum(run.counts[f"events.{outcome}"] for outcome in days) == run.counts["events.read"], run.counts
    require_every_week(days[ACCEPTED], run.start, run.end, run.domain)
    delivered = Numbers(days[ACCEPTED], days[QUARANTINED], items.accepted_on, items.refused_on)
    stored = Numbers(rows_by_day(run.warehouse, ENGAGEMENT_EVENTS), {}, rows_by_day(run.warehouse, CATALOG), {})
    found = completeness.breaches(run.start, run.end, delivered, stored, run.domain)
    reason = " ".join(accept_partial.split())
    if not found:
        run.note = f"--accept-partial was not needed, the delivery is whole: {reason}" if reason else None
        return
    reasons = {name.removeprefix(_REASON): rows for name, rows in run.counts.items() if name.startswith(_REASON)}
    what = completeness.explanation(found, reasons)
    if not reason:
        if any(each.key == "min_accepted" for each in found):
            most = refusals(refused)[0]
            what += f"; the first {most.reason} is in {most.where}"
        raise PartialDelivery(
            f"the delivery is not whole, so nothing was written: {what}. Deliver the rest and run this interval again; "
            f"if a bound is wrong, correct {completeness.KEY} of the domain file; or ingest it as it is with "
            '--accept-partial "reason"'
        )
    run.note = f"partial delivery accepted: {reason} ({what})"
    run.warn(run.note)


def count_left_out(warehouse: Warehouse, include_late: bool) -> None:
    """Count the late events that an earlier run accepted and that this run leaves out again."""
    run = warehouse.run
    run.counts["late.included"] = int(include_late)
    if include_late or not warehouse.exists(ENGAGEMENT_EVENTS):
        return
    before = warehouse.current(ENGAGEMENT_EVENTS, run.start, run.end)
    try:
        left_out = run.counts["late.left_out"] = before.where(past_deadline(run.domain)).count()
    except Exception as error:
        message = lost_file(error)
        if message is None:
            raise
        run.warn(f"whether late events are left out that an earlier run accepted is not known: {message}")
        return
    if left_out:
        run.warn(
            f"{left_out:,} late events, which an earlier run accepted with --include-late, are left out now: to keep "
            "them, ingest these weeks with --include-late again"
        )


def count_corrected(run: Run, weeks: Mapping[date, int]) -> None:
    """Count the events of other weeks that versions of this run replace (`versions.corrected`), by week.

    `status` shows these weeks as stale.
    """
    run.counts |= {f"{versions.CORRECTED}{week}": events for week, events in weeks.items()}
    if weeks:
        run.warn(
            f"{sum(weeks.values()):,} events of the weeks of {', '.join(map(str, weeks))} have a later version in the "
            "weeks of this run: ingest those weeks again, so that they no longer hold the earlier one"
        )
