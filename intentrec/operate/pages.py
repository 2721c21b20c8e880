"""Tables on a terminal: a backfill's plan, and the state of every week."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from rich.table import Table

from intentrec.config import Domain
from intentrec.operate.lineage import DAY, WEEK, Plan
from intentrec.operate.terminal import console, grid

# The job that rebuilds each column's table: its staleness is the column's.
COLUMNS = {
    "engagement_events": "ingest",
    "quarantine": "ingest",
    "catalog": "ingest",
    "interactions": "build_interactions",
    "title_state": "build_interactions",
    "sequences": "build_sequences",
    "recommendations": "publish",
}
AS_OF = ("title_state", "sequences", "recommendations")


def plan(found: Plan, partitions: Mapping[str, Mapping[date, int]]) -> None:
    """Print a backfill's plan."""
    console.print(f"{len(found.intervals)} weekly runs, oldest first:")
    for start, end in found.intervals:
        console.print(f"  [{start}, {end})", markup=False)
    console.print(_partitions("Replaced (what exists of it)", found.rebuilt, partitions))
    if found.stale:
        console.print(_partitions("Stale afterwards, where rows change", found.stale, partitions))
    else:
        console.print("Nothing later becomes stale.")
    for warning in found.warnings:
        console.print(f"Warning: {warning}")


def status(
    domain: Domain,
    partitions: Mapping[str, Mapping[date, int]],
    stale: set[tuple[str, date]],
    releases: Sequence[Mapping],
) -> None:
    """Print rows by week and table; `*` marks what later changes made stale."""
    days = [day - DAY if table in AS_OF else day for table in COLUMNS for day in partitions.get(table, {})]
    if not days:
        console.print(f"{domain.domain}: no tables yet")
        return
    first, last = domain.calendar.history_start, max(days)
    table = grid(f"{domain.domain}: rows by week; * stale", "week", *COLUMNS, "release")
    week = first
    while week <= last:
        cells = [_cell(name, job, week, partitions, stale) for name, job in COLUMNS.items()]
        table.add_row(str(week), *cells, _release(week + WEEK, releases))
        week += WEEK
    console.print(table)


def _cell(
    name: str, job: str, week: date, partitions: Mapping[str, Mapping[date, int]], stale: set[tuple[str, date]]
) -> str:
    shift = DAY if name in AS_OF else 0 * DAY
    rows = sum(count for day, count in partitions.get(name, {}).items() if week + shift <= day < week + WEEK + shift)
    mark = "*" if (job, week) in stale else ""
    return f"{rows:,}{mark}" if rows else ""


def _release(as_of: date, releases: Iterable[Mapping]) -> str:
    mine = [row for row in releases if row["as_of"] == as_of]
    return ", ".join(f"model {row['model_version']}{' (active)' if row['active'] else ''}" for row in mine)


def _partitions(
    title: str, chosen: Mapping[str, Sequence[date]], partitions: Mapping[str, Mapping[date, int]]
) -> Table:
    table = grid(title, "table", "partitions", "from", "to", "rows")
    for name, days in chosen.items():
        held = sum(partitions.get(name, {}).get(day, 0) for day in days)
        table.add_row(name, str(len(days)), str(min(days)), str(max(days)), f"{held:,}" if held else "")
    return table
