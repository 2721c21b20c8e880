"""Tables on a terminal: a backfill's plan, what a week cost, the state of every week, the effect of changed rules."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from rich import box
from rich.console import Console
from rich.table import Table

from intentrec.calendar import DAY, WEEK
from intentrec.config import Domain
from intentrec.contracts import TABLES
from intentrec.interactions.preview import Shift
from intentrec.logging import SHORT_ID
from intentrec.monitoring.costs import Cost, Estimate
from intentrec.monitoring.staleness import WRITES, Plan
from intentrec.monitoring.unfinished import Unfinished
from intentrec.registry.releases import is_of_model
from intentrec.storage.runs import Run

# Tables that `status` shows.
SHOWN = (
    "engagement_events",
    "quarantine",
    "catalog",
    "interactions",
    "title_state",
    "sequences",
    "recommendations",
)
OPTIONAL = ("quarantine", "catalog", "recommendations")  # a week may have no rows of these
WRITER = {table: job for job, tables in WRITES.items() for table in tables}
WIDTH = 200  # of output to a file, so that no column is cut
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)


def grid(title: str, *columns: str) -> Table:
    """A titled table whose columns after the first hold numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def plan(
    found: Plan, partitions: Mapping[str, Mapping[date, int]], cost: Estimate, publish: bool, activate: bool
) -> None:
    """Print the plan of a backfill.

    Args:
        found: its weeks, and the partitions that it replaces and makes stale.
        partitions: rows that exist now, by table and partition date.
        cost: the estimated seconds of its jobs.
        publish: whether it publishes its weeks.
        activate: whether a published release may become the active one.
    """
    console.print(f"Weeks to rebuild: {len(found.intervals)}, oldest first")
    for start, end in found.intervals:
        console.print(f"  [{start}, {end})", markup=False)
    console.print(_partitions("Replaced (what exists now)", found.rebuilt, partitions))
    if found.stale:
        console.print(_partitions("Stale afterwards, where rows change", found.stale, partitions))
    else:
        console.print("Nothing later becomes stale.")
    rows = sum(partitions.get(table, {}).get(day, 0) for table, days in found.rebuilt.items() for day in days)
    each = ", ".join(f"{job} {seconds / 60:.1f}" for job, seconds in cost.seconds.items())
    console.print(
        f"Estimate: {rows:,} rows rewritten, {cost.minutes:.0f} minutes ({each or 'no job has run yet'}), from the "
        "median of earlier attempts; scheduling comes on top."
    )
    if cost.unknown:
        console.print(f"Not in the estimate, because they never succeeded here: {', '.join(cost.unknown)}.")
    if publish:
        active = "becomes the active one, unless one of a later date is active" if activate else "stays inactive"
        console.print(f"Each week is published. Its release {active}{'' if activate else ' (see --activate)'}.")
    else:
        days = ", ".join(str(day) for day in found.stale.get("releases", [])) or "none later"
        console.print(f"Nothing is published: the releases keep the rows that they name. Stale releases as of: {days}.")
    for warning in found.warnings:
        console.print(f"Warning: {warning}")


def week_costs(domain: Domain, week: date, costs: Sequence[Cost]) -> None:
    """Print the attempts over a week: seconds, tables read and written, rows refused."""
    if not costs:
        console.print(f"{domain.domain}: no attempt over the week of {week} is in the ledger")
        return
    table = grid(
        f"{domain.domain}: week of {week}", "job", "run", "interval", "status", "seconds", "read", "written", "refused"
    )
    for cost in costs:
        table.add_row(
            cost.job,
            cost.run_id[:SHORT_ID],
            f"{cost.start}..{cost.end}",
            cost.status,
            "" if cost.seconds is None else f"{cost.seconds:.1f}",
            "\n".join(f"{name} v{version}" for name, version in cost.read.items()),
            "\n".join(_written(name, version, cost.rows.get(name)) for name, version in cost.written.items()),
            "\n".join(f"{count:,} {name}" for name, count in cost.refused.items()),
        )
    console.print(table)
    for cost in costs:
        if cost.airflow_task:
            console.print(f"{cost.job} {cost.run_id[:SHORT_ID]}: Airflow's {cost.airflow_task}", markup=False)
        if cost.message:
            console.print(f"{cost.job} {cost.status}: {cost.message.splitlines()[0]}", markup=False)


def _written(name: str, version: int, rows: int | None) -> str:
    return f"{name} v{version}" + ("" if rows is None else f": {rows:,} rows")


