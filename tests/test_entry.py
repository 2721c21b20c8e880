"""How a job ends: its exit status, its lines, its row in the ledger, and its run page."""

import ast
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from intentrec import entry
from intentrec.config import ROOT, load_domain, load_profile
from intentrec.errors import AuditFailed, PipelineError, Skip
from intentrec.logging import text_of
from intentrec.reports import run_page
from intentrec.storage.runs import ledger
from tests.storage.test_runs import AIRFLOW_TASK, TASK

CONFIG = ROOT / "conf" / "streaming.yaml"
WEEK = ("--start", "2026-08-03", "--end", "2026-08-10")
ENDINGS: dict[str, Exception] = {
    "skip": Skip("nothing to train on"),
    "refuse": PipelineError("table x does not exist: run y"),
    "audit": AuditFailed("interactions: 1 of 9 expectations failed"),
    "crash": RuntimeError("boom"),
}


def probe(
    start: entry.Start,
    end: entry.End,
    config: entry.Config,
    profile: entry.ProfileFile = None,
    how: Annotated[str, typer.Option(help="how it ends")] = "work",
) -> None:
    """A job for these tests."""
    with entry.job("probe", start, end, config, profile) as run:
        run.counts["events.read"] = 3
        run.inputs["catalog"] = 4
        run.say("half way")
        run.warn("few rows")
        if how in ENDINGS:
            raise ENDINGS[how]


@pytest.fixture
def run_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Execute the job in this process, in a home of this test; returns its exit status."""
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))

    def run(*arguments: str) -> int:
        try:
            entry.application(probe, probe.__doc__)(["--config", str(CONFIG), *arguments], standalone_mode=False)
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run


def rows() -> list[dict]:
    return ledger(load_profile(), load_domain(CONFIG))


def page_of(home: Path) -> Path:
    return home / "reports" / "streaming" / "2026-08-03_2026-08-10" / "report.html"


@pytest.mark.parametrize(
    ("how", "status", "exit_code", "message", "last"),
    [
        ("work", "succeeded", 0, None, "succeeded in "),
        ("skip", "skipped", 99, "nothing to train on", "skipped: nothing to train on"),
        (
            "refuse",
            "failed",
            1,
            "PipelineError: table x does not exist: run y",
            "FAILED: table x does not exist: run y",
        ),
        ("audit", "failed", 1, "AuditFailed: interactions: 1 of 9 expectations failed", "FAILED: interactions: 1 of 9"),
        ("crash", "failed", 1, "RuntimeError: boom", "FAILED: unexpected error"),
    ],
)
def test_each_ending_has_its_row_its_exit_status_and_its_page(
    how: str,
    status: str,
    exit_code: int,
    message: str | None,
    last: str,
    run_probe: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_probe(*WEEK, "--how", how) == exit_code
    (row,) = rows()
    assert (row["job"], row["status"], row["message"]) == ("probe", status, message)
    assert row["counts"] == {"events.read": 3}
    assert row["inputs"] == {"catalog": 4}
    assert row["seconds"] > 0
    assert row["airflow_task"] is None
    output, errors = capsys.readouterr()
    # A mistake of the user is one line; only a bug shows a traceback.
    assert ("Traceback" in errors) == (how == "crash")
    spoken = output.splitlines() + errors.splitlines()[-1:]
    begin = f"[probe 2026-08-03..2026-08-10 {row['run_id'][:8]}] "
    assert [line for line in spoken if not line.startswith(begin)] == []
    said = [line.removeprefix(begin) for line in spoken]
    page = page_of(tmp_path)
    assert said.pop(4 if exit_code in (0, 99) else 3) == f"run page: {page}"
    assert said[0].startswith("started, ")
    assert said[1:3] == ["half way", "warning: few rows"]
    assert said[3].startswith(last)
    assert len(said) == 4
    assert all(text_of(line) == line for line in spoken)
    assert page.stat().st_size > 1000


@pytest.mark.parametrize(("how", "exit_code"), [("work", 0), ("skip", 99), ("refuse", 1), ("crash", 1)])
def test_a_page_that_cannot_be_written_is_a_warning_and_hides_nothing(
    how: str,
    exit_code: int,
    run_probe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*arguments: object, **named: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_page, "render", broken)
    assert run_probe(*WEEK, "--how", how) == exit_code
    output, errors = capsys.readouterr()
    assert "warning: the run page is not written: OSError: [Errno 28] No space left on device" in output
    expected = {"refuse": "FAILED: table x does not exist: run y", "crash": "FAILED: unexpected error"}
    assert expected.get(how, "") in errors
    assert ("RuntimeError: boom" in errors) == (how == "crash")
    assert rows()[0]["status"] == {0: "succeeded", 99: "skipped", 1: "failed"}[exit_code]


def test_lines_can_be_objects_that_lead_to_the_ledger_and_to_airflow(
    run_probe: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"INTENTREC_LOG": "json", **TASK}.items():
        monkeypatch.setenv(name, value)
    run_probe(*WEEK, "--how", "crash")
    (row,) = rows()
    assert row["airflow_task"] == AIRFLOW_TASK
    lines = [json.loads(line) for line in "".join(capsys.readouterr()).splitlines()]
    assert [(line["level"], line["message"].split()[0]) for line in lines] == [
        ("info", "started,"),
        ("info", "half"),
        ("warning", "few"),
        ("info", "run"),
        ("error", "unexpected"),
    ]
    for line in lines:
        assert (line["run_id"], line["job"], line["airflow_task"]) == (row["run_id"], "probe", AIRFLOW_TASK)
        assert (line["start"], line["end"]) == (str(row["start"]), str(row["end"]))
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert "boom" in lines[-1]["traceback"]


def test_an_empty_interval_is_refused_before_anything_is_written(
    run_probe: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_probe("--start", "2026-08-10", "--end", "2026-08-10") == 1
    begin = "[probe 2026-08-10..2026-08-10] FAILED: "  # no attempt, so no run
    assert capsys.readouterr().err.startswith(f"{begin}--end 2026-08-10 is not after --start 2026-08-10")
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import sys
from pathlib import Path
from intentrec import cli, entry

def job() -> None:
    Path("job").mkdir()
    Path("job/file").touch()

def command(config: str = "") -> None:
    Path("command").mkdir()
    Path("command/file").touch()

if sys.argv.pop(1) == "job":
    entry.main(job, "a job")
cli.app.command("probe")(command)
cli.main()
"""


@pytest.mark.parametrize("arguments", [["job"], ["command", "probe"]])
def test_what_a_program_writes_is_for_this_account_only(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    subprocess.run(command, cwd=tmp_path, env=environment, umask=0o022, check=True)
    modes = [stat.S_IMODE((tmp_path / arguments[0] / name).stat().st_mode) for name in ("", "file")]
    assert modes == [0o700, 0o600]


@pytest.mark.slow
def test_a_job_is_a_program_with_help_and_an_exit_status(tmp_path: Path) -> None:
    environment = {"INTENTREC_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.report", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)

    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    doc = ast.get_docstring(ast.parse((ROOT / "jobs" / "report.py").read_text("utf-8"))) or ""
    assert " ".join(doc.split()) in " ".join(shown.stdout.split())
    assert all(option in shown.stdout for option in ("--start", "--end", "--config", "--profile"))
    missing = run("--start", "2026-08-03", "--end", "soon", "--config", str(CONFIG))
    assert (missing.returncode, "--end" in missing.stderr) == (2, True)
    refused = run("--start", "2026-08-10", "--end", "2026-08-03", "--config", str(CONFIG))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("[report 2026-08-10..2026-08-03] FAILED: --end 2026-08-03 is not after")
