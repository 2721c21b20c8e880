"""The lines of a job: what is said, and the run, job and interval that it is said of.

As text, `[ingest 2026-09-14..2026-09-21 3f9a1c04] started`, the run by the first eight letters of its id; with
INTENTREC_LOG=json, one object a line. Printed rather than given to Python's logging, whose handlers belong to whatever
program has loaded a job: a job's lines are its output, and look alike under Airflow, spark-submit and by hand.
"""

import json
import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime

INFO, WARNING, ERROR = "info", "warning", "error"
SHORT = 8  # letters of a run id that a person needs to find the run
UNEXPECTED = "unexpected error, whose traceback stands above"
_MARKS = {INFO: "", WARNING: "warning: ", ERROR: "FAILED: "}
# Without a run where the ledger knows of none: it failed before, or a DAG says that it was not asked for.
_TEXT = re.compile(r"^\[[a-z_]+( \d{4}-\d\d-\d\d\.\.\d{4}-\d\d-\d\d( [0-9a-f]{8})?)?\] ")
# Airflow tells a task's processes who they are; the names are those of the folders in which it keeps their logs.
_AIRFLOW = {"dag_id": "DAG_ID", "run_id": "DAG_RUN_ID", "task_id": "TASK_ID", "attempt": "TRY_NUMBER"}


@dataclass(frozen=True)
class Speaker:
    """Who says a line: a job over an interval, and the attempt as the ledger knows it."""

    job: str
    start: date
    end: date
    run_id: str | None = None

    def say(self, message: str, level: str = INFO, trace: str | None = None) -> None:
        """Print a line, an error as one; of an unexpected error with its traceback."""
        line = (self._json if as_json() else self.text)(message, level, trace)
        print(line, file=sys.stderr if level == ERROR else None, flush=True)

    def text(self, message: str, level: str, trace: str | None) -> str:
        """The line as a person reads it."""
        run = f" {self.run_id[:SHORT]}" if self.run_id else ""
        return f"{trace or ''}[{self.job} {self.start}..{self.end}{run}] {_MARKS[level]}{message}"

    def _json(self, message: str, level: str, trace: str | None) -> str:
        fields = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "run_id": self.run_id,
            "job": self.job,
            "start": str(self.start),
            "end": str(self.end),
            "message": message,
            "airflow_task": airflow_task(),
            "traceback": trace,
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None}, ensure_ascii=False)


def as_json() -> bool:
    """Whether lines are JSON objects."""
    return os.environ.get("INTENTREC_LOG") == "json"


def airflow_task() -> str | None:
    """The attempt of Airflow's task that started this process, as Airflow names its log; None of any other process."""
    found = {name: os.environ.get(f"AIRFLOW_CTX_{key}") for name, key in _AIRFLOW.items()}
    return "/".join(f"{name}={value}" for name, value in found.items()) if all(found.values()) else None


def text_of(line: str) -> str | None:
    """A line that a job said, as text, whichever form it has; None of every other line."""
    if _TEXT.match(line):
        return line
    try:
        said = json.loads(line)
        speaker = Speaker(said["job"], said["start"], said["end"], said.get("run_id"))
        return speaker.text(said["message"], said["level"], said.get("traceback"))
    except (ValueError, KeyError, TypeError):
        return None
