"""Rebuild a range of weeks through Airflow's own backfill, and follow it to its end."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from http import HTTPStatus
from urllib.parse import quote

from intentrec.calendar import WEEK, weeks_between
from intentrec.config import Domain, Profile
from intentrec.errors import PipelineError, backfill_command
from intentrec.local import processes, services
from intentrec.local.airflow_client import Airflow
from intentrec.local.home import Home
from intentrec.local.progress import LogFiles, Progress
from intentrec.monitoring import costs, staleness
from intentrec.monitoring.changed_settings import changed_weeks
from intentrec.storage import delta
from intentrec.storage.runs import ledger

OVER = ("success", "failed")


@dataclass(frozen=True)
class Request:
    """The options of a backfill.

    Attributes:
        start: first service date.
        end: service date after the last.
        train: whether each week also trains and judges a challenger.
        publish: whether each week also publishes its snapshot.
        activate: whether a published release may become the active one.
        include_late: whether rows that arrived after the lateness are accepted, too.
        cascade: whether to rebuild all later weeks, up to the last one that is built.
        accept_partial: why weeks whose delivery is not whole are ingested; None: they are refused.
    """

    start: date
    end: date
    train: bool = False
    publish: bool = False
    activate: bool = False
    include_late: bool = False
    cascade: bool = False
    accept_partial: str | None = None

    @property
    def conf(self) -> dict[str, bool | str | None]:
        """The parameters of each weekly DAG run."""
        names = ("train", "publish", "activate", "include_late", "accept_partial")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Planned:
    """A planned backfill.

    Attributes:
        plan: its weeks, and the partitions it replaces and makes stale.
        partitions: rows that exist now, by table and partition date.
        cost: the estimated seconds of its jobs.
    """

    plan: staleness.Plan
    partitions: Mapping[str, Mapping[date, int]]
    cost: costs.Estimate

    @property
    def end(self) -> date:
        """Service date after the last week."""
        return self.plan.intervals[-1][1]


def plan(request: Request, profile: Profile, domain: Domain) -> Planned:
    """Plan a backfill from the tables and the ledger. Changes nothing, starts no Spark.

    Args:
        request: its options.
        profile: the runtime profile.
        domain: the domain file.

    Raises:
        PipelineError: the range is not whole weeks, or `activate` is set without `publish`.
    """
    if request.activate and not request.publish:
        raise PipelineError("--activate without --publish: no release would be made. Add --publish, or drop --activate")
    partitions = delta.rows_by_partition(profile, domain)
    end = max(request.end, staleness.built_until(partitions, domain)) if request.cascade else request.end
    releases = delta.releases(profile, domain)
    found = staleness.plan(request.start, end, domain, partitions, releases, request.publish)
    rows = ledger(profile, domain)
    others = {week for _, week in changed_weeks(rows, domain)} - {week for week, _ in found.intervals}
    if others:
        command = backfill_command(domain.domain, min(others), max(others) + WEEK)
        found.warnings.append(
            f"settings of the domain file changed after {len(others)} other weeks from {min(others)} to {max(others)} "
            f"were made: rebuild these, too: {command}"
        )
    *rebuilding, publishing = staleness.JOBS
    jobs = [*rebuilding, *(("train", "gate") if request.train else ()), *((publishing,) if request.publish else ())]
    return Planned(found, partitions, costs.estimate(rows, jobs, len(found.intervals)))


def backfill(home: Home, dag: str, start: date, end: date, conf: dict, progress: Progress) -> None:
    """Run one backfill per week of [start, end), oldest first, until one fails.

    A single backfill of all weeks would begin the next week before the failure of this one is noticed.

    If Airflow is up (`services.up`), it is used. Otherwise an Airflow is started for the backfill. Its schedules are
    off, so that unpausing the DAG does not start its ordinary weekly run.

    Args:
        home: where the embedded services keep their state.
        dag: id of the weekly DAG.
        start: first service date.
        end: service date after the last.
        conf: parameters of each DAG run, see `Request.conf`.
        progress: prints the lines of the jobs.

    Raises:
        PipelineError: a DAG run failed (the message has the last lines of its jobs), Airflow refused the backfill, or
            another backfill or an ordinary weekly run is in progress.
    """
    services.require_no_backfill(home)
    home.prepare()
    if processes.marked(services.up_marker(home)):
        airflow = Airflow(home)
        _require_unpaused(airflow, dag)
        _run_weeks(airflow, dag, start, end, conf, progress)
        return
    own = replace(home, airflow_port=services.free_port())
    marker, note = services.backfill_marker(home), services.paused_note(home, dag)
    try:
        progress.say("starting Airflow for the backfill")
        services.start_airflow(own, marker, SCHEDULER__USE_JOB_SCHEDULE="False")
        services.wait_for_airflow(own, marker)
        airflow = Airflow(own)
        if airflow.dag(dag)["is_paused"]:
            note.parent.mkdir(exist_ok=True)
            note.touch()
        _end_leftovers(airflow, dag)
        airflow.call("PATCH", f"/dags/{dag}", {"is_paused": False})
        try:
            _run_weeks(airflow, dag, start, end, conf, progress)
        finally:
            airflow.call("PATCH", f"/dags/{dag}", {"is_paused": note.exists()})
            note.unlink(missing_ok=True)
            _end_leftovers(airflow, dag)
    finally:
        processes.stop(marker)


def _run_weeks(airflow: Airflow, dag: str, start: date, end: date, conf: dict, progress: Progress) -> None:
    logs = LogFiles(airflow.home.airflow / "logs" / f"dag_id={dag}")
    weeks = weeks_between(start, end)
    for number, week in enumerate(weeks, 1):
        progress.say(f"week {week} ({number} of {len(weeks)})")
        progress.tail.clear()
        state = _run_week(airflow, dag, week, conf, logs, progress)
        progress.say(f"week {week}: {state}")
        if state != "success":
            raise PipelineError(
                f"week {week} failed, later weeks were not begun. Its last lines:\n{progress.last_lines()}\n"
                f"Logs: {logs.folder}. Correct the cause and run the same backfill again."
            )


def _run_week(airflow: Airflow, dag: str, week: date, conf: dict, logs: LogFiles, progress: Progress) -> str:
    """Backfill one week, print the lines of its jobs, and return the state of the DAG run."""
    date_of_run = f"{week}T00:00:00Z"
    request = {
        "dag_id": dag,
        "from_date": date_of_run,
        "to_date": date_of_run,
        "dag_run_conf": conf,
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
    }
    # Unavailable: another process had locked SQLite. Airflow has rolled back, so the call can be repeated.
    number = airflow.call_until(HTTPStatus.SERVICE_UNAVAILABLE, "POST", "/backfills", request)["id"]
    query = f"run_type=backfill&logical_date_gte={date_of_run}&logical_date_lte={date_of_run}"
    while True:
        runs = airflow.call("GET", f"/dags/{dag}/dagRuns?{query}")["dag_runs"]
        over = [run["state"] for run in runs if run["state"] in OVER]
        for record in logs.new_lines():
            progress.feed(record)
        if over:
            _close(airflow, airflow.call("GET", f"/backfills/{number}"))
            return over[0]
        if not runs and airflow.call("GET", f"/backfills/{number}")["completed_at"]:
            raise PipelineError(
                f"backfill {number} of {dag} made no DAG run for {week}: wait for the run of this week that is in "
                "progress, then try again"
            )
        time.sleep(2)


def _close(airflow: Airflow, backfill: dict) -> None:
    """Close a backfill whose DAG runs have ended. Only one may be open, and the scheduler closes them with a delay."""
    try:
        if backfill["completed_at"] is None:
            airflow.call("PUT", f"/backfills/{backfill['id']}/cancel")
    except PipelineError:
        if airflow.call("GET", f"/backfills/{backfill['id']}")["completed_at"] is None:
            raise


def _end_leftovers(airflow: Airflow, dag: str) -> None:
    """End the DAG runs that an interrupted backfill or demo left open, because the scheduler would resume them.

    Raises:
        PipelineError: another DAG run is open, such as this week's, which waits for late rows. The scheduler would
            resume it during the backfill. A person must decide to end it, because it would not be started again.
    """
    for backfill in airflow.call("GET", f"/backfills?dag_id={dag}&order_by=-id&limit=20")["backfills"]:
        _close(airflow, backfill)
    runs = airflow.call("GET", f"/dags/{dag}/dagRuns?state=running&state=queued&limit=100")["dag_runs"]
    others = [run["dag_run_id"] for run in runs if not is_leftover(run)]
    if others:
        raise PipelineError(
            f"{dag} has DAG runs that have not ended: {', '.join(others)}. Start Airflow with `make up`, which resumes "
            "them, and backfill then; or mark them as failed there"
        )
    for run in runs:
        airflow.call("PATCH", f"/dags/{dag}/dagRuns/{quote(run['dag_run_id'])}", {"state": "failed"})


def is_leftover(run: dict) -> bool:
    """Whether a DAG run is of a backfill, or of the demo, whose runs are dated Monday 01:00 (`dags_test.run`)."""
    demo = run["run_type"] == "manual" and str(run["logical_date"]).endswith("T01:00:00Z")
    return run["run_type"] == "backfill" or demo


def _require_unpaused(airflow: Airflow, dag: str) -> None:
    if airflow.dag(dag)["is_paused"]:
        raise PipelineError(
            f"{dag} is paused in the Airflow that `make up` started, so a backfill would wait for ever. "
            "Unpause it there (which also starts its weekly schedule), or run `make down` first."
        )
