"""Errors that a user can act on. A job prints their message without a traceback and exits with status 1."""

import re
import traceback
from collections.abc import Iterable
from datetime import date
from difflib import get_close_matches

# How Spark, delta-rs and pyarrow report a missing file.
_ABSENT = re.compile(r"FILE_NOT_EXIST|FileNotFound|not found|No such file", re.IGNORECASE)
_DATA_FILE = re.compile(r"(?:\w+:/+)?[\w.=/%-]+\.parquet")
# Failures of the machine or of a service, by a pattern of the error's text: what happened and what to do. `{file}` is
# the file that the error names.
_ENVIRONMENT = {
    r"No space left on device|File too large|Disk quota exceeded|disk I/O error|disk is full": "the disk is full: "
    "free some space",
    r"Permission denied": "access was denied to {file}: check its owner and permissions; a program must be "
    "executable, a folder writable",
    r"Read-only file system|AccessDenied": "{file} cannot be written: check its owner and permissions",
    # An error of Java itself has its trace after the name of the call.
    r"Py4JNetworkError|Answer from Java side is empty|py4j.*Connection (?:refused|reset)|"
    r"Py4JError: An error occurred while calling \S+(?m:$)": "Spark's JVM was "
    "killed or ran out of memory: the machine's log says which",
    r"JAVA_GATEWAY_EXITED": "Spark's JVM did not start: no Java, or it was killed. Its output is printed above",
    r"API request to .* failed|Max retries exceeded|MlflowException.*Connection": "MLflow does not answer: check "
    "that its server runs and that the profile names it",
}


class PipelineError(Exception):
    """An error with a message for the user: what is wrong, where (file, table, interval), and what to do."""


class AuditFailed(PipelineError):
    """A critical expectation failed; nothing was committed."""


class PartialDelivery(PipelineError):
    """A delivery is not whole; nothing was committed."""


class Superseded(PipelineError):
    """Another run changed what this one read, or what it would replace; nothing was committed."""


class Skip(Exception):
    """A job has nothing to do; the message says why. It exits with status 99, which Airflow shows as skipped."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to a wrong one, as part of a message; empty if none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def backfill_command(domain: str, start: date, end: date, options: str = "") -> str:
    """The command that rebuilds the weeks of [start, end), as a message names it.

    Args:
        domain: name of the domain, and of its file.
        start: first service date.
        end: service date after the last.
        options: further options of the command.
    """
    with_make = f"make backfill FROM={start} TO={end} DOMAIN={domain}" + (f' OPTIONS="{options}"' if options else "")
    plain = f"intentrec backfill --from {start} --to {end} --config conf/{domain}.yaml {options}".rstrip()
    return f"`{with_make}` (or `{plain}`)"


def lost_file(error: BaseException) -> str | None:
    """A message for an error about a data file that a table lists but that does not exist; None for other errors."""
    text = f"{type(error).__name__}: {error}"
    found = _DATA_FILE.search(text) if _ABSENT.search(text) else None
    if found is None:
        return None
    return f"data file {found[0]} is lost: run the job that wrote it again over its week"


def explained(error: BaseException) -> str | None:
    """A message for an error that the machine or a service caused; None for every other error, which is a bug."""
    message = lost_file(error)
    if message is not None:
        return message
    text = "".join(traceback.format_exception(error))
    for pattern, cause in _ENVIRONMENT.items():
        if re.search(pattern, text, re.DOTALL):
            return f"{cause.format(file=_file_of(error))}, then run the job again; nothing is half committed"
    return None


def _file_of(error: BaseException | None) -> str:
    """The file that an error of the operating system names, in the chain of causes of `error`."""
    while error is not None:
        if isinstance(error, OSError) and error.filename is not None:
            return str(error.filename)
        error = error.__cause__ or error.__context__
    return "a file, folder or program (the traceback above names it)"
