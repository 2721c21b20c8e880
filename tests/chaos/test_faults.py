"""Each kind of fault, injected into a small script in place of a job."""

import sys
from datetime import date
from pathlib import Path

import psutil
import pytest

from intentrec.contracts import SEQUENCES
from intentrec.errors import PipelineError
from intentrec.storage import delta
from tests.chaos import faults
from tests.chaos.crash import RESUMED
from tests.chaos.faults import Fault, Outcome, Service, inject
from tests.registry import world

WEEK = date(2026, 8, 3)
BEGIN = """
import os, pathlib, subprocess, sys, time
home, job = pathlib.Path(sys.argv[1]), sys.argv[2]
"""
WRITES = """
try:
    (home / "warehouse" / "rows").write_bytes(b"x" * 100_000)
except OSError as error:
    sys.exit(f"[{job}] FAILED: {error}")
"""
WAITS = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(home / "pid").write_text(str(child.pid))
time.sleep(600)
"""


class Script(Service):
    """A service whose jobs are all the script `job.py` of its home."""

    def command(self, job: str, start: date, end: date | None = None) -> list[str]:
        return [sys.executable, str(self.home / "job.py"), str(self.home), job]


def script(home: Path, text: str, config: str = "streaming") -> Script:
    (home / "warehouse").mkdir(exist_ok=True)
    (home / "job.py").write_text(BEGIN + text)
    return Script(home, faults.ROOT / "conf" / f"{config}.yaml")


def outcome_under(kind: str, service: Service, job: str = "ingest", week: date = WEEK) -> Outcome:
    return inject(service, Fault(kind, job, week, 0.5), seconds=1.0)


def test_a_job_that_ends_before_its_fault_succeeds(tmp_path: Path) -> None:
    assert outcome_under(faults.JOB_KILLED, script(tmp_path, "print('done')")).ending == "succeeded"
    assert script(tmp_path, "").log.read_text() == "done\n"


def test_a_killed_job_leaves_no_process_behind(tmp_path: Path) -> None:
    service = script(tmp_path, WAITS)
    assert str(outcome_under(faults.JOB_KILLED, service)) == "process killed (job), ingest of 2026-08-03 at 50%: killed"
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_full_disk_fails_the_write_of_a_file(tmp_path: Path) -> None:
    outcome = outcome_under(faults.DISK_FULL, script(tmp_path, WRITES))
    assert outcome.ending == "failed with a message"
    assert "[ingest] FAILED: [Errno 27] File too large" in outcome.message


def test_a_read_only_warehouse_fails_the_write_and_is_writable_afterwards(tmp_path: Path) -> None:
    service = script(tmp_path, WRITES)
    mode = (tmp_path / "warehouse").stat().st_mode
    outcome = outcome_under(faults.READ_ONLY, service)
    assert outcome.ending == "failed with a message"
    assert "Permission denied" in outcome.message
    assert (tmp_path / "warehouse").stat().st_mode == mode


def test_without_mlflow_the_job_gets_a_profile_whose_server_does_not_answer(tmp_path: Path) -> None:
    text = 'sys.exit("FAILED: " + open(os.environ["INTENTREC_PROFILE"]).read().split("mlflow: ")[1].split()[0])'
    outcome = outcome_under(faults.NO_MLFLOW, script(tmp_path, text), job="gate")
    assert outcome.message == "FAILED: http://127.0.0.1:9"


def test_a_failure_without_a_message_is_recognised(tmp_path: Path) -> None:
    assert outcome_under(faults.DISK_FULL, script(tmp_path, "raise ValueError")).ending == "failed without a message"


def test_one_of_two_runs_at_once_may_fail(tmp_path: Path) -> None:
    assert outcome_under(faults.TWO_RUNS, script(tmp_path, "")).ending == "both succeeded"
    exclusive = """
try:
    open(home / "warehouse" / "lock", "x")
except FileExistsError:
    sys.exit("FAILED: another run won")
"""
    assert outcome_under(faults.TWO_RUNS, script(tmp_path, exclusive)).ending == "one succeeded"
    with pytest.raises(PipelineError, match="both runs of ingest over 2026-08-03 failed"):
        outcome_under(faults.TWO_RUNS, script(tmp_path, "sys.exit('FAILED: always')"))


def test_a_lost_data_file_is_one_of_the_week_and_its_job_runs_again(tmp_path: Path) -> None:
    service = script(tmp_path, 'print("ran", job); sys.exit("FAILED: lost" if job == "publish" else 0)')
    warehouse = tmp_path / "warehouse" / "streaming"
    world.write(str(warehouse))
    week, end = world.END - faults.WEEK, world.END + faults.DAY
    of_week = {file.path for file in delta.Snapshot(str(warehouse), SEQUENCES).files(world.END, end)}
    before = {path for path in warehouse.rglob("*.parquet") if "_delta_log" not in path.parts}
    outcome = outcome_under(faults.FILE_LOST, service, job="publish", week=week)
    assert (outcome.ending, outcome.message) == ("failed with a message", "FAILED: lost")
    assert service.log.read_text() == "ran build_sequences\n"
    lost = before - set(warehouse.rglob("*.parquet"))
    assert {str(path.relative_to(warehouse / "sequences")) for path in lost} <= of_week
    assert len(lost) == 1


def test_the_sources_hold_the_lines_of_a_training_that_continues() -> None:
    sources = "".join(path.read_text("utf-8") for path in (faults.ROOT / "intentrec").rglob("*.py"))
    assert [words for words in RESUMED if words not in sources] == []
