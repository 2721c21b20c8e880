"""Whether the process of an attempt still lives. `kill -9` leaves an attempt in the ledger that never ends by itself.

The ledger names the process by machine, process id and start time, because an id is used again. On the same machine the
answer is exact. A heartbeat would be a commit to the ledger in every minute of every attempt, and would call an attempt
dead that only waits for a slow disk. Nothing here can look at another machine: an attempt there may live until it is
older than any task of the DAGs can be.
"""

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

KILLED = "killed"
# The DAGs end a task after six hours. If this is too short for an attempt on another machine, nothing wrong is written:
# what it staged is cleared, and it fails.
LONGEST = timedelta(days=7)
_TOLERANCE = timedelta(minutes=1)  # a clock that is set shifts the start times of processes


def this_process() -> dict[str, Any]:
    """The columns of the ledger that name this process."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "process_started_at": _began(psutil.Process())}


def cause_of_death(attempt: Mapping[str, Any], now: datetime) -> str | None:
    """Why an attempt that has not recorded its end counts as killed; None while it may live.

    Args:
        attempt: a row of the ledger, whose status is `running`.
        now: the time (aware).
    """
    host, pid = attempt.get("host"), attempt.get("pid")
    if host == socket.gethostname() and pid is not None:
        ended = f"process {pid} ended and recorded nothing, as after kill -9: run the job again"
        return None if _lives(pid, attempt["process_started_at"]) else ended
    if now - attempt["started_at"] > LONGEST:
        return f"no end was recorded in {LONGEST.days} days, on {host or 'a machine that is not known'}"
    return None


def where(attempt: Mapping[str, Any]) -> str:
    """Where an attempt runs that `cause_of_death` does not call killed, and whether that is certain."""
    host, pid = attempt.get("host"), attempt.get("pid")
    if host == socket.gethostname():
        return f"process {pid} lives"
    return f"process {pid} on {host}: only that machine can tell" if host else "on a machine that is not known"


def _lives(pid: int, started_at: datetime) -> bool:
    """Whether this process exists and is the one that began then. One that cannot be looked at may be it."""
    try:
        os.kill(pid, 0)  # sends nothing
        process = psutil.Process(pid)
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return not zombie and abs(_began(process) - started_at) <= _TOLERANCE
    except ProcessLookupError:
        return False
    except (PermissionError, psutil.Error):  # it is another user's
        return True


def _began(process: psutil.Process) -> datetime:
    return datetime.fromtimestamp(process.create_time(), UTC)
