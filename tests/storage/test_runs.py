"""Attempts of a job in the run ledger, and the version of the code that made them."""

import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import pytest
from deltalake import write_deltalake

from intentrec.config import ROOT, load_domain, load_profile
from intentrec.contracts import RUN_LEDGER
from intentrec.errors import PipelineError, Skip
from intentrec.storage import delta, runs
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import attempt, ledger

CONFIG = ROOT / "conf" / "streaming.yaml"
WEEK = (date(2026, 8, 3), date(2026, 8, 10))
# Variables that Airflow's BashOperator sets in the processes of a task.
TASK = {
    "AIRFLOW_CTX_DAG_ID": "intentrec_weekly_streaming",
    "AIRFLOW_CTX_DAG_RUN_ID": "manual__1",
    "AIRFLOW_CTX_TASK_ID": "probe",
    "AIRFLOW_CTX_TRY_NUMBER": "2",
}
AIRFLOW_TASK = "dag_id=intentrec_weekly_streaming/run_id=manual__1/task_id=probe/attempt=2"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (None, "succeeded", "approved by a person"),
        (Skip("nothing to train on"), "skipped", "nothing to train on"),
        (PipelineError("table x does not exist"), "failed", "PipelineError: table x does not exist"),
        (RuntimeError("boom"), "failed", "RuntimeError: boom"),
        (KeyboardInterrupt(), "failed", "KeyboardInterrupt: "),
    ],
)
def test_the_ledger_says_how_an_attempt_ended(
    error: BaseException | None, status: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    with pytest.raises(type(error)) if error else nullcontext(), attempt("probe", *WEEK, CONFIG) as run:
        (row,) = ledger(load_profile(), load_domain(CONFIG))
        assert (row["run_id"], row["status"], row["seconds"]) == (run.run_id, "running", None)
        run.counts["events.read"], run.inputs["catalog"], run.outputs["interactions"] = 3, 4, 5
        run.note = "approved by a person"
        if error:
            raise error
    (row,) = ledger(load_profile(), load_domain(CONFIG))
    assert (row["job"], row["start"], row["end"], row["status"], row["message"]) == ("probe", *WEEK, status, message)
    assert (row["counts"], row["inputs"], row["outputs"]) == ({"events.read": 3}, {"catalog": 4}, {"interactions": 5})
    assert row["seconds"] > 0
    assert row["airflow_task"] is None


def test_an_empty_interval_begins_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    wrong = pytest.raises(PipelineError, match="--end 2026-08-03 is not after --start 2026-08-03")
    with wrong, attempt("probe", WEEK[0], WEEK[0], CONFIG):
        pass
    assert ledger(load_profile(), load_domain(CONFIG)) == []


def test_concurrent_attempts_all_have_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delta detects conflicts by file, and refuses an append during an overwrite. Such a write is tried again."""
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))

    def attempts(job: str) -> None:
        for _ in range(6):
            with attempt(job, *WEEK, CONFIG):
                pass

    with attempt("first", *WEEK, CONFIG), ThreadPoolExecutor(3) as beside:
        list(beside.map(attempts, ("a", "b", "c")))
    rows = ledger(load_profile(), load_domain(CONFIG))
    assert Counter((row["job"], row["status"]) for row in rows) == {
        ("first", "succeeded"): 1,
        **{(job, "succeeded"): 6 for job in "abc"},
    }


def test_a_ledger_that_is_older_than_a_column_is_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    profile, domain = load_profile(), load_domain(CONFIG)
    with attempt("probe", *WEEK, CONFIG):
        pass
    path = f"{profile.warehouse}/{domain.domain}/run_ledger"
    old = Snapshot(delta.warehouse_of(profile, domain), RUN_LEDGER).rows().drop_columns("airflow_task")
    write_deltalake(path, old, mode="overwrite", schema_mode="overwrite")
    assert "airflow_task" not in ledger(profile, domain)[0]
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    with attempt("probe", *WEEK, CONFIG):
        pass
    found = [(row["status"], row["airflow_task"]) for row in ledger(profile, domain)]
    assert found == [("succeeded", None), ("succeeded", AIRFLOW_TASK)]


def test_the_version_is_marked_where_code_differs_and_not_where_a_page_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def version() -> str:
        runs.code_version.cache_clear()
        return runs.code_version()

    monkeypatch.setattr(runs, "checkout", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    try:
        assert version() == "0.1.0"
        for file in ("intentrec/a.py", "docs/page.md"):
            (tmp_path / file).parent.mkdir()
            (tmp_path / file).write_text("1")
        git("init", "-q")
        git("add", "-A")
        git("commit", "-qm", "first")
        commit = git("rev-parse", "--short=12", "HEAD").strip()
        assert version() == commit
        (tmp_path / "docs" / "page.md").write_text("2")
        assert version() == commit
        (tmp_path / "intentrec" / "new.py").write_text("1")
        assert version() == commit + "+"
        (tmp_path / "intentrec" / "new.py").unlink()
        (tmp_path / "intentrec" / "a.py").write_text("2")
        assert version() == commit + "+"
        monkeypatch.setenv("PATH", str(tmp_path))  # no git there
        assert version() == "0.1.0"
    finally:
        runs.code_version.cache_clear()
