"""The backfill on a real Airflow started for the purpose; its jobs are run in this process."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

from intentrec import cli, tables
from intentrec.config import ROOT, load_domain, load_profile
from intentrec.errors import PipelineError
from intentrec.operate import processes
from intentrec.operate.backfill import LogFiles, backfill
from intentrec.operate.home import Home
from intentrec.operate.progress import Progress
from intentrec.runs import Run
from intentrec.warehouse import Fingerprint, Warehouse
from tests.conftest import profile_under
from tests.operate import warm
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
    """Two weeks of two users, all of it on time."""
    deliver(snapshot_of(root, FIRST), [item(item_id=f"{title}e1", title_id=title) for title in ("t1", "t2")])
    for user, title, number in [("u1", "t1", 1), ("u2", "t1", 2), ("u1", "t2", 9), ("u2", "t1", 10)]:
        day = FIRST + timedelta(days=number)
        deliver(events_of(root, day), [played(user, title, day)])


def land_late(root: Path) -> None:
    """What u1 did in the first week as well: with it, the second week's play of t2 is no discovery."""
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
    profile = home / "profile.yaml"
    profile.write_text(yaml.safe_dump(profile_under(home).model_dump(mode="json")))
    week = ["--start", str(FIRST), "--end", str(END), "--config", str(CONFIG), "--profile", str(profile)]
    for job in REBUILD:
        warm.do(["-m", f"jobs.{job}", *week, *(options if job == "ingest" else ())])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession) -> Iterator[Home]:
    """A home with both weeks built, whose tasks have their jobs done in this process."""
    path = tmp_path / "home"
    land(path / "landing" / "streaming")
    build(path)
    monkeypatch.setenv("INTENTREC_HOME", str(path))
    monkeypatch.setenv("INTENTREC_PROFILE", str(path / "profile.yaml"))
    monkeypatch.setenv("INTENTREC_RETRIES", "0")
    with warm.serving(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield Home(path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_cascade_stops_at_a_failure_and_then_equals_a_build_from_nothing(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spark: SparkSession
) -> None:
    notes, before = tmp_path / "notes", built(home.path, spark)
    land_late(home.path / "landing" / "streaming")
    late = {"include_late": True}

    monkeypatch.setenv("FAIL", f"build_interactions {FIRST}")
    with pytest.raises(PipelineError, match=rf"(?s)week {FIRST} failed.*FAILED: no such thing"):
        backfill(home, "intentrec_weekly_streaming", FIRST, END, late, Progress())
    assert asked_of(notes) == [(job, str(FIRST), str(SECOND)) for job in ("ingest", "build_interactions", "report")]
    assert processes.marked(f"{home.path}:backfill") == []

    monkeypatch.setenv("FAIL", "")
    monkeypatch.setenv("INTENTREC_RETRIES", "1")  # of what Airflow itself may stumble over on a busy machine
    week = datetime.combine(FIRST, datetime.min.time())
    capsys.readouterr()
    cli.plan(week, week + timedelta(weeks=1))
    assert "Stale afterwards, where rows change" in capsys.readouterr().out
    cli.backfill(week, week + timedelta(weeks=1), include_late=True, cascade=True)
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
    assert sum(tables.rows_by_partition(profile, domain)["interactions"].values()) == 5
    labels = (
        spark.read.format("delta")
        .load(f"{profile.warehouse}/streaming/interactions")
        .where(f"event_date >= '{SECOND}'")
    )
    assert [row["action_type"] for row in labels.where("title_id = 't2'").collect()] == ["resume"]


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
