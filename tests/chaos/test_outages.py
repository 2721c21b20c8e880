"""The plan of the scheduler's kills, and the kill itself; `make crash` runs all of it."""

import sys
import time
from datetime import date
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentrec.errors import PipelineError
from intentrec.local import processes
from intentrec.local.progress import Progress
from tests.chaos import outages
from tests.chaos.crash import JOBS

FIRST = date(2026, 8, 3)
# In place of Airflow: starts two processes, one of them with the scheduler's command line, which starts a task.
SERVICE = """
import subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
task = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
scheduler = subprocess.Popen([sys.executable, "-c", task, "scheduler"])
triggerer = subprocess.Popen([*sleep, "triggerer"])
print("started", flush=True)
scheduler.wait()
triggerer.wait()
"""


@given(st.integers(0, len(JOBS)), st.integers(0, 20))
def test_each_kill_hits_another_task_in_the_order_of_the_run(kills: int, seed: int) -> None:
    faults = outages.plan(FIRST, kills, seed)
    hit = [fault.job for fault in faults]
    assert hit == [job for job in JOBS if job in hit]
    assert len(hit) == len(set(hit)) == kills
    assert all(0 < fault.moment <= 1 for fault in faults)
    assert faults == outages.plan(FIRST, kills, seed)


def test_more_kills_than_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="7 kills of 6 tasks"):
        outages.outages(tmp_path / "home", 1, 7, 0, 10, Progress())


def test_a_kill_takes_what_the_scheduler_started_and_nothing_else(tmp_path: Path) -> None:
    marker = f"{tmp_path}:test"
    environment = {"PATH": "/usr/bin:/bin"}
    service = processes.start([sys.executable, "-c", SERVICE], environment, marker, tmp_path / "log")
    try:
        while len(found := psutil.Process(service.pid).children(recursive=True)) < 3:
            assert service.poll() is None
            time.sleep(0.05)
        assert outages.kill_scheduler(marker) == 2
        left = [each for each in found if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        assert [each.cmdline()[-1] for each in left] == ["triggerer"]
    finally:
        processes.stop(marker)
    assert service.wait(10) is not None
    assert processes.marked(marker) == []
