"""Messages for errors that the machine or a service causes."""

import subprocess
import sys
from pathlib import Path

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkRuntimeError

from intentrec.config import ROOT
from intentrec.errors import explained
from intentrec.training.checkpoint import CHECKPOINT


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (OSError(28, "No space left on device"), "free some space"),
        (OSError(27, "File too large"), "free some space"),
        (PySparkRuntimeError(errorClass="JAVA_GATEWAY_EXITED", messageParameters={}), "JVM did not start"),
        (
            PermissionError(13, "Permission denied", "/w/interactions"),
            "denied to /w/interactions: check its owner and perm",
        ),
        (
            PermissionError(13, "Permission denied", "/jdk/bin/java"),
            "/jdk/bin/java: check its owner and permissions; a program",
        ),
        (OSError(30, "Read-only file system", "/w/interactions"), "/w/interactions cannot be written: check its owner"),
        (
            RuntimeError("java.io.FileNotFoundException: /w/x (Permission denied)"),
            "denied to a file, folder or program",
        ),
        (ConnectionError("API request to http://127.0.0.1:9/api failed with exception"), "MLflow does not answer"),
        (Py4JError("An error occurred while calling o46._1"), "JVM was killed or ran out of memory"),
        (FileNotFoundError("/w/sequences/as_of=2026-08-10/part-0.parquet"), "as_of=2026-08-10/part-0.parquet is lost"),
    ],
)
def test_failures_of_the_machine_are_explained(error: Exception, part: str) -> None:
    assert part in str(explained(error))
    assert "again" in str(explained(error))


def test_an_error_of_java_itself_is_no_killed_jvm() -> None:
    assert explained(Py4JError("An error occurred while calling o46._1. Trace:\njava.lang.RuntimeException: x")) is None


FULL = """
import resource, sqlite3, sys
from pathlib import Path
import torch
from intentrec.errors import explained
from intentrec.training.checkpoint import save_checkpoint

def rows(folder):
    with sqlite3.connect(folder / "rows.db") as database:
        database.execute("create table rows (text)")
        database.executemany("insert into rows values (?)", [("x" * 1000,)] * 100)

def checkpoint(folder):
    save_checkpoint(folder, {"weights": torch.zeros(25_000)})

for write in (rows, checkpoint):
    write(Path(sys.argv[1]) / "room")
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for write in (rows, checkpoint):
    try:
        write(Path(sys.argv[1]) / "none")
        print("written")
    except Exception as error:
        print(explained(error))
"""


def test_a_full_disk_is_recognised_whatever_writes(tmp_path: Path) -> None:
    """Files of 100 kB where a file may have 50 kB at most."""
    for name in ("room", "none"):
        (tmp_path / name).mkdir()
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all(line.startswith("the disk is full: free some space, then run the job again") for line in lines)
    assert not (tmp_path / "none" / CHECKPOINT).exists()


def test_a_bug_of_the_job_is_not_explained() -> None:
    assert explained(KeyError("user_id")) is None
