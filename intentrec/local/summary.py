"""What a series of runs did, on one screen: tasks, rows in and out, the gate's table, checksums, where to look."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from rich.table import Table

from intentrec.config import Domain, Profile
from intentrec.contracts import TABLES
from intentrec.errors import PipelineError
from intentrec.local.home import Home
from intentrec.local.terminal import console, grid
from intentrec.reports import run_facts, trend_page
from intentrec.reports.run_facts import OUTCOMES, WRITES, Facts
from intentrec.reports.run_page import METRICS
from intentrec.storage.runs import ledger

Interval = tuple[date, date]


@dataclass(frozen=True)
class Sum:
    """Rows and order-free checksum of a table."""

    rows: int
    checksum: str


def checksums(config: Path, home: Home) -> dict[str, Sum]:
    """Rows and checksum of every table but the ledger, from a process of its own that starts Spark.

    Raises:
        PipelineError: that process failed.
    """
    command = [sys.executable, "-m", "intentrec.cli", "checksums", "--config", str(config)]
    environment = {**os.environ, "INTENTREC_HOME": str(home.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PipelineError(f"checksums of the tables failed:\n{done.stderr}")
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: Sum(int(rows.replace(",", "")), checksum) for name, rows, checksum in lines}


def show(
    home: Home,
    profile: Profile,
    domain: Domain,
    intervals: Sequence[Interval],
    began: datetime,
    sums: Mapping[str, Sum],
    changed: list[str] | None,
) -> None:
    """Print the summary of the runs over `intervals` since `began`; `changed` as `demo.remember` returns it."""
    facts = [run_facts.collect(profile, domain, *interval) for interval in intervals]
    console.rule(f"{domain.domain}: {len(intervals)} runs of the weekly DAG")
    console.print(_tasks(profile, domain, facts, began))
    console.print(_outcomes(facts))
    console.print(_tables(facts, sums))
    for each in facts:
        if each.gate:
            console.print(_gate(each))
            console.print(*(f"  {reason}" for reason in each.gate.get("reasons", [])), sep="\n", markup=False)
    if changed is not None:
        same = "no table changed" if not changed else f"[red]changed: {', '.join(changed)}[/red]"
        console.print(f"\nAgainst the run before: {same}.")
    console.print("\nWhere to look next")
    for each in facts:
        folder = run_facts.report_dir(profile, domain, each.start, each.end)
        console.print(f"  report {each.start}..{each.end}  {folder}/report.html")
    console.print(f"  trend           {trend_page.path(profile, domain)}")
    console.print(f"  tables          {profile.warehouse}/{domain.domain}; begin with `releases`")
    console.print(f"  pages           make up, then Airflow {home.airflow_url} and MLflow {home.mlflow_url}")
    console.print(f"  what is stale   .venv/bin/intentrec status --config conf/{domain.domain}.yaml")


def _weeks(facts: Sequence[Facts]) -> list[str]:
    return [f"{each.start}..{each.end}" for each in facts]


def _tasks(profile: Profile, domain: Domain, facts: Sequence[Facts], began: datetime) -> Table:
    table = grid("What ran: seconds and outcome", "task", *_weeks(facts))
    rows = [row for row in ledger(profile, domain) if row["started_at"] >= began]
    for job in [*WRITES, "report"]:
        cells = []
        for each in facts:
            mine = [row for row in rows if (row["job"], row["start"], row["end"]) == (job, each.start, each.end)]
            cells.append(_outcome(mine[-1]) if mine else "not asked for")
        table.add_row(job, *cells)
    return table


def _outcome(row: Mapping) -> str:
    seconds = f"{row['seconds'] or 0:.1f}"
    return seconds if row["status"] == "succeeded" else f"{seconds} {row['status']}"


def _outcomes(facts: Sequence[Facts]) -> Table:
    table = grid("Rows in", "raw rows", *_weeks(facts))
    for key in (
        "events.read",
        "events.accepted",
        *(f"events.{outcome}" for outcome in OUTCOMES),
        "catalog.read",
        "catalog.quarantined",
    ):
        table.add_row(key, *(f"{each.counts.get(key, 0):,}" for each in facts))
    return table


def _tables(facts: Sequence[Facts], sums: Mapping[str, Sum]) -> Table:
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
    table = grid(f"Gate {facts.start}..{facts.end}: {facts.gate['decision']}", "system", *names)
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
