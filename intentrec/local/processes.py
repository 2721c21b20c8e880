"""Start a service as a background process, and stop everything that it started.

Airflow runs tasks in process groups of their own, so stopping a group is not enough. A service has a marker in its
environment, which all its descendants inherit; `stop` ends every process with the marker.
"""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

MARKER = "INTENTREC_SERVICE"


def start(command: list[str], environment: dict[str, str], marker: str, log: Path) -> subprocess.Popen:
    """Start a service in a session of its own, marked, writing to a log file."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            # Airflow renames its processes; without SPT_NOENV that overwrites the environment that holds the marker.
            env={**environment, MARKER: marker, "SPT_NOENV": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # For a moment a new process has no environment. Until then `marked` would not find it.
    with suppress(psutil.Error):
        while process.poll() is None and not psutil.Process(process.pid).environ():
            time.sleep(0.001)
    return process


def marked(marker: str) -> list[psutil.Process]:
    """Running processes of this user that carry the marker."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARKER) == marker:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or of another user
            continue
    return found


def stop(marker: str, patience: float = 15) -> int:
    """Stop everything that carries the marker. Returns how many processes there were."""
    stopped = 0
    while processes := marked(marker):
        stopped += len(processes)
        _end(processes, patience)
    return stopped


def stop_tree(pid: int, patience: float = 15) -> None:
    """Stop a process and all that descend from it."""
    try:
        root = psutil.Process(pid)
        _end([*root.children(recursive=True), root], patience)
    except psutil.NoSuchProcess:
        return


def _end(processes: list[psutil.Process], patience: float) -> None:
    for process in processes:
        _signal(process, "terminate")
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        _signal(process, "kill")
    psutil.wait_procs(alive, timeout=patience)


def _signal(process: psutil.Process, how: str) -> None:
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return
