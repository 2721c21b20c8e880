"""Errors that a user can act on. A job prints their message without a traceback and exits with status 1."""

import re
import traceback

# How Spark, delta-rs and pyarrow say that a file is not there.
_ABSENT = re.compile(r"FILE_NOT_EXIST|FileNotFound|not found|No such file", re.IGNORECASE)
_DATA_FILE = re.compile(r"(?:\w+:/+)?[\w.=/%-]+\.parquet")
# What went wrong around a job rather than in it, by what its error says somewhere, and what to do.
_AROUND = {
    r"No space left on device|File too large|Disk quota exceeded|disk I/O error|disk is full": "the disk takes no "
    "more: free some space",
    r"Permission denied|Read-only file system|AccessDenied": "a folder cannot be written: look at its owner and rights",
    r"Py4JNetworkError|Answer from Java side is empty|py4j.*Connection (?:refused|reset)": "Spark's JVM is gone, "
    "killed or out of memory: the machine's log tells which",
    r"JAVA_GATEWAY_EXITED": "Spark's JVM did not come up, killed or without a Java: what it said stands above",
    r"API request to .* failed|Max retries exceeded|MlflowException.*Connection": "MLflow does not answer: look "
    "whether its server runs and the profile names it",
}


class PipelineError(Exception):
    """What was wrong, where (file, table, interval) and what to do."""


class AuditFailed(PipelineError):
    """A critical expectation failed; nothing was committed."""


class Skip(Exception):
    """A job has nothing to do, and why; it ends with status 99, which Airflow shows as skipped."""


def lost_file(error: BaseException) -> str | None:
    """What to say of an error that comes from a data file that a table names and nobody finds; None of any other."""
    text = f"{type(error).__name__}: {error}"
    found = _DATA_FILE.search(text) if _ABSENT.search(text) else None
    if found is None:
        return None
    return f"data file {found[0]} is lost; run the job that wrote it over its week again, it writes the rows anew"


def explained(error: BaseException) -> str | None:
    """What to say of an error that the machine around a job made; None of any other, which is a fault of the job."""
    told = lost_file(error)
    if told is not None:
        return told
    text = "".join(traceback.format_exception(error))
    for pattern, what in _AROUND.items():
        if re.search(pattern, text, re.DOTALL):
            return f"{what}, then run the job again; nothing is half committed"
    return None