def status(
    domain: Domain,
    partitions: Mapping[str, Mapping[date, int]],
    stale: set[tuple[str, date]],
    refused: set[tuple[str, date]],
    releases: Sequence[Mapping],
    unfinished: Sequence[Unfinished] = (),
) -> None:
    """Print rows by week and table: `*` stale, `!` the last attempt was refused, `-` missing. Then open attempts.

    A release is optional, so a missing one is not marked.

    Args:
        domain: the domain file.
        partitions: rows by table and partition date.
        stale: pairs of job and week, from `staleness.stale_weeks`.
        refused: pairs of job and week, from `staleness.refused_weeks`.
        releases: rows of the table `releases`.
        unfinished: attempts without an end, which are listed below the table.
    """
    _rows_by_week(domain, partitions, stale, refused, releases)
    for each in unfinished:
        row = each.attempt
        console.print(
            f"{row['status']}: {row['job']} [{row['start']}, {row['end']}), run {row['run_id'][:SHORT_ID]}, begun "
            f"{each.age.total_seconds() / 3600:.1f} h ago: {each.about}",
            markup=False,
        )


def _rows_by_week(
    domain: Domain,
    partitions: Mapping[str, Mapping[date, int]],
    stale: set[tuple[str, date]],
    refused: set[tuple[str, date]],
    releases: Sequence[Mapping],
) -> None:
    days = [day - _shift(name) for name in SHOWN for day in partitions.get(name, {})]
    days += [week for _, week in refused]
    if not days:
        console.print(f"{domain.domain}: no tables yet")
        return
    first, last = domain.calendar.history_start, max(days)
    table = grid(
        f"{domain.domain}: rows by week; * stale (an input changed since), ! last run refused, - missing",
        "week",
        *SHOWN,
        "release",
    )
    week = first
    while week <= last:
        cells = [_cell(name, week, partitions, stale, refused) for name in SHOWN]
        table.add_row(str(week), *cells, _release(week + WEEK, releases))
        week += WEEK
    console.print(table)


def _shift(name: str) -> timedelta:
    """From a date of a week to its partition date: a snapshot is dated the day after."""
    return DAY if TABLES[name].partition == "as_of" else timedelta(0)


def _cell(
    name: str,
    week: date,
    partitions: Mapping[str, Mapping[date, int]],
    stale: set[tuple[str, date]],
    refused: set[tuple[str, date]],
) -> str:
    shift, job = _shift(name), WRITER[name]
    rows = sum(count for day, count in partitions.get(name, {}).items() if week + shift <= day < week + WEEK + shift)
    mark = ("*" if (job, week) in stale else "") + ("!" if (job, week) in refused else "")
    nothing = "" if name in OPTIONAL else "-"
    return f"{rows:,}{mark}" if rows else f"{nothing}{mark}"


def _release(as_of: date, releases: Iterable[Mapping]) -> str:
    mine = [row for row in releases if row["as_of"] == as_of]
    return ", ".join(f"{_made_by(row)}{' (active)' if row['active'] else ''}" for row in mine)


def _made_by(release: Mapping) -> str:
    return f"model {release['model_version']}" if is_of_model(release) else release["model_name"]


def rules_preview(found: Shift, run: Run) -> None:
    """Print how changed rules shift the labels: the share of each label, then the changes from label to label."""
    before, after = found.before, found.after
    title = f"{run.domain.domain} [{run.start}, {run.end}): action types"
    shares = grid(title, "label", "stored", "share", "tried", "share", "shift")
    for label in sorted(before.keys() | after.keys(), key=lambda name: (-before[name], name)):
        then, now = before[label] / max(1, before.total()), after[label] / max(1, after.total())
        shares.add_row(
            label, f"{before[label]:,}", f"{then:.1%}", f"{after[label]:,}", f"{now:.1%}", f"{100 * (now - then):+.1f}"
        )
    console.print(shares)
    moved = {pair: count for pair, count in found.labels.items() if pair[0] != pair[1]}
    if not moved:
        console.print("No interaction would get another label.")
    else:
        table = grid("Interactions that change", "from", "to", "rows")
        for (then_label, now_label), count in sorted(moved.items(), key=lambda item: -item[1]):
            table.add_row(then_label, now_label, f"{count:,}")
        console.print(table)
    gained, lost = found.targets.get((False, True), 0), found.targets.get((True, False), 0)
    console.print(f"Targets: {gained:,} gained, {lost:,} lost. Nothing was written.")


def _partitions(
    title: str, chosen: Mapping[str, Sequence[date]], partitions: Mapping[str, Mapping[date, int]]
) -> Table:
    table = grid(title, "table", "partitions", "from", "to", "rows")
    for name, days in chosen.items():
        rows = sum(partitions.get(name, {}).get(day, 0) for day in days)
        table.add_row(name, str(len(days)), str(min(days)), str(max(days)), f"{rows:,}" if rows else "")
    return table
