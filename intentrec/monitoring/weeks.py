"""What is known of every week: rows, outcomes of raw rows, profiles, freshness, audits and drift.

Read from Delta logs, `feature_profiles`, the run ledger and the report folders: no Spark, and no row of a user.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from deltalake import DeltaTable

from intentrec.calendar import day_start_of, week_start_of
from intentrec.config import Domain, Profile, seconds
from intentrec.contracts import FEATURE_PROFILES, INTERACTIONS, TABLES
from intentrec.interactions.weeks import WEEK
from intentrec.monitoring.drift import Counts, Drift, drift
from intentrec.storage import delta
from intentrec.storage.runs import ledger

SHOWN = 52  # weeks of a trend at most
DAY = timedelta(days=1)
EVENTS, REASON = "events.", "quarantine.reason."
BUILT_BY = "build_sequences"  # the job after which a week's tables are complete

Profiles = Mapping[str, Mapping[str, Counts]]  # by table and feature


@dataclass(frozen=True)
class Week:
    """One week of service dates. What was never recorded is missing or None."""

    start: date
    rows: Mapping[str, int] = field(default_factory=dict)  # of its partitions, by table
    counts: Mapping[str, int] = field(default_factory=dict)  # of the latest good ingestion
    counted: tuple[date, date] | None = None  # the interval of that ingestion: a range's weeks share its counts
    profiles: Profiles = field(default_factory=dict)
    delay: timedelta | None = None  # from the moment its rows were due to its tables' first completion
    failed: int | None = None  # critical expectations
    warned: int | None = None
    drift: Sequence[Drift] = ()
    page: str | None = None  # of its run, relative to the domain's reports

    @property
    def end(self) -> date:
        """The service date after its last."""
        return self.start + WEEK


@dataclass(frozen=True)
class Newest:
    """The newest partition of a table, and how many weeks lie between its week and the latest that was due."""

    table: str
    partition: date
    behind: int


def collect(profile: Profile, domain: Domain) -> list[Week]:
    """All weeks from the first to the last that left a trace anywhere, oldest first, at most SHOWN of them."""
    rows, attempts = _rows(profile, domain), ledger(profile, domain)
    spans = [(row["start"], row["end"]) for row in attempts if _was_there(row)]
    found = {week_start_of(day, domain.calendar) for span in spans for day in _days(*span)}
    found |= {day for of_table in rows.values() for day in of_table}
    if not found:
        return []
    chosen = _days(min(found), max(found) + WEEK)[-SHOWN:]
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
                page=f"{folder.name}/report.html" if folder and (folder / "report.html").exists() else None,
            )
        )
    return weeks


def newest(profile: Profile, domain: Domain, now: datetime) -> list[Newest]:
    """The newest partition of every table that has one; `now` says which week was due last."""
    late = timedelta(seconds=seconds(domain.calendar.lateness))
    due = week_start_of(now.astimezone(UTC).date(), domain.calendar)
    while day_start_of(due + WEEK, domain.calendar) + late > now:
        due -= WEEK
    found = []
    for name, days in delta.rows_by_partition(profile, domain).items():
        if days:
            last = max(days)
            found.append(Newest(name, last, max((due - _week_of(name, last, domain)) // WEEK, 0)))
    return found


def read_profiles(profile: Profile, domain: Domain, start: date, end: date) -> dict[date, Profiles]:
    """`feature_profiles` of the weeks in [start, end): by week, table and feature; empty where it does not exist."""
    path = f"{profile.warehouse}/{domain.domain}/{FEATURE_PROFILES.name}"
    if not DeltaTable.is_deltatable(path):
        return {}
    inside = (pc.field("week") >= start) & (pc.field("week") < end)
    found: dict[date, dict[str, dict[str, dict]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for row in DeltaTable(path).to_pyarrow_table(filters=inside).to_pylist():
        found[row["week"]][row["table_name"]][row["feature"]][row["kind"], row["value"]] = row["rows"]
    return {week: dict(of_week) for week, of_week in found.items()}


def _was_there(attempt: Mapping[str, Any]) -> bool:
    """Whether its interval had begun: a year that was mistyped is no week of the trend."""
    return attempt["start"] <= attempt["started_at"].date()


def _rows(profile: Profile, domain: Domain) -> dict[str, dict[date, int]]:
    """Rows of every table by week; releases and attempts count for the week that ends where they do."""
    dated = {name: list(days.items()) for name, days in delta.rows_by_partition(profile, domain).items()}
    dated["releases"] = [(row["as_of"], 1) for row in delta.releases(profile, domain)]
    dated["run_ledger"] = [(row["end"], 1) for row in ledger(profile, domain) if _was_there(row)]
    found = {}
    for name in TABLES:
        of_table: dict[date, int] = defaultdict(int)
        for day, rows in dated[name]:
            of_table[_week_of(name, day, domain)] += rows
        found[name] = dict(of_table)
    return found


def _week_of(table: str, day: date, domain: Domain) -> date:
    """The week of a partition: a snapshot belongs to the week that ends with it."""
    inside = TABLES[table].partition in ("event_date", "snapshot_date", "week")
    return week_start_of(day if inside else day - DAY, domain.calendar)


def _days(start: date, end: date) -> list[date]:
    return [start + WEEK * number for number in range((end - start) // WEEK)]


def _covering(attempts: Iterable[Mapping[str, Any]], job: str, week: date) -> list[Mapping[str, Any]]:
    good = [row for row in attempts if row["job"] == job and row["status"] == "succeeded"]
    return [row for row in good if row["start"] <= week and week + WEEK <= row["end"]]


def _latest(attempts: Iterable[Mapping[str, Any]], job: str, week: date) -> Mapping[str, Any] | None:
    found = _covering(attempts, job, week)
    return found[-1] if found else None


def _delay(attempts: Iterable[Mapping[str, Any]], week: date, domain: Domain) -> timedelta | None:
    """From the end of the week and its lateness until its tables were complete for the first time."""
    found = _covering(attempts, BUILT_BY, week)
    if not found:
        return None
    due = day_start_of(week + WEEK, domain.calendar) + timedelta(seconds=seconds(domain.calendar.lateness))
    return min(row["started_at"] + timedelta(seconds=row["seconds"]) for row in found) - due


def _folders(root: Path) -> dict[tuple[date, date], Path]:
    """Report folders of the domain by interval."""
    found = {}
    for folder in sorted(root.glob("*_*")):
        try:
            start, end = (date.fromisoformat(part) for part in folder.name.split("_"))
        except ValueError:
            continue  # not a report of ours
        found[start, end] = folder
    return found


def _own_folder(folders: Mapping[tuple[date, date], Path], week: date) -> Path | None:
    """The folder of the week's run: the shortest interval that holds it."""
    holding = [(end - start, path) for (start, end), path in folders.items() if start <= week and week + WEEK <= end]
    return min(holding)[1] if holding else None


def _audits(folder: Path | None) -> tuple[int | None, int | None]:
    """Expectations that failed critically, and those that warned."""
    files = sorted((folder / "audits").glob("*.json")) if folder else []
    if not files:
        return None, None
    findings = [each for file in files for each in json.loads(file.read_text("utf-8"))["findings"]]
    critical = sum(each["critical"] for each in findings)
    return critical, sum(not each["success"] for each in findings) - critical
