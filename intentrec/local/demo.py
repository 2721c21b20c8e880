"""The demo: make the data, execute the weekly DAG through Airflow, and print a summary."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from rich.table import Table

from intentrec.calendar import WEEK
from intentrec.config import ROOT, Calendar, Domain, Profile, load_domain
from intentrec.contracts import TABLES
from intentrec.errors import PipelineError
from intentrec.local import dags_test, processes, services
from intentrec.local.home import Home
from intentrec.local.progress import Progress
from intentrec.local.terminal import console, grid
from intentrec.monitoring.costs import REFUSED
from intentrec.monitoring.staleness import WRITES
from intentrec.reports import run_facts, run_page, trend_page
from intentrec.reports.run_facts import Facts
from intentrec.reports.run_page import METRICS, gate_recommendation
from intentrec.storage.runs import ledger, write_text
from intentrec.storage.warehouse import Fingerprint

Interval = tuple[date, date]  # service dates [start, end)


@dataclass(frozen=True)
class Schedule:
    """The DAG runs of the demo: the history as one range without training and publication, then ordinary weeks.

    Attributes:
        start: first service date.
        history_weeks: weeks of the history; may be 0.
        weekly_runs: ordinary weeks after the history.
    """

    start: date
    history_weeks: int
    weekly_runs: int

    @property
    def history(self) -> Interval | None:
        """The range that is loaded at once, if any."""
        return (self.start, self.start + WEEK * self.history_weeks) if self.history_weeks else None

    @property
    def weeks(self) -> list[Interval]:
        """The intervals of the weekly runs."""
        first = self.start + WEEK * self.history_weeks
        return [(first + WEEK * number, first + WEEK * (number + 1)) for number in range(self.weekly_runs)]

    @property
    def intervals(self) -> list[Interval]:
        """All intervals, in the order of their DAG runs."""
        return [*([self.history] if self.history else []), *self.weeks]


def history_weeks(calendar: Calendar) -> int:
    """Weeks that a demo on real data loads before its first weekly run: those without targets, and one to learn from.

    None where every week has targets: such data may be short.
    """
    return calendar.censored_weeks + 1 if calendar.censored_weeks else 0


def demo(home: Home, profile: Profile, config: Path, schedule: Schedule, simulate: bool) -> None:
    """Make the data, execute the weekly DAG over the schedule, and print the summary.

    Args:
        home: where the embedded services keep their state.
        profile: the runtime profile.
        config: the domain file.
        schedule: the DAG runs.
        simulate: whether to simulate the data; else they are in the domain's data folder.

    Raises:
        PipelineError: a step failed; the message says which, and has its last lines.
    """
    if simulate and not (ROOT / "simulator").is_dir():
        raise PipelineError(
            f"there is no folder simulator/ in {ROOT}, so no data can be simulated: give the demo a folder of real "
            "data with --data (make demo DATA=folder), or run it from a checkout of the project"
        )
    if processes.marked(services.up_marker(home)):
        raise PipelineError("Airflow and MLflow are up, and two Airflows would share one database: `make down` first")
    services.require_no_backfill(home)
    domain, dag = load_domain(config), dags_test.dag_of(config)
    began, progress = datetime.now(UTC), Progress()
    progress.say(f"preparing Airflow under {home.airflow}")
    with ThreadPoolExecutor(1) as pool:
        ready = pool.submit(home.prepare)
        if simulate:
            progress.say(f"simulating {schedule.start}..{schedule.intervals[-1][1]}")
            _simulate(home, config, schedule)
        ready.result()
    runs: list[tuple[date, dict]] = []
    for start, end in schedule.intervals:
        is_history = (start, end) == schedule.history
        runs.append(
            (end, {"start": str(start), "end": str(end), "train": False, "publish": False} if is_history else {})
        )
    progress.say(f"{dag}, one after the other: " + ", ".join(f"{start}..{end}" for start, end in schedule.intervals))
    dags_test.run(home, dag, runs, progress)
    progress.say("adding up the tables")
    checksums = table_checksums(config, home)
    changed = store_checksums(home, domain, checksums)
    show(home, profile, domain, schedule.intervals, began, checksums, changed)


def store_checksums(home: Home, domain: Domain, checksums: Mapping[str, Fingerprint]) -> list[str] | None:
    """Store the checksums for the next demo, and return the tables that differ from the last demo's; None at first."""
    file = home.path / "demo" / f"{domain.domain}-checksums.json"
    new = {name: [each.rows, each.checksum] for name, each in checksums.items()}
    old = json.loads(file.read_text()) if file.exists() else None
    write_text(file, json.dumps(new, indent=2) + "\n")
    return None if old is None else sorted(name for name in new | old if new.get(name) != old.get(name))


def _simulate(home: Home, config: Path, schedule: Schedule) -> None:
    command = [sys.executable, "-m", "simulator", "--config", str(config.resolve())]
    command += ["--start", str(schedule.start), "--end", str(schedule.intervals[-1][1])]
    environment = {**os.environ, "INTENTREC_HOME": str(home.path)}
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        raise PipelineError("the simulator failed; its message is above")


