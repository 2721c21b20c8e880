"""Weeks of other settings, from ledgers of a few rows."""

from datetime import date, timedelta

import pytest

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.job_settings import settings_hashes
from intentrec.monitoring.changed_settings import changed_weeks, require_one_calendar

WEEK = timedelta(days=7)
FIRST = date(2026, 8, 3)
JOBS = ("ingest", "build_interactions", "build_sequences", "publish")


def with_setting(domain: Domain, section: str, **values: object) -> Domain:
    """The domain with settings of a section changed, or without a change where they are the same."""
    data = domain.model_dump(mode="json")
    return Domain.model_validate({**data, section: {**data[section], **values}})


def attempt(job: str, number: int, domain: Domain, **changes: object) -> dict:
    """A ledger row of a week's successful attempt under a domain file."""
    start = FIRST + WEEK * number
    row = {"job": job, "start": start, "end": start + WEEK, "status": "succeeded", "outputs": {}, "counts": {}}
    return {**row, "settings": settings_hashes(domain, job), **changes}


@pytest.mark.parametrize(
    ("section", "values", "jobs"),
    [
        ("calendar", {"zone": "Asia/Tokyo"}, set(JOBS)),
        ("calendar", {"day_start": "05:00:00"}, set(JOBS)),
        ("calendar", {"session_gap": "45m"}, {"build_interactions"}),
        ("calendar", {"lateness": "3d"}, {"ingest"}),
        ("events", {"max_hours_per_day": 12}, {"ingest"}),
        ("interactions", {"finished_fraction": 0.5}, {"build_interactions"}),
        ("interactions", {"action_types": [{"name": "all", "when": "true"}]}, {"build_interactions"}),
        ("sequences", {"length": 7}, {"build_sequences"}),
        ("publishing", {"top_k": 3}, {"publish"}),
        ("source", {"options": {"data": "/elsewhere"}}, set()),
        ("gate", {"bootstrap": 7}, set()),
        ("quality", {"min_rows": 7}, set()),
    ],
)
def test_a_setting_makes_the_weeks_of_the_jobs_stale_that_it_decides(
    streaming: Domain, section: str, values: dict, jobs: set[str]
) -> None:
    rows = [attempt(job, number, streaming) for job in JOBS for number in range(2)]
    assert changed_weeks(rows, streaming) == set()
    now = with_setting(streaming, section, **values)
    assert changed_weeks(rows, now) == {(job, FIRST + WEEK * number) for job in jobs for number in range(2)}


def test_the_latest_successful_attempt_counts_and_an_old_ledger_is_not_judged(streaming: Domain) -> None:
    now = with_setting(streaming, "sequences", length=7)
    before, after = attempt("build_sequences", 0, streaming), attempt("build_sequences", 0, now)
    assert changed_weeks([before, after], now) == set()
    assert changed_weeks([before, {**after, "status": "failed"}], now) == {("build_sequences", FIRST)}
    assert changed_weeks([{**before, "settings": {}}], now) == set()


def test_weeks_of_another_calendar_before_a_run_stop_it(streaming: Domain) -> None:
    now = with_setting(streaming, "calendar", zone="Asia/Tokyo")
    rows = [attempt("ingest", number, streaming) for number in range(3)]
    require_one_calendar(rows, FIRST + WEEK * 3, streaming)
    command = r"make backfill FROM=2026-08-03 TO=2026-08-24 DOMAIN=streaming"
    with pytest.raises(PipelineError, match=rf"from 2026-08-03 to 2026-08-10 were ingested.*{command}"):
        require_one_calendar(rows, FIRST + WEEK * 2, now)
    # The rebuild begins with the first week. Then each week finds only weeks of its own calendar before it.
    for number in range(3):
        require_one_calendar(rows, FIRST + WEEK * number, now)
        rows.append(attempt("ingest", number, now))
