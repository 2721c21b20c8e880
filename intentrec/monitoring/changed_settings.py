"""Weeks that were made with other settings than those of the domain file. Pure."""

from collections.abc import Iterable, Mapping
from datetime import date

from intentrec.calendar import WEEK
from intentrec.config import Domain
from intentrec.errors import PipelineError, backfill_command
from intentrec.job_settings import settings_hashes
from intentrec.monitoring.staleness import latest_successes


def changed_weeks(ledger: Iterable[Mapping], domain: Domain) -> set[tuple[str, date]]:
    """Weeks whose rows the domain file as it is now would make differently.

    Args:
        ledger: as `storage.runs.ledger` returns it. An attempt of a version that kept no hashes is not judged.
        domain: the domain file.

    Returns:
        Pairs of job and first service date of the week.
    """
    latest = latest_successes(ledger, domain)
    now = {job: settings_hashes(domain, job)["job"] for job, _ in latest}
    return {(job, week) for (job, week), row in latest.items() if row["settings"].get("job", now[job]) != now[job]}


def require_one_calendar(ledger: Iterable[Mapping], before: date, domain: Domain) -> None:
    """Check that the weeks before a date were ingested with the zone and the day start of the domain file.

    Otherwise an event near a day's start would be in two weeks, or in none.

    Args:
        ledger: as `storage.runs.ledger` returns it.
        before: a service date. Of a run of ingestion it is the first one, so that a rebuild may begin.
        domain: the domain file.

    Raises:
        PipelineError: a week was ingested with others; the message has the command that rebuilds them.
    """
    now = settings_hashes(domain, "ingest")["calendar"]
    weeks = {week: row for (job, week), row in latest_successes(ledger, domain).items() if job == "ingest"}
    others = sorted(
        week for week, row in weeks.items() if week < before and row["settings"].get("calendar", now) != now
    )
    if others:
        raise PipelineError(
            f"conf/{domain.domain}.yaml: calendar.zone or calendar.day_start was changed after the weeks from "
            f"{others[0]} to {others[-1]} were ingested, so the tables would hold days of two calendars: take the "
            f"change back, or rebuild all weeks: {backfill_command(domain.domain, others[0], max(weeks) + WEEK)}"
        )
