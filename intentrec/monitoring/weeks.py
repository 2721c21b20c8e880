"""The facts of every week of a domain: row counts, outcomes of raw rows, profiles, freshness, audits and drift.

They come from Delta logs, `feature_profiles`, the run ledger and the report folders. No Spark starts, and no row of a
user is read.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from intentrec.calendar import DAY, WEEK, due_at, week_start_of, weeks_between
from intentrec.config import Domain, Profile
from intentrec.contracts import INTERACTIONS, TABLES
from intentrec.monitoring.drift import Drift, Profiles, drift, read_profiles
from intentrec.storage import delta
from intentrec.storage.runs import REPORT_PAGE, ledger

SHOWN = 52  # weeks of a trend, at most
EVENTS, REASON = "events.", "quarantine.reason."  # how the counts of an ingestion begin
BUILT_BY = "build_sequences"  # the job that completes a week's tables


@dataclass(frozen=True)
class Week:
    """One week of service dates. What was never recorded is missing or None.

    Attributes:
        start: its first service date.
        rows: rows of the week's partitions, by table.
        counts: counts of the latest successful ingestion that covered the week.
        counted: the interval of that ingestion. The weeks of a longer interval share its counts.
        profiles: value counts by table and feature.
        delay: time from the moment the week's rows were due until its tables were first complete.
        failed: critical expectations that failed.
        warned: other expectations that failed.
        drift: the model inputs compared with their training window.
        page: the run page, relative to the domain's report folder.
    """

    start: date
    rows: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    counted: tuple[date, date] | None = None
    profiles: Profiles = field(default_factory=dict)
    delay: timedelta | None = None
    failed: int | None = None
    warned: int | None = None
    drift: Sequence[Drift] = ()
    page: str | None = None

    @property
    def end(self) -> date:
        """The service date after the week's last one."""
        return self.start + WEEK


@dataclass(frozen=True)
class Newest:
    """The newest partition of a table; `behind` counts the weeks from its week to the latest week that was due."""

    table: str
    partition: date
    behind: int


def collect(profile: Profile, domain: Domain) -> list[Week]:
    """All weeks from the first to the last with rows or an attempt, oldest first; the latest SHOWN of them."""
    rows, attempts = _rows(profile, domain), ledger(profile, domain)
    spans = [(row["start"], row["end"]) for row in attempts if _had_begun(row)]
    found = {week_start_of(day, domain.calendar) for span in spans for day in weeks_between(*span)}
    found |= {day for of_table in rows.values() for day in of_table}
    if not found:
        return []
    chosen = weeks_between(min(found), max(found) + WEEK)[-SHOWN:]
    profiles = read_profiles(profile, domain, chosen[0] - WEEK * domain.training.weeks, chosen[-1] + WEEK)
    of_interactions = {week: of_week.get(INTERACTIONS.name, {}) for week, of_week in profiles.items()}
    folders = _folders(Path(profile.reports) / domain.domain)
    weeks = []
    for start in chosen:
        ingested = _latest(attempts, "ingest", start)
        folder = _own_folder(folders, start)
        failed, warned = _audits(folder)
        weeks.append(
            Week(
                start=start,
                rows={table: of_table[start] for table, of_table in rows.items() if start in of_table},
                counts=ingested["counts"] if ingested else {},
                counted=(ingested["start"], ingested["end"]) if ingested else None,
                profiles=profiles.get(start, {}),
                delay=_delay(attempts, start, domain),
                failed=failed,
                warned=warned,
                drift=drift(start, of_interactions, domain) if start in profiles else (),
                page=f"{folder.name}/{REPORT_PAGE}" if folder and (folder / REPORT_PAGE).exists() else None,
            )
        )
    return weeks


def newest(profile: Profile, domain: Domain, now: datetime) -> list[Newest]:
    """The newest partition of every table that has one. `now` (aware) decides which week was due last."""
    due = week_start_of(now.astimezone(UTC).date(), domain.calendar)
    while due_at(due + WEEK, domain.calendar) > now:
        due -= WEEK
    found = []
    for name, days in delta.rows_by_partition(profile, domain).items():
        if days:
            last = max(days)
            found.append(Newest(name, last, max((due - _week_of(name, last, domain)) // WEEK, 0)))
    return found


def _had_begun(attempt: Mapping[str, Any]) -> bool:
    """Whether the attempt's interval had begun. It had not where someone mistyped the year."""
    return attempt["start"] <= attempt["started_at"].date()


def _rows(profile: Profile, domain: Domain) -> dict[str, dict[date, int]]:
    """Rows of every table by week. Releases and attempts count for the week that ends on their date."""
    dated = {name: list(days.items()) for name, days in delta.rows_by_partition(profile, domain).items()}
    dated["releases"] = [(row["as_of"], 1) for row in delta.releases(profile, domain)]
    dated["run_ledger"] = [(row["end"], 1) for row in ledger(profile, domain) if _had_begun(row)]
    found = {}
    for name in TABLES:
        of_table: dict[date, int] = defaultdict(int)
        for day, rows in dated[name]:
            of_table[_week_of(name, day, domain)] += rows
        found[name] = dict(of_table)
    return found


def _week_of(table: str, day: date, domain: Domain) -> date:
    """The week of a partition. A snapshot belongs to the week that ends on its date."""
    inside = TABLES[table].partition in ("event_date", "snapshot_date", "week")
    return week_start_of(day if inside else day - DAY, domain.calendar)


def _covering(attempts: Iterable[Mapping[str, Any]], job: str, week: date) -> list[Mapping[str, Any]]:
    good = [row for row in attempts if row["job"] == job and row["status"] == "succeeded"]
    return [row for row in good if row["start"] <= week and week + WEEK <= row["end"]]


def _latest(attempts: Iterable[Mapping[str, Any]], job: str, week: date) -> Mapping[str, Any] | None:
    found = _covering(attempts, job, week)
    return found[-1] if found else None


def _delay(attempts: Iterable[Mapping[str, Any]], week: date, domain: Domain) -> timedelta | None:
    """Time from the week's due moment (its end plus the lateness) until its tables were first complete."""
    found = _covering(attempts, BUILT_BY, week)
    if not found:
        return None
    due = due_at(week + WEEK, domain.calendar)
    return min(row["started_at"] + timedelta(seconds=row["seconds"]) for row in found) - due


def _folders(root: Path) -> dict[tuple[date, date], Path]:
    """Report folders of the domain by interval."""
    found = {}
    for folder in sorted(root.glob("*_*")):
        try:
            start, end = (date.fromisoformat(part) for part in folder.name.split("_"))
        except ValueError:
            continue  # not an interval's folder
        found[start, end] = folder
    return found


def _own_folder(folders: Mapping[tuple[date, date], Path], week: date) -> Path | None:
    """The report folder of the shortest interval that contains the week."""
    holding = [(end - start, path) for (start, end), path in folders.items() if start <= week and week + WEEK <= end]
    return min(holding)[1] if holding else None


def _audits(folder: Path | None) -> tuple[int | None, int | None]:
    """Numbers of expectations that failed critically and of those that warned; None without an audit."""
    files = sorted((folder / "audits").glob("*.json")) if folder else []
    if not files:
        return None, None
    findings = [each for file in files for each in json.loads(file.read_text("utf-8"))["findings"]]
    critical = sum(each["critical"] for each in findings)
    return critical, sum(not each["success"] for each in findings) - critical
