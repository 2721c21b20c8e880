"""Run the demo, look at weeks, backfill, review and roll back. For a single job see `python -m jobs.NAME --help`."""

import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from intentrec.config import OWN, load_domain, load_profile
from intentrec.errors import PipelineError
from intentrec.local import processes
from intentrec.local.home import Home

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
rules_app = typer.Typer(help="Action-type rules of a domain file.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")

STREAMING = Path("conf/streaming.yaml")
Config = Annotated[Path, typer.Option(help="domain file")]
From = Annotated[
    date, typer.Option("--from", parser=date.fromisoformat, metavar="YYYY-MM-DD", help="first service date")
]
To = Annotated[
    date, typer.Option("--to", parser=date.fromisoformat, metavar="YYYY-MM-DD", help="service date after the last")
]
Train = Annotated[bool, typer.Option("--train", help="also train a challenger in each week and judge it")]
Publish = Annotated[bool, typer.Option("--publish", help="also score each week's snapshot with the champion")]
Activate = Annotated[bool, typer.Option("--activate", help="with --publish: make the published release the active one")]
IncludeLate = Annotated[bool, typer.Option("--include-late", help="also accept rows that arrived after the lateness")]
AcceptPartial = Annotated[
    str | None,
    typer.Option("--accept-partial", help="why weeks whose delivery is not whole are ingested; kept in the ledger"),
]
Cascade = Annotated[
    bool,
    typer.Option("--cascade", help="also rebuild the later weeks, so that no table before publication is stale"),
]


@app.callback(help=__doc__)
def _callback() -> None:
    processes.interruptible()


@app.command()
def demo(
    config: Config = STREAMING,
    data: Annotated[
        Path | None,
        typer.Option(help="folder of real data; without it and source.options.data, data is simulated"),
    ] = None,
    history: Annotated[
        int | None,
        typer.Option(help="weeks loaded first; default: 6 simulated; real: the censored ones and a week to learn from"),
    ] = None,
    weeks: Annotated[int, typer.Option(help="ordinary weekly runs after these weeks")] = 2,
) -> None:
    """Run the weekly DAG through Airflow, on simulated data or on a folder of real data."""
    from intentrec.local import demo as demos

    _use(data)
    domain = load_domain(config)
    simulate = data is None and "data" not in domain.source.options
    if history is None:
        history = 6 if simulate else demos.history_weeks(domain.calendar)
    schedule = demos.Schedule(domain.calendar.history_start, history, weeks)
    demos.demo(Home.here(), load_profile(), config, schedule, simulate)


def _use(data: Path | None) -> None:
    """Make a folder that --data names the one of the raw files, for this process and those that it starts."""
    if data is not None:
        if not data.is_dir():
            raise PipelineError(f"--data {data}: no such folder")
        os.environ["INTENTREC_DATA"] = str(data.resolve())


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="name of the domain: small letters, digits and _")],
    history_start: Annotated[
        date | None,
        typer.Option(parser=date.fromisoformat, metavar="YYYY-MM-DD", help="first service date of the data, a Monday"),
    ] = None,
) -> None:
    """Write a commented domain file to start from."""
    from intentrec.local import domain_file

    path = domain_file.init(name, history_start)
    print(f"{path}: change it, then run `intentrec validate --config {path}`")


@app.command()
def validate(
    config: Config = STREAMING,
    data: Annotated[Path | None, typer.Option(help="folder of the raw files; default: the domain's own")] = None,
    week: Annotated[
        date | None,
        typer.Option(
            parser=date.fromisoformat, metavar="YYYY-MM-DD", help="its first service date; default: history_start"
        ),
    ] = None,
) -> None:
    """Check a domain file, and show what one week of its delivery holds. Writes nothing. Starts Spark."""
    from intentrec.local import domain_file

    _use(data)
    domain_file.validate(config, week)


@app.command()
def plan(
    start: From,
    end: To,
    config: Config = STREAMING,
    train: Train = False,
    publish: Publish = False,
    activate: Activate = False,
    include_late: IncludeLate = False,
    cascade: Cascade = False,
    accept_partial: AcceptPartial = None,
) -> None:
    """Show what a backfill with these options would replace and make stale, and how long it takes. Starts no Spark."""
    from intentrec.local import backfill as backfills
    from intentrec.local import terminal

    request = backfills.Request(start, end, train, publish, activate, include_late, cascade, accept_partial)
    found = backfills.plan(request, load_profile(), load_domain(config))
    terminal.plan(found.plan, found.partitions, found.cost, publish, activate)


@app.command()
def backfill(
    start: From,
    end: To,
    config: Config = STREAMING,
    train: Train = False,
    publish: Publish = False,
    activate: Activate = False,
    include_late: IncludeLate = False,
    cascade: Cascade = False,
    accept_partial: AcceptPartial = None,
) -> None:
    """Rebuild whole weeks through Airflow's backfill, oldest first, and wait for the end."""
    from intentrec.local import backfill as backfills
    from intentrec.local import dags_test, terminal
    from intentrec.local.progress import Progress

    dag = dags_test.dag_of(config)
    request = backfills.Request(start, end, train, publish, activate, include_late, cascade, accept_partial)
    found = backfills.plan(request, load_profile(), load_domain(config))
    terminal.plan(found.plan, found.partitions, found.cost, publish, activate)
    progress = Progress()
    backfills.backfill(Home.here(), dag, start, found.end, request.conf, progress)
    progress.say("done")
    status(config)


