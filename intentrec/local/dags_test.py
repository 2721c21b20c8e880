"""Execute a weekly DAG with `airflow dags test`, in this terminal and without a scheduler.

Airflow takes ten seconds to start, so one process makes several DAG runs:

    python -m intentrec.local.dags_test DAG DATE CONF [DATE CONF ...]
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from intentrec.config import domain_folder
from intentrec.errors import PipelineError
from intentrec.local import processes
from intentrec.local.home import Home
from intentrec.local.progress import Progress


def dag_of(config: Path) -> str:
    """The weekly DAG of a domain file.

    Raises:
        PipelineError: it has none, because the file is not in the folder of the domain files.
    """
    folder = domain_folder()
    if config.resolve().parent != folder:
        raise PipelineError(f"{config}: Airflow has a weekly DAG only for files of {folder}: put it there")
    return f"intentrec_weekly_{config.stem}"


def run(home: Home, dag: str, runs: Sequence[tuple[date, dict]], progress: Progress) -> None:
    """Make one DAG run per entry of `runs`, in order, and print the lines of the jobs.

    A DAG run is dated Monday 01:00, an hour into the next week. The scheduled or backfilled run of that week is dated
    midnight, and a second run of the same date would replace its record.

    Args:
        home: where the embedded services keep their state.
        dag: id of the weekly DAG.
        runs: the end of each week, and the parameters of its DAG run, which may name another range.
        progress: prints the lines.

    Raises:
        PipelineError: a task failed; the message has its last lines. Later DAG runs were not begun.
    """
    log = home.logs / f"{dag}_{runs[-1][0]}.jsonl"
    command = [sys.executable, "-m", "intentrec.local.dags_test", dag]
    for end, conf in runs:
        command += [f"{end}T01:00:00+00:00", json.dumps(conf)]
    environment = home.environment() | {"INTENTREC_RETRIES": "0"}
    progress.tail.clear()
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                progress.feed(line)
            status = process.wait()
        except BaseException:
            processes.stop_tree(process.pid)
            raise
    if status:
        lines = progress.last_lines() or "    (no job printed a line)"
        raise PipelineError(f"run of {dag} failed. Its last lines:\n{lines}\nWhole log: {log}")


def main(dag: str, *runs: str) -> None:
    """Make a DAG run for each pair of a date and JSON parameters, in this process, until one fails."""
    from airflow.cli import cli_parser

    parser = cli_parser.get_parser()
    for moment, conf in zip(runs[::2], runs[1::2], strict=True):
        arguments = parser.parse_args(["dags", "test", dag, moment, "--conf", conf])
        arguments.func(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
