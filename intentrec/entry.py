"""The command line of a job: the options that every job takes, its attempt, its exit status, and its run page.

A job module holds one function with typer options, opens its attempt with `job` and ends with `main`. This module is
part of the package, not of jobs/: `spark-submit jobs/NAME.py` can import only what is installed.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from intentrec import logging
from intentrec.config import OWN
from intentrec.errors import PipelineError, Skip, explained
from intentrec.storage.runs import Run, attempt
from intentrec.storage.stages import stage_progress

SKIPPED = 99  # exit status that Airflow's BashOperator maps to a skipped task

Start = Annotated[
    date, typer.Option(parser=date.fromisoformat, metavar="YYYY-MM-DD", help="first service date", show_default=False)
]
End = Annotated[date, typer.Option(parser=date.fromisoformat, metavar="YYYY-MM-DD", help="service date after the last")]
Config = Annotated[Path, typer.Option(help="domain file, such as conf/streaming.yaml")]
ProfileFile = Annotated[
    Path | None, typer.Option(help="profile file; default: INTENTREC_PROFILE or conf/profiles/local.yaml")
]


@contextmanager
def job(name: str, start: date, end: date, config: Path, profile: Path | None = None) -> Iterator[Run]:
    """Open an attempt of a job over the service dates [start, end), and end it as Airflow expects.

    The attempt is recorded in the run ledger. Then the interval's run page is written, also after a failure.

    Args:
        name: the job's name in the ledger and in its lines.
        start: first service date.
        end: service date after the last.
        config: the domain file.
        profile: the profile file; None for the default.

    Raises:
        SystemExit: status 99 if the job had nothing to do, status 1 if it failed. The error is printed before.
    """
    log, run = logging.JobLog(name, start, end), None
    try:
        with attempt(name, start, end, config, profile) as run, stage_progress(run.say):
            log = run.log
            yield run
    except Skip:
        _write_page(run)
        sys.exit(SKIPPED)
    except PipelineError as error:
        _write_page(run)
        log.write(str(error), logging.ERROR)
        sys.exit(1)
    except Exception as error:
        trace = traceback.format_exc()
        _write_page(run)
        log.write(explained(error) or logging.UNEXPECTED, logging.ERROR, trace)
        sys.exit(1)
    _write_page(run)


def _write_page(run: Run | None) -> None:
    """Write the page of the run's interval and print its path.

    The tables and the ledger are complete at this point. So if the page cannot be written, the job prints a warning and
    keeps its exit status and its own error.
    """
    if run is None or run.job == "report":  # that job writes the page itself
        return
    try:
        from intentrec.reports import run_page  # imported late, so that a job starts sooner

        page = run_page.render(run.profile, run.domain, run.start, run.end)
    except Exception as error:
        run.warn(f"the run page is not written: {type(error).__name__}: {error}; jobs.report writes it again")
    else:
        run.say(f"run page: {page}")


def application(function: Callable[..., None], doc: str | None) -> typer.Typer:
    """The command line of a job's function.

    Args:
        function: its parameters are typer options; the first four are `Start`, `End`, `Config` and `ProfileFile`.
        doc: what `--help` shows.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=doc)(function)
    return app


def main(function: Callable[..., None], doc: str | None) -> None:
    """Run a job's function with the options of this process's command line, and exit."""
    os.umask(OWN)
    application(function, doc)()
