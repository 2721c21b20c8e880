"""One run of the weekly DAG whose scheduler is killed at random moments, beside the same jobs undisturbed.

Killed with the scheduler is what it started: the task at work, its job, the job's JVM. What is left of Airflow is then
stopped and all of it started again, as a person would. The run must end well, by itself or after its failed tasks were
cleared, and leave the tables that the jobs leave when nothing happens.
"""

import random
import signal
import time
from contextlib import suppress
from datetime import date
from pathlib import Path

import psutil

from intentrec.calendar import WEEK
from intentrec.errors import PipelineError
from intentrec.local import processes, services
from intentrec.local.airflow_client import Airflow
from intentrec.local.home import Home
from intentrec.local.progress import Progress
from tests.chaos.crash import JOBS, Report, contents, differences, run_job, twins, went_on
from tests.chaos.faults import Blow, Service, Struck, unfinished

DAG = "intentrec_weekly_streaming"
RUN = "outages"
KIND = "kill the scheduler"
DONE = ("success", "skipped")
BROKEN = ("failed", "upstream_failed")
# Schedules off: nothing but this run. Looked for more often than every five minutes: tasks of a scheduler that is dead.
SETTINGS = {"SCHEDULER__USE_JOB_SCHEDULE": "False", "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15"}
PATIENCE = 1800.0  # seconds that a task may take to get where it is waited for


def outages(home: Path, weeks: int, kills: int, seed: int, users: int, progress: Progress) -> Report:
    """Run `weeks` weeks as one range in an empty folder `home`: by the jobs alone, and by Airflow under `kills` kills.

    Raises:
        PipelineError: the run did not end well though its failed tasks were cleared, or its tables are not those of the
            undisturbed jobs; or more kills than jobs.
    """
    if kills > len(JOBS):
        raise PipelineError(f"{kills} kills of {len(JOBS)} tasks: each is hit once at most")
    calm, shaken = twins(home, weeks, users, seed)
    start = calm.domain.calendar.history_start
    end = start + WEEK * weeks
    seconds: dict[str, float] = {}
    for job in JOBS:
        began = time.monotonic()
        run_job(calm, job, start, end)
        seconds[job] = time.monotonic() - began
    progress.say(f"{start}..{end} undisturbed: {sum(seconds.values()):.0f} s")
    struck = Outages(shaken, progress, seconds)
    report = Report(seed)
    try:
        struck.begin({"start": str(start), "end": str(end), "config": str(shaken.config)})
        for blow in planned(start, kills, seed):
            begun = struck.kill(blow)
            report.struck.append(struck.go_on(blow))
            if blow.job == "train":
                report.resumed += went_on(begun, struck.said(blow.job))
            progress.say(f"kill {len(report.struck)} of {kills}: {report.struck[-1]}")
        struck.finish()
    finally:
        processes.stop(struck.marker)
    if (left := contents(shaken)) != (wanted := contents(calm)):
        raise PipelineError(f"the run after {kills} kills left {differences(left, wanted)}; seed {seed}")
    progress.say(
        f"{kills} kills; every table is as undisturbed, nothing was registered or published twice, "
        f"{report.resumed} trainings went on from a checkpoint"
    )
    return report


def planned(week: date, kills: int, seed: int) -> list[Blow]:
    """The kills in the order of their tasks, each in another one, task and moment drawn."""
    dice = random.Random(seed)
    hit = dice.sample(JOBS, kills)
    return [Blow(KIND, job, week, dice.uniform(0.05, 1.0)) for job in JOBS if job in hit]


class Outages:
    """A run at work in an Airflow that is killed and started again."""

    def __init__(self, service: Service, progress: Progress, seconds: dict[str, float]) -> None:
        self.home = Home(service.home, services.free_port())
        self.marker = f"{service.home}:outages"
        self._service = service
        self._progress = progress
        self._seconds = seconds  # what each job takes
        self._airflow = Airflow(self.home)

    def begin(self, conf: dict[str, str]) -> None:
        """Start Airflow and the run."""
        self.home.prepare()
        self._start()
        self._airflow.call("PATCH", f"/dags/{DAG}", {"is_paused": False})
        run = {"dag_run_id": RUN, "logical_date": None, "conf": conf}
        self._airflow.call("POST", f"/dags/{DAG}/dagRuns", run)

    def kill(self, blow: Blow) -> list[Path]:
        """Kill the scheduler at the blow's moment, stop the rest. Returns the checkpoints that lay there then."""
        self._await(blow.job, ("running", *DONE, *BROKEN))
        until = time.monotonic() + blow.moment * self._seconds[blow.job]
        while time.monotonic() < until and self._state(blow.job) == "running":
            time.sleep(0.2)
        killed = kill_scheduler(self.marker)
        processes.stop(self.marker)
        self._progress.say(f"{killed} processes killed during {blow.job}")
        return unfinished(self._service)

    def go_on(self, blow: Blow) -> Struck:
        """Start Airflow again and wait until the task has ended well; clear it where it failed.

        Raises:
            PipelineError: it failed again after that.
        """
        self._start()
        if self._await(blow.job, (*DONE, *BROKEN)) in DONE:
            return Struck(blow, "went on by itself")
        self._clear()
        if (state := self._await(blow.job, (*DONE, *BROKEN))) not in DONE:
            raise PipelineError(f"{blow}: {state} even after it was cleared. Logs: {self.home.airflow / 'logs'}")
        return Struck(blow, "went on after it was cleared")

    def said(self, task: str) -> str:
        """Everything in the task's logs."""
        folder = self.home.airflow / "logs" / f"dag_id={DAG}" / f"run_id={RUN}" / f"task_id={task}"
        return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("attempt=*.log")))

    def finish(self) -> None:
        """Wait for the end of the run.

        Raises:
            PipelineError: it failed.
        """
        if (state := self._await("outcome", (*DONE, *BROKEN))) != "success":
            raise PipelineError(f"the run ended as {state}. Logs: {self.home.airflow / 'logs'}")

    def _start(self) -> None:
        services.start_airflow(self.home, self.marker, **SETTINGS)
        services.wait_for_airflow(self.home, self.marker)
        self._airflow = Airflow(self.home)  # the token of the one before is worth nothing
        self._airflow.dag(DAG)

    def _state(self, task: str) -> str | None:
        return self._airflow.call("GET", f"/dags/{DAG}/dagRuns/{RUN}/taskInstances/{task}")["state"]

    def _await(self, task: str, states: tuple[str, ...]) -> str:
        until = time.monotonic() + PATIENCE
        while (state := self._state(task)) not in states:
            if time.monotonic() > until:
                raise PipelineError(f"{task} is {state} after {PATIENCE:.0f} s. Logs: {self.home.airflow / 'logs'}")
            time.sleep(1)
        return state

    def _clear(self) -> None:
        """As the button does: failed tasks run again, and those behind them."""
        request = {"dag_run_id": RUN, "only_failed": True, "dry_run": False, "reset_dag_runs": True}
        self._airflow.call("POST", f"/dags/{DAG}/clearTaskInstances", request)


def kill_scheduler(marker: str) -> int:
    """SIGKILL the scheduler and all that descends from it. Returns how many there were."""
    killed = 0
    while victims := _scheduler(marker):
        killed += len(victims)
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        psutil.wait_procs(victims, timeout=10)
    return killed


def _scheduler(marker: str) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in processes.marked(marker):
        with suppress(psutil.NoSuchProcess):
            if "scheduler" in process.cmdline():
                found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())
