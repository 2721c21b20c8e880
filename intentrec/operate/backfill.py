"""Rebuild a range of weeks through Airflow's own backfill, and follow it to its end."""

import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from intentrec.errors import PipelineError
from intentrec.operate import processes, services
from intentrec.operate.home import Home
from intentrec.operate.progress import Progress
from intentrec.operate.rest import Airflow

WEEK = timedelta(days=7)
FAILED, DONE = "failed", ("success", "failed")


def backfill(home: Home, dag: str, start: date, end: date, conf: dict, progress: Progress) -> None:
    """Run every week of [start, end), oldest first, one at a time; stop at the first that fails.

    The services that `up` started are used if they run. Otherwise a scheduler is started for the purpose, with
    schedules off, so that unpausing the DAG for the backfill does not start its ordinary weekly run.

    Raises:
        PipelineError: a run failed (the message holds the last lines of its jobs), or Airflow refused the backfill.
    """
    home.prepare()
    if processes.marked(services.up_marker(home)):
        _require_unpaused(Airflow(home), dag)
        _follow(Airflow(home), dag, start, end, conf, progress)
        return
    own = replace(home, airflow_port=services.free_port())
    marker = f"{home.path}:backfill"
    try:
        progress.say("starting Airflow for the backfill")
        services.start_airflow(own, marker, SCHEDULER__USE_JOB_SCHEDULE="False")
        services.wait_for_airflow(own, marker)
        airflow = Airflow(own)
        paused = _parsed(airflow, dag)["is_paused"]
        airflow.call("PATCH", f"/dags/{dag}", {"is_paused": False})
        try:
            _follow(airflow, dag, start, end, conf, progress)
        finally:
            airflow.call("PATCH", f"/dags/{dag}", {"is_paused": paused})
    finally:
        processes.stop(marker)


def _follow(airflow: Airflow, dag: str, start: date, end: date, conf: dict, progress: Progress) -> None:
    logs = LogFiles(airflow.home.airflow / "logs" / f"dag_id={dag}")
    request = {
        "dag_id": dag,
        "from_date": f"{start}T00:00:00Z",
        "to_date": f"{end - WEEK}T00:00:00Z",
        "dag_run_conf": conf,
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
    }
    number = airflow.call("POST", "/backfills", request)["id"]
    wanted = (end - start) // WEEK
    progress.say(f"backfill {number} of {dag}: {wanted} weeks, {start}..{end}")
    states: dict[str, str] = {}
    while True:
        for record in logs.new_lines():
            progress.feed(record)
        runs = _runs(airflow, dag, start, end)
        for run in runs:
            if states.get(run["logical_date"]) != run["state"]:
                states[run["logical_date"]] = run["state"]
                progress.say(f"week {run['logical_date'][:10]}: {run['state']}")
        if FAILED in states.values():
            break
        over = all(run["state"] in DONE for run in runs)
        if over and len(runs) == wanted:
            return
        if over and airflow.call("GET", f"/backfills/{number}")["completed_at"]:
            raise PipelineError(
                f"backfill {number} of {dag} made {len(runs)} of {wanted} runs: the other weeks are not over yet, or "
                "have a run in progress"
            )
        time.sleep(2)
    if not airflow.call("GET", f"/backfills/{number}")["completed_at"]:
        airflow.call("PUT", f"/backfills/{number}/cancel")
    for record in logs.new_lines():
        progress.feed(record)
    failed = min(day for day, state in states.items() if state == FAILED)
    raise PipelineError(
        f"week {failed[:10]} failed; later weeks were not begun. Its last lines:\n{progress.last_words()}\n"
        f"Logs: {logs.folder}. Mend the cause and run the same backfill again."
    )


def _runs(airflow: Airflow, dag: str, start: date, end: date) -> list[dict]:
    query = f"run_type=backfill&logical_date_gte={start}T00:00:00Z&logical_date_lt={end}T00:00:00Z&limit=500"
    return airflow.call("GET", f"/dags/{dag}/dagRuns?{query}&order_by=logical_date")["dag_runs"]


def _parsed(airflow: Airflow, dag: str, patience: float = 120) -> dict:
    """The DAG as the server knows it, once its file was read."""
    until = time.monotonic() + patience
    while True:
        try:
            return airflow.call("GET", f"/dags/{dag}")
        except PipelineError as error:
            if "404" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(1)


def _require_unpaused(airflow: Airflow, dag: str) -> None:
    if _parsed(airflow, dag)["is_paused"]:
        raise PipelineError(
            f"{dag} is paused in the Airflow that `make up` started, so a backfill would wait for ever. "
            "Unpause it there (which starts its weekly schedule too), or `make down` first."
        )


class LogFiles:
    """Lines added to any task log under a folder since this object was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = {path: path.stat().st_size for path in self._files()}

    def new_lines(self) -> list[str]:
        """Whole lines written since the last call, file by file."""
        lines: list[str] = []
        for path in self._files():
            begin = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                text, newline, _ = file.read().rpartition(b"\n")
            self._read[path] = begin + len(text) + len(newline)
            lines += text.decode(errors="replace").splitlines()
        return lines

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("run_id=*/task_id=*/attempt=*.log"), key=lambda path: path.stat().st_mtime)
