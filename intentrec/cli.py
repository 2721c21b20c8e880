"""What people type: `intentrec --help`. Jobs are `python -m jobs.<job>`; this is everything around them."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from intentrec.config import ROOT, load_domain, load_profile
from intentrec.config import home as home_path
from intentrec.errors import PipelineError
from intentrec.local.home import Home

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Config = Annotated[Path, typer.Option(help="domain file")]
STREAMING = Path("conf/streaming.yaml")


@app.callback(help=__doc__)
def _interruptible() -> None:
    """A closed terminal and a polite kill end a command as Ctrl-C does: what it started is stopped, what it moved is
    moved back."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(name, signal.default_int_handler)


rules_app = typer.Typer(help="Action-type rules of a domain file.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")


def _command(function: Callable[..., Any], of: typer.Typer = app) -> Callable[..., Any]:
    """Register a command; an error that a user can act on is printed without a traceback, and ends with status 1."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except PipelineError as error:
            print(f"FAILED: {error}", file=sys.stderr)
            raise typer.Exit(1) from error

    return of.command()(run)


@_command
def demo(
    config: Config = STREAMING,
    data: Annotated[Path | None, typer.Option(help="folder of real data; without it, data is simulated")] = None,
    history: Annotated[int | None, typer.Option(help="weeks loaded as one range; default 6 simulated, 0 real")] = None,
    weeks: Annotated[int, typer.Option(help="weekly runs after them")] = 2,
) -> None:
    """Run the weekly DAG through Airflow, on simulated data or on a folder of real data."""
    from intentrec.local import demo as demos

    if data is not None:
        if not data.is_dir():
            raise PipelineError(f"--data {data}: no such folder")
        os.environ["INTENTREC_DATA"] = str(data.resolve())
    range_weeks = (6 if data is None else 0) if history is None else history
    schedule = demos.Schedule(load_domain(config).calendar.history_start, range_weeks, weeks)
    demos.demo(Home.here(), load_profile(), config, schedule, simulate=data is None)


@_command
def experiments(
    study: Annotated[str, typer.Argument(help="a file of conf/studies, without its ending")],
    system: Annotated[list[str], typer.Option(help="train only these now; default: all")] = [],  # noqa: B006
    pace_only: Annotated[bool, typer.Option("--pace-only", help="only time an epoch of all that is trained")] = False,
) -> None:
    """Make the paper's tables for a data set; interrupted, it goes on where it was."""
    from lab.studies.main import experiments as make

    make(study, system, pace_only)


Train = Annotated[bool, typer.Option(help="also train a challenger in each week, and judge it")]
Publish = Annotated[bool, typer.Option(help="also score each week's snapshot with the champion")]
Activate = Annotated[bool, typer.Option(help="also let a published release become the active one")]
IncludeLate = Annotated[bool, typer.Option(help="take in rows that arrived after the lateness allowed")]
Cascade = Annotated[
    bool, typer.Option(help="go on to the last week that is built, so that no table before publication stays stale")
]


def _planned(first: date, last: date, config: Path, train: bool, publish: bool, activate: bool, cascade: bool) -> date:
    """Print the plan of a backfill, and return where it ends.

    Raises:
        PipelineError: the range is not whole weeks, or something is to be activated that is not published.
    """
    if activate and not publish:
        raise PipelineError("--activate without --publish: nothing would be published that could become active")
    from intentrec.local import terminal
    from intentrec.monitoring import costs, staleness
    from intentrec.storage import delta
    from intentrec.storage.runs import ledger

    profile, domain = load_profile(), load_domain(config)
    partitions = delta.rows_by_partition(profile, domain)
    last = max(last, staleness.built_until(partitions, domain)) if cascade else last
    found = staleness.plan(first, last, domain, partitions, delta.releases(profile, domain), publish)
    jobs = [*staleness.JOBS[:-1], *(("train", "gate") if train else ()), *(staleness.JOBS[-1:] if publish else ())]
    estimate = costs.estimate(ledger(profile, domain), jobs, len(found.intervals))
    terminal.plan(found, partitions, estimate, publish, activate)
    return last


@_command
def plan(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="first service date")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="service date after the last")],
    config: Config = STREAMING,
    train: Train = False,
    publish: Publish = False,
    activate: Activate = False,
    include_late: IncludeLate = False,
    cascade: Cascade = False,
) -> None:
    """List what the same backfill would rebuild, make stale, take and leave unpublished; changes nothing, no Spark."""
    _planned(start.date(), end.date(), config, train, publish, activate, cascade)


@_command
def backfill(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="first service date")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="service date after the last")],
    config: Config = STREAMING,
    train: Train = False,
    publish: Publish = False,
    activate: Activate = False,
    include_late: IncludeLate = False,
    cascade: Cascade = False,
) -> None:
    """Rebuild whole weeks through Airflow's backfill, oldest first, and follow it to its end."""
    from intentrec.local import backfill as backfills
    from intentrec.local.progress import Progress
    from intentrec.local.weekly import dag_of

    dag = dag_of(config)
    last = _planned(start.date(), end.date(), config, train, publish, activate, cascade)
    conf = {"train": train, "publish": publish, "activate": activate, "include_late": include_late}
    progress = Progress()
    backfills.backfill(Home.here(), dag, start.date(), last, conf, progress)
    progress.say("done")
    status(config)


