"""Attempts of a job as the ledger and the caller see them."""

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.errors import PySparkRuntimeError

from intentrec.config import ROOT, load_domain, load_profile
from intentrec.errors import explained
from intentrec.storage import runs
from intentrec.storage.runs import attempt, ledger
from intentrec.training.checkpoint import CHECKPOINT

CONFIG = ROOT / "conf" / "streaming.yaml"
WEEK = (date(2026, 8, 3), date(2026, 8, 10))
# What Airflow's BashOperator tells the processes of a task.
TASK = {
    "AIRFLOW_CTX_DAG_ID": "intentrec_weekly_streaming",
    "AIRFLOW_CTX_DAG_RUN_ID": "manual__1",
    "AIRFLOW_CTX_TASK_ID": "probe",
    "AIRFLOW_CTX_TRY_NUMBER": "2",
}
AIRFLOW_TASK = "dag_id=intentrec_weekly_streaming/run_id=manual__1/task_id=probe/attempt=2"


def test_attempts_beside_one_another_all_have_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delta sees files, not rows, and refuses an append beside an overwrite: such a write is made again."""
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


def test_a_ledger_from_before_a_column_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    profile, domain = load_profile(), load_domain(CONFIG)
    with attempt("probe", *WEEK, CONFIG):
        pass
    path = f"{profile.warehouse}/{domain.domain}/run_ledger"
    old: pa.Table = pa.table(DeltaTable(path).to_pyarrow_table()).drop_columns("airflow_task")
    write_deltalake(path, old, mode="overwrite", schema_mode="overwrite")
    assert "airflow_task" not in ledger(profile, domain)[0]
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    with attempt("probe", *WEEK, CONFIG):
        pass
    found = [(row["status"], row["airflow_task"]) for row in ledger(profile, domain)]
    assert found == [("succeeded", None), ("succeeded", AIRFLOW_TASK)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "free some space"),
        (OSError(27, "File too large"), "free some space"),
        (PySparkRuntimeError(errorClass="JAVA_GATEWAY_EXITED", messageParameters={}), "JVM did not come up"),
        (PermissionError(13, "Permission denied", "/w/interactions"), "owner and rights"),
        (ConnectionError("API request to http://127.0.0.1:9/api failed with exception"), "MLflow does not answer"),
        (FileNotFoundError("/w/sequences/as_of=2026-08-10/part-0.parquet"), "as_of=2026-08-10/part-0.parquet is lost"),
    ],
)
def test_what_the_machine_did_is_told_from_faults(error: Exception, told: str) -> None:
    assert told in str(explained(error))
    assert "again" in str(explained(error))


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


def test_a_full_disk_is_told_whatever_writes(tmp_path: Path) -> None:
    """Files of 100 kB where no more than 50 kB go into one."""
    for name in ("room", "none"):
        (tmp_path / name).mkdir()
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    told = done.stdout.splitlines()
    assert len(told) == 2, done.stderr
    assert all(line.startswith("the disk takes no more: free some space, then run the job again") for line in told)
    assert not (tmp_path / "none" / CHECKPOINT).exists()


def test_a_fault_of_the_job_is_not_explained_away() -> None:
    assert explained(KeyError("user_id")) is None


def test_the_code_is_marked_where_it_differs_and_not_where_a_page_does(
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
