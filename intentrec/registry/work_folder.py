"""The working folder of a training: its lock, and the removal of abandoned ones.

Locks are the operating system's, so the lock of a killed process is free again.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from intentrec.storage.runs import Run


@contextmanager
def exclusive(work: Path, run: Run) -> Iterator[None]:
    """Hold the lock of `work` while the block runs; wait until no other process holds it.

    Two processes that train from the same inputs would overwrite each other's files.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            run.say("waiting: another run trains from these inputs")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_abandoned(week: Path) -> None:
    """Remove the folders that killed trainings left below `week`; that of a running training is locked and stays."""
    for folder in [path for path in week.iterdir() if path.is_dir()]:
        with folder.with_suffix(".lock").open("w") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
