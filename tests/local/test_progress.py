"""Which lines of Airflow's log reach the terminal."""

import json
from pathlib import Path

import pytest

from intentrec.local.progress import LogFiles, Progress

HOOK = "airflow.task.hooks.airflow.providers.standard.hooks.subprocess.SubprocessHook"


def record(event: object, logger: str = HOOK) -> str:
    return json.dumps({"event": event, "logger": logger, "level": "info"})


def test_job_lines_are_shown_and_the_rest_is_kept_or_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    shown = [
        "[ingest 2026-08-03..2026-08-10 0123abcd] started",
        "[train] FAILED: no week",
        "[gate 2026-08-03..2026-08-10 4567cdef] warning: few users",
    ]
    structured = {"level": "warning", "run_id": "4567cdef" * 4, "job": "gate", "message": "few users"}
    structured |= {"start": "2026-08-03", "end": "2026-08-10"}
    for line in [
        record("Running command: ['bash']"),
        record(shown[0]),
        record("Traceback (most recent call last):"),
        record("[3 of 5] not a job"),
        record(shown[1]),
        record(json.dumps(structured)),
        record('{"version": "3", "page": "not a line of a job"}'),
        record("[ingest 2026-08-03..2026-08-10] an imitation", logger="task"),
        "not json",
        "[]",
    ]:
        progress.feed(line)
    assert [line[7:] for line in capsys.readouterr().out.splitlines()] == shown
    others = ["Traceback (most recent call last):", "[3 of 5] not a job"]
    assert list(progress.tail)[:-1] == [shown[0], *others, *shown[1:]]


def test_the_tail_is_bounded() -> None:
    progress = Progress(keep=2)
    for number in range(5):
        progress.feed(record(f"line {number}"))
    assert progress.last_lines() == "    line 3\n    line 4"


def test_log_files_give_every_new_line_once(tmp_path: Path) -> None:
    folder = tmp_path / "dag_id=x"
    old = folder / "run_id=1" / "task_id=a" / "attempt=1.log"
    old.parent.mkdir(parents=True)
    old.write_text("before\n")
    logs = LogFiles(folder)
    assert logs.new_lines() == []
    with old.open("a") as file:
        file.write("one\ntw")
    assert logs.new_lines() == ["one"]
    new = folder / "run_id=2" / "task_id=a" / "attempt=1.log"
    new.parent.mkdir(parents=True)
    new.write_text("three\n")
    with old.open("a") as file:
        file.write("o\n")
    assert sorted(logs.new_lines()) == ["three", "two"]
    assert logs.new_lines() == []
