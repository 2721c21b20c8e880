"""Inject faults into the pipeline and check that it recovers: `python -m tests.chaos crash` and `... outages`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from intentrec.config import home
from intentrec.errors import PipelineError
from intentrec.local import processes
from intentrec.local.progress import Progress
from tests.chaos import crash as jobs
from tests.chaos import outages as airflow
from tests.chaos.report import RESULTS, publish

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Seed = Annotated[int, typer.Option(help="of the simulated data and of the faults")]
Users = Annotated[int, typer.Option(help="of the simulated service")]
Out = Annotated[Path, typer.Option(help="folder of the page and its data")]


@app.callback(help=__doc__)
def _callback() -> None:
    processes.interruptible()


@app.command()
def crash(
    weeks: Annotated[int, typer.Option(help="weeks that are compared, after a first one without faults")] = 3,
    times: Annotated[int, typer.Option(help="number of faults")] = 100,
    seed: Seed = 1,
    users: Users = 40,
    out: Out = RESULTS,
) -> None:
    """Inject faults into the weekly jobs at random moments. Afterwards every table must be as without faults."""
    report = jobs.crash(home() / "crash" / f"{seed}-{times}", weeks, times, seed, users, Progress())
    options = f"--weeks {weeks} --times {times} --seed {seed} --users {users}"
    publish(report, "crash", f"python -m tests.chaos crash {options}", out)


@app.command()
def outages(
    weeks: Annotated[int, typer.Option(help="weeks of the DAG run")] = 3,
    times: Annotated[int, typer.Option(help="number of kills, each during another task")] = 6,
    seed: Seed = 1,
    users: Users = 40,
    out: Out = RESULTS,
) -> None:
    """Kill Airflow's scheduler and its tasks during a DAG run. Afterwards every table must be as without kills."""
    report = airflow.outages(home() / "outages" / f"{seed}-{times}", weeks, times, seed, users, Progress())
    options = f"--weeks {weeks} --times {times} --seed {seed} --users {users}"
    publish(report, "outages", f"python -m tests.chaos outages {options}", out)


if __name__ == "__main__":
    try:
        app(prog_name="python -m tests.chaos")
    except PipelineError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        sys.exit(1)
