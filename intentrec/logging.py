"""The lines that a job prints. Each names the job, its interval and its run.

A line is text, such as `[ingest 2026-09-14..2026-09-21 3f9a1c04] started`, with the first eight characters of the run's
id. With INTENTREC_LOG=json it is a JSON object.

The lines are printed and do not pass through Python's logging. Its handlers belong to the program that loads the job,
so the lines would differ between Airflow, spark-submit and a terminal.
"""

import json
import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime

INFO, WARNING, ERROR = "info", "warning", "error"
SHORT_ID = 8  # characters of a run id in a line of text
UNEXPECTED = "unexpected error; its traceback is printed above"
_MARKS = {INFO: "", WARNING: "warning: ", ERROR: "FAILED: "}
# A line has no run if the job failed before its attempt began, or if the DAG skipped the job.
_TEXT = re.compile(r"^\[[a-z_]+( \d{4}-\d\d-\d\d\.\.\d{4}-\d\d-\d\d( [0-9a-f]{8})?)?\] ")
# Airflow sets these variables in the processes of a task. The names are those of the folders of its task logs.
_AIRFLOW = {"dag_id": "DAG_ID", "run_id": "DAG_RUN_ID", "task_id": "TASK_ID", "attempt": "TRY_NUMBER"}


@dataclass(frozen=True)
class JobLog:
    """The log of a job over [start, end); `run_id` is None before the attempt is in the ledger."""

    job: str
    start: date
    end: date
    run_id: str | None = None

    def write(self, message: str, level: str = INFO, trace: str | None = None) -> None:
        """Print a line; errors go to stderr.

        Args:
            message: what happened.
            level: INFO, WARNING or ERROR.
            trace: the traceback of an unexpected error, printed before the line.
        """
        line = (self._json if as_json() else self.text)(message, level, trace)
        print(line, file=sys.stderr if level == ERROR else None, flush=True)

    def text(self, message: str, level: str, trace: str | None) -> str:
        """The line of `write` as text."""
        run = f" {self.run_id[:SHORT_ID]}" if self.run_id else ""
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
    """Airflow's attempt of the task that runs this process, named like its log; None outside Airflow."""
    found = {name: os.environ.get(f"AIRFLOW_CTX_{key}") for name, key in _AIRFLOW.items()}
    return "/".join(f"{name}={value}" for name, value in found.items()) if all(found.values()) else None


def text_of(line: str) -> str | None:
    """A job's line as text, whether it was printed as text or as JSON; None for a line that is not a job's."""
    if _TEXT.match(line):
        return line
    try:
        fields = json.loads(line)
        log = JobLog(fields["job"], fields["start"], fields["end"], fields.get("run_id"))
        return log.text(fields["message"], fields["level"], fields.get("traceback"))
    except (ValueError, KeyError, TypeError):
        return None
