"""Rebuild a range of weeks through Airflow's own backfill, and follow it to its end."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from http import HTTPStatus
from urllib.parse import quote

from intentrec.calendar import weeks_between
from intentrec.config import Domain, Profile
from intentrec.errors import PipelineError
from intentrec.local import processes, services
from intentrec.local.airflow_client import Airflow
from intentrec.local.home import Home
from intentrec.local.progress import LogFiles, Progress
from intentrec.monitoring import costs, staleness
from intentrec.storage import delta
from intentrec.storage.runs import ledger

OVER = ("success", "failed")


@dataclass(frozen=True)
class Request:
    """What a person asks of a backfill.

    Attributes:
        start: first service date.
        end: service date after the last.
        train: whether each week also trains and judges a challenger.
        publish: whether each week also publishes its snapshot.
        activate: whether a published release may become the active one.
        include_late: whether rows count that arrived after the lateness allowed.
        cascade: whether to go on to the last week that is built.
    """

    start: date
    end: date
    train: bool = False
    publish: bool = False
    activate: bool = False
    include_late: bool = False
    cascade: bool = False

    @property
    def conf(self) -> dict[str, bool]:
        """The parameters of each weekly run of the DAG."""
        names = ("train", "publish", "activate", "include_late")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Planned:
    """What a backfill would do.

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

    Raises:
        PipelineError: the range is not whole weeks, or something is to be activated that is not published.
    """
    if request.activate and not request.publish:
        raise PipelineError("--activate without --publish: nothing would be published that could become active")
    partitions = delta.rows_by_partition(profile, domain)
    end = max(request.end, staleness.built_until(partitions, domain)) if request.cascade else request.end
    releases = delta.releases(profile, domain)
    found = staleness.plan(request.start, end, domain, partitions, releases, request.publish)
    *rebuilding, publishing = staleness.JOBS
    jobs = [*rebuilding, *(("train", "gate") if request.train else ()), *((publishing,) if request.publish else ())]
    return Planned(found, partitions, costs.estimate(ledger(profile, domain), jobs, len(found.intervals)))


def backfill(home: Home, dag: str, start: date, end: date, conf: dict, progress: Progress) -> None:
    """Run every week of [start, end) as a backfill of its own, oldest first. Stop at the first that fails.

    One backfill of all weeks would begin the next week before the failure of this one is seen, and leave it half done.

    The services that `up` started are used if they run. Otherwise a scheduler is started for the purpose. Its schedules
    are off, so that unpausing the DAG for the backfill does not start its ordinary weekly run.

    Raises:
        PipelineError: a run failed (the message holds the last lines of its jobs), Airflow refused the backfill, or
            another backfill or an ordinary run is in progress.
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
                f"week {week} failed, later weeks were not begun. Its last lines:\n{progress.last_words()}\n"
                f"Logs: {logs.folder}. Mend the cause and run the same backfill again."
            )


def _run_week(airflow: Airflow, dag: str, week: date, conf: dict, logs: LogFiles, progress: Progress) -> str:
    """Backfill one week, show what its jobs say, return the run's state."""
    date_of_run = f"{week}T00:00:00Z"
    request = {
        "dag_id": dag,
        "from_date": date_of_run,
        "to_date": date_of_run,
        "dag_run_conf": conf,
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
    }
    # Unavailable: another process held SQLite. Airflow has undone what it began, and the caller may try again.
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
            raise PipelineError(f"backfill {number} of {dag} made no run for {week}: is another in progress for it?")
        time.sleep(2)


def _close(airflow: Airflow, backfill: dict) -> None:
    """Close a backfill whose runs are over; the scheduler does so every half minute, and allows one at a time."""
    try:
        if backfill["completed_at"] is None:
            airflow.call("PUT", f"/backfills/{backfill['id']}/cancel")
    except PipelineError:
        if airflow.call("GET", f"/backfills/{backfill['id']}")["completed_at"] is None:
            raise


def _end_leftovers(airflow: Airflow, dag: str) -> None:
    """End the runs that an interrupted backfill or demo left open, which a scheduler would resume.

    Raises:
        PipelineError: another run is open, such as this week's, which waits for late rows. A scheduler would go on with
            it beside the backfill. Only a person may end it, because nothing would run it again.
    """
    for left in airflow.call("GET", f"/backfills?dag_id={dag}&order_by=-id&limit=20")["backfills"]:
        _close(airflow, left)
    runs = airflow.call("GET", f"/dags/{dag}/dagRuns?state=running&state=queued&limit=100")["dag_runs"]
    others = [run["dag_run_id"] for run in runs if not is_leftover(run)]
    if others:
        raise PipelineError(
            f"{dag} has runs that are not over: {', '.join(others)}. `make up` goes on with them, and a backfill may "
            "run beside it; or mark them there as failed first"
        )
    for run in runs:
        airflow.call("PATCH", f"/dags/{dag}/dagRuns/{quote(run['dag_run_id'])}", {"state": "failed"})


def is_leftover(run: dict) -> bool:
    """Whether a run is of a backfill, or of the demo, whose runs are dated an hour into Monday (`dags_test.run`)."""
    demo = run["run_type"] == "manual" and str(run["logical_date"]).endswith("T01:00:00Z")
    return run["run_type"] == "backfill" or demo


def _require_unpaused(airflow: Airflow, dag: str) -> None:
    if airflow.dag(dag)["is_paused"]:
        raise PipelineError(
            f"{dag} is paused in the Airflow that `make up` started, so a backfill would wait for ever. "
            "Unpause it there (which starts its weekly schedule too), or `make down` first."
        )
