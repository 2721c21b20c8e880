"""Start a service as a background process, and stop it with everything that it started.

Airflow runs tasks in process groups of their own, so stopping one group is not enough. A service has a marker in its
environment, which all its descendants inherit; `stop` ends every process with the marker.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from intentrec.config import OWN

MARKER = "INTENTREC_SERVICE"


def interruptible() -> None:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that a command stops what it started."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is signal.SIG_DFL:  # under nohup, SIGHUP stays ignored
            signal.signal(name, signal.default_int_handler)


def start(command: list[str], environment: dict[str, str], marker: str, log: Path) -> subprocess.Popen:
    """Start a service in a session of its own. The files that it writes are for this account only.

    Args:
        command: its command line.
        environment: its environment, to which the marker is added.
        marker: by which `marked` and `stop` find its processes.
        log: file to which its output is appended.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            # Airflow renames its processes. Without SPT_NOENV, that would overwrite the environment with the marker.
            env={**environment, MARKER: marker, "SPT_NOENV": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=OWN,
        )
    # At first a new process has no environment, and `marked` would not find it.
    with suppress(psutil.Error):
        while process.poll() is None and not psutil.Process(process.pid).environ():
            time.sleep(0.001)
    return process


def marked(marker: str) -> list[psutil.Process]:
    """Running processes of this user with the marker, without this process."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARKER) == marker:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or of another user
            continue
    return found


def stop(marker: str, patience: float = 15) -> int:
    """Stop every process with the marker, by SIGTERM and after `patience` seconds by SIGKILL. Returns their number."""
    stopped = 0
    while processes := marked(marker):
        stopped += len(processes)
        _end(processes, patience)
    return stopped


def stop_tree(pid: int, patience: float = 15) -> None:
    """Stop a process and its descendants, by SIGTERM and after `patience` seconds by SIGKILL."""
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
