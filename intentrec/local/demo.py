"""The demo: data, then the weekly DAG through Airflow, then what came of it."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from intentrec.calendar import WEEK
from intentrec.config import Domain, Profile, load_domain
from intentrec.errors import PipelineError
from intentrec.local import processes, services, summary, weekly
from intentrec.local.home import Home
from intentrec.local.progress import Progress
from intentrec.storage import files


@dataclass(frozen=True)
class Schedule:
    """What the demo runs: the history as one range that neither trains nor publishes, then ordinary weeks."""

    start: date
    history_weeks: int
    weekly_runs: int

    @property
    def history(self) -> tuple[date, date] | None:
        """The range loaded at once, if any."""
        return (self.start, self.start + WEEK * self.history_weeks) if self.history_weeks else None

    @property
    def weeks(self) -> list[tuple[date, date]]:
        """The intervals of the weekly runs."""
        first = self.start + WEEK * self.history_weeks
        return [(first + WEEK * number, first + WEEK * (number + 1)) for number in range(self.weekly_runs)]

    @property
    def intervals(self) -> list[tuple[date, date]]:
        """All of them in the order they run."""
        return [*([self.history] if self.history else []), *self.weeks]


def demo(home: Home, profile: Profile, config: Path, schedule: Schedule, simulate: bool) -> None:
    """Run it all and print the summary.

    Raises:
        PipelineError: a step failed; the message says which, and ends with what it said.
    """
    if processes.marked(services.up_marker(home)):
        raise PipelineError("Airflow and MLflow are up, and two Airflows would share one database: `make down` first")
    services.require_no_backfill(home)
    domain, dag = load_domain(config), weekly.dag_of(config)
    began, progress = datetime.now(UTC), Progress()
    progress.say(f"preparing Airflow under {home.airflow}")
    with ThreadPoolExecutor(1) as beside:
        ready = beside.submit(home.prepare)
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
    weekly.run(home, dag, runs, progress)
    progress.say("adding up the tables")
    checksums = summary.checksums(config, home)
    changed = remember(home, domain, checksums)
    summary.show(home, profile, domain, schedule.intervals, began, checksums, changed)


def remember(home: Home, domain: Domain, checksums: dict) -> list[str] | None:
    """Keep the checksums for the next run. Returns the tables that differ from the last one's; None at first."""
    file = home.path / "demo" / f"{domain.domain}-checksums.json"
    new = {name: [each.rows, each.checksum] for name, each in checksums.items()}
    old = json.loads(file.read_text()) if file.exists() else None
    files.write(file, json.dumps(new, indent=2) + "\n")
    return None if old is None else sorted(name for name in new | old if new.get(name) != old.get(name))


def _simulate(home: Home, config: Path, schedule: Schedule) -> None:
    command = [sys.executable, "-m", "simulator", "--config", str(config)]
    command += ["--start", str(schedule.start), "--end", str(schedule.intervals[-1][1])]
    if subprocess.run(command, env={**os.environ, "INTENTREC_HOME": str(home.path)}, check=False).returncode:
        raise PipelineError("the simulator failed; what it said stands above")
