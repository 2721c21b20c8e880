"""Which attempts without an end are killed ones."""

import signal
import socket
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from intentrec.config import ROOT, load_domain, load_profile
from intentrec.storage.liveness import LONGEST, cause_of_death, this_process, where
from intentrec.storage.runs import ledger

CONFIG = ROOT / "conf" / "streaming.yaml"

NOW = datetime(2026, 8, 17, 12, tzinfo=UTC)
NO_PID = 2**22 + 1  # above the largest id that Linux gives


def other_start() -> dict:
    return this_process() | {"process_started_at": this_process()["process_started_at"] - timedelta(days=1)}


@pytest.mark.parametrize(
    ("process", "age", "cause", "place"),
    [
        (this_process(), timedelta(days=30), None, "lives"),
        (this_process() | {"pid": NO_PID}, timedelta(0), f"process {NO_PID} ended and recorded nothing", ""),
        (other_start(), timedelta(0), "ended and recorded nothing", ""),
        (this_process() | {"host": "elsewhere"}, LONGEST, None, "on elsewhere: only that machine can tell"),
        (this_process() | {"host": "elsewhere"}, LONGEST + timedelta(hours=1), "in 7 days, on elsewhere", ""),
        ({}, timedelta(hours=1), None, "not known"),
        (dict.fromkeys(this_process()), timedelta(hours=1), None, "not known"),
        ({}, LONGEST + timedelta(hours=1), "in 7 days, on a machine that is not known", ""),
    ],
    ids=["alive", "gone", "id used again", "elsewhere", "elsewhere, old", "no columns", "nulls", "no columns, old"],
)
def test_an_attempt_is_killed_where_its_process_is_gone(
    process: dict, age: timedelta, cause: str | None, place: str
) -> None:
    attempt = {"started_at": NOW - age, **process}
    found = cause_of_death(attempt, NOW)
    assert found is None if cause is None else cause in str(found)
    assert place in where(attempt)


def test_the_ledger_names_the_machine_and_the_process() -> None:
    mine = this_process()
    assert mine["host"] == socket.gethostname()
    assert mine["process_started_at"] == datetime.fromtimestamp(psutil.Process(mine["pid"]).create_time(), UTC)


ATTEMPT = """
import sys, time
from datetime import date
from intentrec.storage.runs import attempt
with attempt("ingest", date(2026, 8, 3), date(2026, 8, 10), sys.argv[1]):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_kill_leaves_an_attempt_that_status_calls_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from intentrec import cli
    from intentrec.storage.runs import attempt

    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", ATTEMPT, str(CONFIG)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != "ready":
        assert process.poll() is None
    cli.status(CONFIG)
    assert "running: ingest [2026-08-03, 2026-08-10), run " in (said := capsys.readouterr().out)
    assert f"process {process.pid} lives" in said
    process.send_signal(signal.SIGKILL)
    process.wait()
    (row,) = ledger(load_profile(), load_domain(CONFIG))
    assert (row["status"], row["seconds"]) == ("killed", None)
    cli.status(CONFIG)
    assert f"process {process.pid} ended and recorded nothing" in capsys.readouterr().out
    with attempt("ingest", date(2026, 8, 3), date(2026, 8, 10), CONFIG):
        pass
    cli.status(CONFIG)
    assert "killed" not in capsys.readouterr().out, "a later attempt made its rows"
