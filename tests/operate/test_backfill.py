"""The backfill on a real Airflow started for the purpose, with a stand-in for the jobs' interpreter."""

from datetime import date
from pathlib import Path

import pytest

from intentrec.errors import PipelineError
from intentrec.operate import processes
from intentrec.operate.backfill import LogFiles, backfill
from intentrec.operate.home import Home
from intentrec.operate.progress import Progress

# Takes the place of `python -m jobs.<job> --start S --end E`: notes what it was asked, fails where the test says.
JOB = """#!/bin/bash
job="${2#jobs.}"
echo "$job $4 $6" >> "$NOTES"
echo "[$job $4..$6] started"
if [ "$job $4" = "$FAIL" ]; then echo "[$job] FAILED: no such thing" >&2; exit 1; fi
"""


@pytest.mark.slow
def test_weeks_run_in_order_stop_at_a_failure_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, notes = tmp_path / "job", tmp_path / "notes"
    job.write_text(JOB)
    job.chmod(0o755)
    monkeypatch.setenv("INTENTREC_PYTHON", str(job))
    monkeypatch.setenv("INTENTREC_RETRIES", "0")
    monkeypatch.setenv("NOTES", str(notes))
    home = Home(tmp_path / "home")
    weeks = [("2026-08-03", "2026-08-10"), ("2026-08-10", "2026-08-17")]
    rebuilt = ("ingest", "build_interactions", "build_sequences")

    monkeypatch.setenv("FAIL", "build_interactions 2026-08-03")
    with pytest.raises(PipelineError, match=r"(?s)week 2026-08-03 failed.*FAILED: no such thing"):
        backfill(home, "intentrec_weekly_streaming", date(2026, 8, 3), date(2026, 8, 17), {}, Progress())
    assert [line.split()[0] for line in notes.read_text().splitlines()] == ["ingest", "build_interactions", "report"]
    assert processes.marked(f"{home.path}:backfill") == []

    notes.unlink()
    capsys.readouterr()
    monkeypatch.setenv("FAIL", "")
    backfill(home, "intentrec_weekly_streaming", date(2026, 8, 3), date(2026, 8, 17), {}, Progress())
    asked = [tuple(line.split()) for line in notes.read_text().splitlines()]
    assert asked == [(name, *week) for week in weeks for name in (*rebuilt, "report")]
    shown = capsys.readouterr().out
    assert [f"week {start}: success" in shown for start, _ in weeks] == [True, True]
    assert "[train 2026-08-03..2026-08-10] skipped" in shown
    assert processes.marked(f"{home.path}:backfill") == []


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
