"""Kill Airflow's scheduler at random moments of a DAG run, and compare the tables with those of the same jobs alone.

A kill includes everything that the scheduler started: the running task, its job and the job's JVM. Then the rest of
Airflow is stopped and all of it is started again, as a person would do. The DAG run must succeed, by itself or after
its failed tasks are cleared, and give the same tables as the jobs without faults.
"""

import os
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
from tests.chaos.crash import JOBS, differences, pair_of_homes, require_resumed, run_job, state_of
from tests.chaos.faults import SCHEDULER_KILLED, Fault, Outcome, Service
from tests.chaos.report import Report

DAG = "intentrec_weekly_streaming"
RUN = "outages"
DONE = ("success", "skipped")
BROKEN = ("failed", "upstream_failed")
# No scheduled runs. Tasks of a dead scheduler are looked for every 15 seconds instead of every five minutes.
SETTINGS = {"SCHEDULER__USE_JOB_SCHEDULE": "False", "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15"}
PATIENCE = 1800.0  # seconds to wait for the state of a task
BY_ITSELF, CLEARED = "continued by itself", "continued after it was cleared"  # how the task ended


def outages(home: Path, weeks: int, times: int, seed: int, users: int, progress: Progress) -> Report:
    """Process `weeks` weeks as one range, by the jobs alone and by an Airflow whose scheduler is killed `times` times.

    Args:
        home: an empty folder.
        weeks: number of weeks of the range.
        times: number of kills, at most one per job.
        seed: of the simulated data and of the kills.
        users: of the simulated service.
        progress: prints what is done.

    Raises:
        PipelineError: there are more kills than jobs, the DAG run failed although its failed tasks were cleared, or its
            tables differ from the reference.
    """
    if times > len(JOBS):
        raise PipelineError(f"{times} kills of {len(JOBS)} tasks: each task is hit once at most")
    reference, faulty = pair_of_homes(home, weeks, users, seed)
    start = reference.domain.calendar.history_start
    end = start + WEEK * weeks
    seconds: dict[str, float] = {}
    for job in JOBS:
        began = time.monotonic()
        run_job(reference, job, start, end)
        seconds[job] = time.monotonic() - began
    progress.say(f"{start}..{end} without faults: {sum(seconds.values()):.0f} s")
    run = AirflowRun(faulty, progress, seconds)
    report = Report(seed)
    try:
        run.begin({"start": str(start), "end": str(end)})
        for fault in plan(start, times, seed):
            checkpoints = run.kill(fault)
            report.outcomes.append(run.resume(fault))
            if fault.job == "train":
                report.resumed += require_resumed(checkpoints, run.log(fault.job))
            progress.say(f"kill {len(report.outcomes)} of {times}: {report.outcomes[-1]}")
        run.finish()
    finally:
        processes.stop(run.marker)
    if (found := state_of(faulty)) != (expected := state_of(reference)):
        raise PipelineError(f"the run after {times} kills: {differences(found, expected)}; seed {seed}")
    progress.say(
        f"{times} kills; every table equals the reference, nothing was registered or published twice, "
        f"{report.resumed} trainings continued from a checkpoint"
    )
    return report


def plan(week: date, times: int, seed: int) -> list[Fault]:
    """The kills in the order of their tasks, each in another task; tasks and moments are random."""
    rnd = random.Random(seed)
    hit = rnd.sample(JOBS, times)
    return [Fault(SCHEDULER_KILLED, job, week, rnd.uniform(0.05, 1.0)) for job in JOBS if job in hit]


class AirflowRun:
    """A DAG run in an Airflow that is killed and started again; `seconds` are those of each job without faults."""

    def __init__(self, service: Service, progress: Progress, seconds: dict[str, float]) -> None:
        self.home = Home(service.home, services.free_port())
        self.marker = f"{service.home}:outages"
        self._service = service
        self._progress = progress
        self._seconds = seconds
        self._airflow = Airflow(self.home)

    def begin(self, conf: dict[str, str]) -> None:
        """Start Airflow and the DAG run."""
        os.environ["INTENTREC_CONF"] = str(self._service.config.parent)  # whose domain file the DAG takes
        self.home.prepare()
        self._start()
        self._airflow.call("PATCH", f"/dags/{DAG}", {"is_paused": False})
        run = {"dag_run_id": RUN, "logical_date": None, "conf": conf}
        self._airflow.call("POST", f"/dags/{DAG}/dagRuns", run)

    def kill(self, fault: Fault) -> list[Path]:
        """Kill the scheduler at the fault's moment, then stop the rest. Returns the checkpoints at that time."""
        self._await(fault.job, ("running", *DONE, *BROKEN))
        until = time.monotonic() + fault.moment * self._seconds[fault.job]
        while time.monotonic() < until and self._state(fault.job) == "running":
            time.sleep(0.2)
        killed = kill_scheduler(self.marker)
        processes.stop(self.marker)
        self._progress.say(f"{killed} processes killed during {fault.job}")
        return self._service.checkpoints()

    def resume(self, fault: Fault) -> Outcome:
        """Start Airflow again and wait until the task has succeeded; clear it if it failed.

        Raises:
            PipelineError: it failed again after that.
        """
        self._start()
        if self._await(fault.job, (*DONE, *BROKEN)) in DONE:
            return Outcome(fault, BY_ITSELF)
        self._clear()
        if (state := self._await(fault.job, (*DONE, *BROKEN))) not in DONE:
            raise PipelineError(f"{fault}: {state} even after it was cleared. Logs: {self.home.airflow / 'logs'}")
        return Outcome(fault, CLEARED)

    def log(self, task: str) -> str:
        """The logs of all attempts of a task."""
        folder = self.home.airflow / "logs" / f"dag_id={DAG}" / f"run_id={RUN}" / f"task_id={task}"
        return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("attempt=*.log")))

    def finish(self) -> None:
        """Wait for the end of the DAG run.

        Raises:
            PipelineError: it failed.
        """
        if (state := self._await("outcome", (*DONE, *BROKEN))) != "success":
            raise PipelineError(f"the run ended as {state}. Logs: {self.home.airflow / 'logs'}")

    def _start(self) -> None:
        services.start_airflow(self.home, self.marker, **SETTINGS)
        services.wait_for_airflow(self.home, self.marker)
        self._airflow = Airflow(self.home)  # the former token is not valid any more
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
        """Run failed tasks again, and those after them, as the button of the user interface does."""
        request = {"dag_run_id": RUN, "only_failed": True, "dry_run": False, "reset_dag_runs": True}
        self._airflow.call("POST", f"/dags/{DAG}/clearTaskInstances", request)


def kill_scheduler(marker: str) -> int:
    """Kill the scheduler and its descendants with SIGKILL. Returns the number of processes."""
    killed = 0
    while found := _scheduler(marker):
        killed += len(found)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(found, timeout=10)
    return killed


def _scheduler(marker: str) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in processes.marked(marker):
        with suppress(psutil.NoSuchProcess):
            if "scheduler" in process.cmdline():
                found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())