@app.command()
def status(config: Config = STREAMING) -> None:
    """Show rows by week and table, what is stale, the active release, and what runs or was killed. Starts no Spark."""
    from intentrec.local import terminal
    from intentrec.monitoring import redelivery, staleness
    from intentrec.monitoring.changed_settings import changed_weeks
    from intentrec.monitoring.unfinished import unfinished
    from intentrec.registry.pending import pending
    from intentrec.storage import delta
    from intentrec.storage.runs import ledger

    profile, domain = load_profile(), load_domain(config)
    rows = ledger(profile, domain)
    stale = staleness.stale_weeks(rows, delta.commits(profile, domain), domain)
    found = redelivery.redelivered(profile, domain, rows)
    stale |= staleness.corrected_weeks(rows, domain) | found.weeks | changed_weeks(rows, domain)
    refused = staleness.refused_weeks(rows, domain)
    partitions, releases = delta.rows_by_partition(profile, domain), delta.releases(profile, domain)
    terminal.status(domain, partitions, stale, refused, releases, unfinished(rows, datetime.now(UTC)))
    for line in found.unchecked:
        print(line)
    for rollback in pending(profile, domain):
        terminal.console.print(f"To do: {rollback}", markup=False)


@app.command()
def week(
    of: Annotated[
        date, typer.Argument(parser=date.fromisoformat, metavar="YYYY-MM-DD", help="first service date of the week")
    ],
    config: Config = STREAMING,
) -> None:
    """Show every run over a week: seconds, versions read and written, refused rows. Starts no Spark."""
    from intentrec.local import terminal
    from intentrec.monitoring import costs
    from intentrec.storage.runs import ledger

    profile, domain = load_profile(), load_domain(config)
    terminal.week_costs(domain, of, costs.of_week(ledger(profile, domain), of))


@app.command()
def explain(
    user: Annotated[str, typer.Argument(help="user_id of `interactions`")],
    week: Annotated[
        date | None,
        typer.Option(
            parser=date.fromisoformat,
            metavar="YYYY-MM-DD",
            help="first service date of a week, whose release is explained; default: the active release",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="also write a page, which opens without a network")] = None,
    show_ids: Annotated[bool, typer.Option("--show-ids", help="name the user by the id, not by a pseudonym")] = False,
    config: Config = STREAMING,
) -> None:
    """Explain what is published for a user: interactions, intents, and the parts of each score. Starts no Spark."""
    from intentrec.local import explain_cli

    explain_cli.explain(config, user, week, html, show_ids)


@app.command()
def review(
    verdict: Annotated[str, typer.Argument(help="approve, reject, or settle: record what was set by hand in MLflow")],
    version: Annotated[str, typer.Argument(help="number of the version; not for settle")] = "",
    reason: Annotated[str, typer.Option(help="why; kept with the version; needed to approve or reject")] = "",
    config: Config = STREAMING,
) -> None:
    """Approve or reject a model. Publishes nothing; prints the command that does."""
    from intentrec.local import review_cli

    review_cli.review(config, verdict, version, reason)


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="why; kept with the version and in the ledger; needed")] = "",
    to: Annotated[str, typer.Option(help="id of the release to go to; default: the one before the active one")] = "",
    config: Config = STREAMING,
) -> None:
    """Make the release before the active one active again. Starts no Spark."""
    from intentrec.local import review_cli

    review_cli.rollback(config, reason, to)


@app.command()
def checksums(config: Config = STREAMING) -> None:
    """Print rows and checksum of every table but the ledger. Starts Spark."""
    from intentrec.storage import spark
    from intentrec.storage.runs import Run
    from intentrec.storage.warehouse import Warehouse

    profile, domain = load_profile(), load_domain(config)
    day = domain.calendar.history_start
    run = Run("checksums", day, day, domain, profile)
    for name, each in Warehouse(spark.start(profile, run.job), run).checksums().items():
        print(f"{name:<20}{each.rows:>12,}  {each.checksum}")


@app.command()
def migrate(config: Config = STREAMING) -> None:
    """Give existing tables this version's renamed and new columns. A second call changes nothing. Starts Spark."""
    from intentrec.calendar import WEEK
    from intentrec.registry import migration
    from intentrec.storage import delta
    from intentrec.storage.runs import attempt
    from intentrec.storage.warehouse import Warehouse

    profile, domain = load_profile(), load_domain(config)
    ends = [release["as_of"] for release in delta.releases(profile, domain)]
    end = max(ends, default=domain.calendar.history_start + WEEK)
    with attempt("migrate", end - WEEK, end, config) as run:
        for line in migration.migrate(Warehouse.open(run)) or ["all tables have the columns of this version"]:
            run.say(line)


@rules_app.command()
def preview(start: From, end: To, config: Config = STREAMING) -> None:
    """Show how the rules of this file would change the labels of stored interactions. Writes nothing. Starts Spark."""
    from intentrec.interactions.preview import preview as compare
    from intentrec.local import terminal
    from intentrec.storage.runs import Run
    from intentrec.storage.warehouse import Warehouse

    run = Run("rules_preview", start, end, load_domain(config), load_profile())
    terminal.rules_preview(compare(Warehouse.open(run), config), run)


@app.command()
def up() -> None:
    """Serve Airflow and MLflow on 127.0.0.1 (AIRFLOW_PORT, MLFLOW_PORT) with a generated password."""
    from intentrec.local import services

    services.up(Home.here(), load_profile())


@app.command()
def down() -> None:
    """Stop Airflow and MLflow, and every task that they started."""
    from intentrec.local import services

    services.down(Home.here())


def main() -> None:
    """Run a command. An error that a person can act on is printed without a traceback, and ends with status 1."""
    os.umask(OWN)
    try:
        app()
    except PipelineError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
