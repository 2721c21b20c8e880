"""Errors that a user can act on. A job prints their message without a traceback and exits with status 1."""

import re

# How Spark, delta-rs and pyarrow say that a file is not there.
_ABSENT = re.compile(r"FILE_NOT_EXIST|FileNotFound|not found|No such file", re.IGNORECASE)
_DATA_FILE = re.compile(r"(?:\w+:/+)?[\w.=/%-]+\.parquet")


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