@_command
def status(config: Config = STREAMING) -> None:
    """Weeks by tables: rows, what is stale, and the active release; starts no Spark."""
    from intentrec.local import terminal
    from intentrec.monitoring import staleness
    from intentrec.storage import delta
    from intentrec.storage.runs import ledger

    profile, domain = load_profile(), load_domain(config)
    rows = ledger(profile, domain)
    stale = staleness.stale_weeks(rows, delta.commits(profile, domain), domain)
    refused = staleness.refused_weeks(rows, domain)
    terminal.status(domain, delta.rows_by_partition(profile, domain), stale, refused, delta.releases(profile, domain))


@_command
def week(
    of: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="first service date of the week")],
    config: Config = STREAMING,
) -> None:
    """What a week cost, read, wrote and refused, attempt by attempt; from the ledger, starts no Spark."""
    from intentrec.local import terminal
    from intentrec.monitoring import costs
    from intentrec.storage.runs import ledger

    profile, domain = load_profile(), load_domain(config)
    terminal.week_costs(domain, of.date(), costs.of_week(ledger(profile, domain), of.date()))


@_command
def review(
    verdict: Annotated[str, typer.Argument(help="approve, reject, or settle: act on tags and aliases set by hand")],
    version: Annotated[str, typer.Argument(help="number of the registered version; none for settle")] = "",
    reason: Annotated[str, typer.Option(help="why; kept with the version")] = "",
    config: Config = STREAMING,
) -> None:
    """Decide about a model, as the review page in Airflow does; publishes nothing by itself."""
    from intentrec.local import review_cli

    review_cli.review(config, verdict, version, reason)


@_command
def rollback(
    reason: Annotated[str, typer.Option(help="why; kept with the version and in the ledger")] = "",
    to: Annotated[str, typer.Option(help="release to go to; default: the one before the active one")] = "",
    config: Config = STREAMING,
) -> None:
    """Make the release before the active one active again, in seconds; starts no Spark."""
    from intentrec.local import review_cli

    review_cli.rollback(config, reason, to)


@_command
def checksums(config: Config = STREAMING) -> None:
    """Rows and checksum of every table; starts Spark."""
    from intentrec.storage import spark
    from intentrec.storage.runs import Run
    from intentrec.storage.warehouse import Warehouse

    profile, domain = load_profile(), load_domain(config)
    day = domain.calendar.history_start
    run = Run("checksums", day, day, domain, profile)
    for name, each in Warehouse(spark.start(profile, run.job), run).checksums().items():
        print(f"{name:<20}{each.rows:>12,}  {each.checksum}")


@functools.partial(_command, of=rules_app)
def preview(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="first service date")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="service date after the last")],
    config: Config = STREAMING,
) -> None:
    """Show how the rules of this file would shift the labels of stored interactions; writes nothing."""
    from intentrec.local import rules_preview
    from intentrec.storage.runs import Run
    from intentrec.storage.warehouse import Warehouse

    profile, domain = load_profile(), load_domain(config)
    run = Run("rules_preview", start.date(), end.date(), domain, profile)
    rules_preview.show(rules_preview.preview(Warehouse.open(run), str(config)), run)


@_command
def crash(
    weeks: Annotated[int, typer.Option(help="complete weeks after a quiet one, each undisturbed and under blows")] = 3,
    times: Annotated[int, typer.Option(help="blows in all")] = 100,
    seed: Annotated[int, typer.Option(help="of the data and of the blows")] = 1,
    users: Annotated[int, typer.Option(help="of the simulated service")] = 40,
    out: Annotated[Path, typer.Option(help="folder of the table of blows")] = ROOT / "docs" / "results",
) -> None:
    """Kill, starve and rob the weekly jobs at random moments; afterwards every table must be as if nothing had been."""
    from intentrec.local.progress import Progress
    from tests.chaos import crash as crashes

    report = crashes.crash(home_path() / "crash" / f"{seed}-{times}", weeks, times, seed, users, Progress())
    command = f"intentrec crash --weeks {weeks} --times {times} --seed {seed} --users {users}"
    crashes.write(report, command, out / "crash.json")


@_command
def outages(
    weeks: Annotated[int, typer.Option(help="run as one range")] = 3,
    kills: Annotated[int, typer.Option(help="of Airflow's scheduler, each during another task")] = 6,
    seed: Annotated[int, typer.Option(help="of the data and of the kills")] = 1,
    users: Annotated[int, typer.Option(help="of the simulated service")] = 40,
    out: Annotated[Path, typer.Option(help="folder of the table of blows")] = ROOT / "docs" / "results",
) -> None:
    """Kill Airflow's scheduler, with all it started, during a weekly run; afterwards as `crash`."""
    from intentrec.local.progress import Progress
    from tests.chaos import crash as crashes
    from tests.chaos import outages as outage

    report = outage.outages(home_path() / "outages" / f"{seed}-{kills}", weeks, kills, seed, users, Progress())
    command = f"intentrec outages --weeks {weeks} --kills {kills} --seed {seed} --users {users}"
    crashes.write(report, command, out / "outages.json")


@_command
def up() -> None:
    """Serve Airflow and MLflow on 127.0.0.1 (AIRFLOW_PORT, MLFLOW_PORT) with generated passwords."""
    from intentrec.local import services

    services.up(Home.here(), load_profile())


@_command
def down() -> None:
    """Stop them, and every task that they started."""
    from intentrec.local import services

    services.down(Home.here())


if __name__ == "__main__":
    app()
