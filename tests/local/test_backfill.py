"""The backfill on a real Airflow that it starts; the jobs are executed in this process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from intentrec import cli
from intentrec.config import ROOT, load_domain, load_profile
from intentrec.errors import PipelineError
from intentrec.local import backfill as backfills
from intentrec.local import demo as demos
from intentrec.local import processes, services
from intentrec.local.backfill import backfill, is_leftover
from intentrec.local.home import Home
from intentrec.local.progress import Progress
from intentrec.storage import delta
from intentrec.storage.runs import Run, attempt
from intentrec.storage.warehouse import Fingerprint, Warehouse
from tests.conftest import profile_under
from tests.local import in_process
from tests.sources.landing import deliver, event, events_of, item, snapshot_of

CONFIG = ROOT / "conf" / "streaming.yaml"
REBUILD = ("ingest", "build_interactions", "build_sequences")
FIRST, SECOND, END = (date(2026, 8, 3) + timedelta(weeks=week) for week in range(3))


def played(user: str, title: str, day: date, arrived: date | None = None) -> dict:
    """Half an hour of the first item of a title."""
    name = f"{user}-{title}-{day}"
    row = {"event_id": name, "user_id": user, "account_id": user, "item_id": f"{title}e1", "duration_s": 1800}
    return event(**row, event_ts=f"{day}T20:00:00Z", arrived_at=f"{arrived or day}T21:00:00Z")


def land(root: Path) -> None:
    """Two weeks of two users, and of one who plays every day, all of it on time."""
    deliver(snapshot_of(root, FIRST), [item(item_id=f"{title}e1", title_id=title) for title in ("t1", "t2")])
    others = {1: [("u1", "t1")], 2: [("u2", "t1")], 9: [("u1", "t2")], 10: [("u2", "t1")]}
    for number in range(14):
        day = FIRST + timedelta(days=number)
        plays = [("u0", "t1"), *others.get(number, [])]
        deliver(events_of(root, day), [played(user, title, day) for user, title in plays])


def land_late(root: Path) -> None:
    """A further event of u1 in the first week. With it, the play of t2 in the second week is not a discovery."""
    arrived = END + timedelta(days=7)
    deliver(events_of(root, arrived), [played("u1", "t2", FIRST + timedelta(days=3), arrived)])


def asked_of(notes: Path) -> list[tuple[str, ...]]:
    """Jobs that the tasks started since the last time: name, start, end."""
    found = [tuple(line.split()) for line in notes.read_text().splitlines()]
    notes.unlink()
    return found


def built(home: Path, spark: SparkSession) -> dict[str, Fingerprint]:
    """Rows and checksum of every table."""
    run = Run("checksums", FIRST, END, load_domain(CONFIG), profile_under(home))
    return Warehouse(spark, run).checksums()


def build(home: Path, *options: str) -> None:
    """Build both weeks of a home at once."""
    (home / "profile.yaml").write_text(yaml.safe_dump(profile_under(home).model_dump(mode="json")))
    weeks = arguments(home, FIRST, END)
    for job in REBUILD:
        assert in_process.run_job(["-m", f"jobs.{job}", *weeks, *(options if job == "ingest" else ())]) == 0


def arguments(home: Path, start: date, end: date) -> list[str]:
    """The options of a job over [start, end) of a home."""
    return f"--start {start} --end {end} --config {CONFIG} --profile {home / 'profile.yaml'}".split()


@pytest.fixture
def home(
    new_home: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession
) -> Iterator[Home]:
    """A home with both weeks built, whose tasks have their jobs done in this process."""
    path = tmp_path / "home"
    made = new_home(path)
    land(path / "landing" / "streaming")
    build(path)
    monkeypatch.setenv("INTENTREC_HOME", str(path))
    monkeypatch.setenv("INTENTREC_PROFILE", str(path / "profile.yaml"))
    monkeypatch.setenv("INTENTREC_RETRIES", "1")  # of what Airflow itself may stumble over on a busy machine
    with in_process.serving(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.mark.extended
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("no_audits")
def test_a_cascade_after_a_failure_equals_a_build_from_nothing(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spark: SparkSession
) -> None:
    notes, before = tmp_path / "notes", built(home.path, spark)
    land_late(home.path / "landing" / "streaming")
    # What a backfill leaves that failed in the first week after ingest.
    assert in_process.run_job(["-m", "jobs.ingest", *arguments(home.path, FIRST, SECOND), "--include-late"]) == 0

    capsys.readouterr()
    cli.plan(FIRST, SECOND)
    assert "Stale afterwards, where rows change" in capsys.readouterr().out
    cli.backfill(FIRST, SECOND, include_late=True, cascade=True)
    shown = capsys.readouterr().out
    weeks = [(str(FIRST), str(SECOND)), (str(SECOND), str(END))]
    assert all(f"  [{start}, {end})" in shown and f"week {start}: success" in shown for start, end in weeks)
    assert "Nothing later becomes stale" in shown
    assert "[train 2026-08-03..2026-08-10] skipped" in shown
    assert asked_of(notes) == [(job, *each) for each in weeks for job in (*REBUILD, "report")]
    assert processes.marked(f"{home.path}:backfill") == []

    fresh = tmp_path / "fresh"
    for deliver_all in (land, land_late):
        deliver_all(fresh / "landing" / "streaming")
    build(fresh, "--include-late")
    after = built(home.path, spark)
    assert after == built(fresh, spark)
    assert {name for name in after if after[name] != before[name]} >= {"engagement_events", "interactions", "sequences"}
    profile, domain = load_profile(), load_domain(CONFIG)
    assert sum(delta.rows_by_partition(profile, domain)["interactions"].values()) == 19
    labels = (
        spark.read.format("delta")
        .load(f"{profile.warehouse}/streaming/interactions")
        .where(f"event_date >= '{SECOND}'")
    )
    assert [row["action_type"] for row in labels.where("title_id = 't2'").collect()] == ["resume"]


def test_the_options_of_a_backfill_are_the_parameters_of_its_dag_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    asked: list[dict] = []
    monkeypatch.setattr(backfills, "backfill", lambda home, dag, start, end, conf, progress: asked.append(conf))
    options = ["--from", str(FIRST), "--to", str(END), "--config", str(CONFIG)]
    for extra in (["--accept-partial", 'the "sender"; $(ls)', "--include-late"], []):
        assert CliRunner().invoke(cli.app, ["backfill", *options, *extra]).exit_code == 0
    nothing = {"train": False, "publish": False, "activate": False, "include_late": False, "accept_partial": None}
    assert asked == [{**nothing, "include_late": True, "accept_partial": 'the "sender"; $(ls)'}, nothing]
    assert CliRunner().invoke(cli.app, ["plan", *options, "--accept-partial", "why"]).exit_code == 0


def test_two_airflows_never_share_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While a backfill has its own Airflow, no command starts another. `down` stops that of an interrupted backfill."""
    home, profile = Home(tmp_path), profile_under(tmp_path)
    marker = services.backfill_marker(home)
    sleeping = processes.start(["/bin/sleep", "600"], dict(os.environ), marker, tmp_path / "log")
    schedule = demos.Schedule(FIRST, 0, 1)
    for begin in (
        lambda: services.up(home, profile),
        lambda: backfill(home, "intentrec_weekly_streaming", FIRST, SECOND, {}, Progress()),
        lambda: demos.demo(home, profile, CONFIG, schedule, simulate=True),
    ):
        with pytest.raises(PipelineError, match="a backfill is running with an Airflow of its own"):
            begin()
    services.down(home)
    assert sleeping.wait() is not None
    assert processes.marked(marker) == []
    assert "Stopped 1 processes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("run_type", "logical_date", "ours"),
    [
        ("backfill", "2026-08-03T00:00:00Z", True),
        ("manual", "2026-08-10T01:00:00Z", True),  # the demo's
        ("manual", "2026-08-10T17:23:41.123456Z", False),
        ("manual", None, False),
        ("scheduled", "2026-08-10T00:00:00Z", False),  # waits for late rows
    ],
)
def test_only_its_own_leftovers_are_ended(run_type: str, logical_date: str | None, ours: bool) -> None:
    assert is_leftover({"run_type": run_type, "logical_date": logical_date}) is ours


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=["killed", "terminal closed"])
def test_a_command_that_is_interrupted_undoes_what_it_did(how: signal.Signals) -> None:
    program = """
import signal, time
from intentrec.cli import app
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, ignores it
@app.command()
def wait():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("undone", flush=True)
app(["wait"])
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "begun\n"
        command.send_signal(how)
        assert command.stdout.read().startswith("undone\n")
    assert command.returncode != 0


def test_a_plan_names_the_other_weeks_of_changed_settings(tmp_path: Path) -> None:
    profile, chosen = profile_under(tmp_path), tmp_path / "profile.yaml"
    chosen.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    for start in (FIRST, SECOND):
        with attempt("ingest", start, start + timedelta(weeks=1), CONFIG, chosen):
            pass
    domain = load_domain(CONFIG)
    request = backfills.Request(FIRST, SECOND)
    assert backfills.plan(request, profile, domain).plan.warnings == []
    later = domain.calendar.model_copy(update={"lateness": "3d"})
    (warning,) = backfills.plan(request, profile, domain.model_copy(update={"calendar": later})).plan.warnings
    assert warning.startswith(f"settings of the domain file changed after 1 other weeks from {SECOND} to {SECOND}")
    assert f"FROM={SECOND} TO={END}" in warning


@pytest.mark.parametrize("command", ["plan", "backfill"])
def test_nothing_is_activated_that_is_not_published(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["intentrec", command, "--from", str(FIRST), "--to", str(SECOND), "--config", str(CONFIG), "--activate"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("FAILED: --activate without --publish")