def table_checksums(config: Path, home: Home) -> dict[str, Fingerprint]:
    """Rows and checksum of every table but the ledger, computed by a separate process, because it starts Spark.

    Raises:
        PipelineError: that process failed.
    """
    command = [sys.executable, "-m", "intentrec.cli", "checksums", "--config", str(config)]
    environment = {**os.environ, "INTENTREC_HOME": str(home.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PipelineError(f"checksums of the tables failed:\n{done.stderr}")
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: Fingerprint(int(rows.replace(",", "")), checksum) for name, rows, checksum in lines}


def show(
    home: Home,
    profile: Profile,
    domain: Domain,
    intervals: Sequence[Interval],
    began: datetime,
    sums: Mapping[str, Fingerprint],
    changed: list[str] | None,
) -> None:
    """Print the summary of a demo.

    Args:
        home: where the embedded services keep their state.
        profile: the runtime profile.
        domain: the domain file.
        intervals: intervals of the DAG runs.
        began: when the demo began; earlier attempts are not shown.
        sums: rows and checksum by table.
        changed: tables that differ from the last demo's; None at first.
    """
    facts = [run_facts.collect(profile, domain, *interval) for interval in intervals]
    console.rule(f"{domain.domain}: {len(intervals)} runs of the weekly DAG")
    console.print(_tasks(profile, domain, facts, began))
    console.print(_rows_in(facts))
    console.print(_rows_out(facts, sums))
    for each in facts:
        if each.gate:
            console.print(_gate(each))
            console.print(*(f"  {reason}" for reason in each.gate.get("reasons", [])), sep="\n", markup=False)
    if changed is not None:
        same = "no table changed" if not changed else f"[red]changed: {', '.join(changed)}[/red]"
        console.print(f"\nCompared with the demo before: {same}.")
    console.print("\nWhere to look next")
    for each in facts:
        page = run_page.path(profile, domain, each.start, each.end)
        console.print(f"  report {each.start}..{each.end}  {page}")
    console.print(f"  trend           {trend_page.path(profile, domain)}")
    console.print(f"  tables          {profile.warehouse}/{domain.domain}; begin with `releases`")
    console.print(f"  pages           make up, then Airflow {home.airflow_url} and MLflow {home.mlflow_url}")
    console.print(f"  what is stale   intentrec status --config conf/{domain.domain}.yaml")


def _weeks(facts: Sequence[Facts]) -> list[str]:
    return [f"{each.start}..{each.end}" for each in facts]


def _tasks(profile: Profile, domain: Domain, facts: Sequence[Facts], began: datetime) -> Table:
    table = grid("What ran: seconds and outcome", "task", *_weeks(facts))
    rows = [row for row in ledger(profile, domain) if row["started_at"] >= began]
    for job in [*WRITES, "report"]:
        cells = []
        for each in facts:
            mine = [row for row in rows if (row["job"], row["start"], row["end"]) == (job, each.start, each.end)]
            cells.append(_seconds_and_status(mine[-1]) if mine else "not asked for")
        table.add_row(job, *cells)
    return table


def _seconds_and_status(row: Mapping) -> str:
    seconds = f"{row['seconds'] or 0:.1f}"
    return seconds if row["status"] == "succeeded" else f"{seconds} {row['status']}"


def _rows_in(facts: Sequence[Facts]) -> Table:
    table = grid("Rows in", "raw rows", *_weeks(facts))
    for key in (
        "events.read",
        "events.accepted",
        *(f"events.{outcome}" for outcome in REFUSED),
        "catalog.read",
        "catalog.quarantined",
    ):
        table.add_row(key, *(f"{each.counts.get(key, 0):,}" for each in facts))
    return table


def _rows_out(facts: Sequence[Facts], sums: Mapping[str, Fingerprint]) -> Table:
    table = grid("Rows out", "table", *_weeks(facts), "in the table", "checksum")
    for name in TABLES:
        if name in sums:
            written = (each.counts.get(f"{name}.rows") for each in facts)
            cells = ["" if rows is None else f"{rows:,}" for rows in written]
            table.add_row(name, *cells, f"{sums[name].rows:,}", sums[name].checksum)
    return table


def _gate(facts: Facts) -> Table:
    assert facts.gate is not None
    rows = facts.gate.get("rows", [])
    names = [name for name in METRICS if any(row.get(name) is not None for row in rows)]
    table = grid(f"Gate {facts.start}..{facts.end}: {gate_recommendation(facts.gate)}", "system", *names)
    for row in rows:
        values = [row.get(name) for name in names]
        table.add_row(
            row.get("label") or row["system"],
            *(
                "" if value is None else f"{value:,.0f}" if name == "users" else f"{value:.4f}"
                for name, value in zip(names, values, strict=True)
            ),
        )
    return table
