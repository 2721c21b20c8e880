"""Attempts of a job as the ledger and the caller see them."""

import subprocess
import sys
from pathlib import Path

import pytest

from intentrec.config import ROOT, load_domain, load_profile
from intentrec.errors import explained
from intentrec.runs import ledger

JOB = """
import sys
from intentrec.errors import PipelineError, Skip
from intentrec.runs import main

def body(run, args):
    run.counts["events.read"] = 3
    run.inputs["catalog"] = 4
    if args.how == "skip":
        raise Skip("nothing to train on")
    if args.how == "refuse":
        raise PipelineError("table x does not exist: run y")
    if args.how == "crash":
        raise RuntimeError("boom")

main("probe", "A job for this test.", body, lambda parser: parser.add_argument("--how", default="work"))
"""


def run_job(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = home / "probe.py"
    script.write_text(JOB)
    command = [sys.executable, str(script), "--config", str(ROOT / "conf" / "streaming.yaml"), *arguments]
    environment = {"INTENTREC_HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("how", "status", "exit_code", "message"),
    [
        ("work", "succeeded", 0, None),
        ("skip", "skipped", 99, "nothing to train on"),
        ("refuse", "failed", 1, "PipelineError: table x does not exist: run y"),
        ("crash", "failed", 1, "RuntimeError: boom"),
    ],
)
def test_each_ending_has_its_row_and_exit_code(
    how: str, status: str, exit_code: int, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_job(tmp_path, "--start", "2026-08-03", "--end", "2026-08-10", "--how", how)
    assert result.returncode == exit_code, result.stderr
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    rows = ledger(load_profile(), load_domain(ROOT / "conf" / "streaming.yaml"))
    assert [(row["job"], row["status"], row["message"]) for row in rows] == [("probe", status, message)]
    assert rows[0]["counts"] == {"events.read": 3}
    assert rows[0]["inputs"] == {"catalog": 4}
    assert rows[0]["seconds"] > 0
    # A user's mistake is told in one line; only a defect of ours shows a traceback.
    assert ("Traceback" in result.stderr) == (how == "crash")


def test_an_empty_interval_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    result = run_job(tmp_path, "--start", "2026-08-10", "--end", "2026-08-10")
    assert result.returncode == 1
    assert "--end 2026-08-10 is not after --start 2026-08-10" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["probe.py"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "free some space"),
        (OSError(27, "File too large"), "free some space"),
        (PermissionError(13, "Permission denied", "/w/interactions"), "owner and rights"),
        (ConnectionError("API request to http://127.0.0.1:9/api failed with exception"), "MLflow does not answer"),
        (FileNotFoundError("/w/sequences/as_of=2026-08-10/part-0.parquet"), "as_of=2026-08-10/part-0.parquet is lost"),
    ],
)
def test_what_the_machine_did_is_told_from_faults(error: Exception, told: str) -> None:
    assert told in str(explained(error))
    assert "again" in str(explained(error))


def test_a_fault_of_the_job_is_not_explained_away() -> None:
    assert explained(KeyError("user_id")) is None
