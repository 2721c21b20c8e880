"""`intentrec init` and `intentrec validate`."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

from intentrec import cli
from intentrec.calendar import WEEK
from intentrec.config import load_domain
from tests.conftest import profile_under
from tests.sources.landing import deliver, event, events_of, item, snapshot_of

MONDAY = date(2026, 8, 3)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the domain files, and a profile under `tmp_path`."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump(profile_under(tmp_path).model_dump(mode="json")))
    monkeypatch.setenv("INTENTREC_PROFILE", str(profile))
    monkeypatch.setenv("INTENTREC_CONF", str(tmp_path / "conf"))
    monkeypatch.setenv("INTENTREC_DATA", "")  # the command sets it; this restores it after the test
    return tmp_path / "conf"


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of a command, in this process."""
    monkeypatch.setattr(sys, "argv", ["intentrec", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_new_file_is_a_domain_and_is_not_overwritten(
    conf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "init", "library") == 0
    assert "intentrec validate" in capsys.readouterr().out
    made = load_domain(conf / "library.yaml")
    assert made.domain == "library"
    assert made.calendar.history_start.weekday() == 0
    assert call(monkeypatch, "init", "library") == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["My Shop"], "domain: String should match pattern"),
        (["shop", "--history-start", "2026-08-04"], "is a Tuesday"),
    ],
)
def test_a_name_or_date_that_cannot_be_used_writes_nothing(
    words: list[str], error: str, conf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "init", *words) == 1
    assert error in capsys.readouterr().err
    assert not conf.exists()


@pytest.mark.slow
def test_a_new_file_is_tried_on_a_delivery(
    spark: SparkSession,
    conf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, "init", "library", "--history-start", str(MONDAY)) == 0
    file, landing = conf / "library.yaml", tmp_path / "data"
    deliver(snapshot_of(landing, MONDAY), [item()])
    deliver(events_of(landing, MONDAY + timedelta(days=1)), [event(), event(event_id="e2", event_type="plaid")])
    late = {"event_ts": "2026-08-10T12:00:00Z", "arrived_at": "2026-08-10T12:01:00Z"}
    deliver(events_of(landing, MONDAY + WEEK), [event(event_id="e3", user_id=None, **late)])

    options = ["--config", str(file), "--data", str(landing)]
    assert call(monkeypatch, "validate", *options) == 0
    shown = capsys.readouterr().out
    assert "1 users, 1 titles, 1 of 7 service dates" in shown
    assert "unknown_event_type" in shown
    assert '"event_type": "plaid"' in shown
    assert "Warning: events.types: no accepted event has the event_type like" in shown
    assert not (tmp_path / "warehouse").exists()

    assert call(monkeypatch, "validate", *options, "--week", str(MONDAY + WEEK)) == 1
    told = capsys.readouterr()
    assert "missing_user_id" in told.out
    assert "would accept no event of [2026-08-10, 2026-08-17)" in told.err

    file.write_text(file.read_text().replace("top_k:", "topk:"))
    assert call(monkeypatch, "validate", *options) == 1
    assert "publishing.topk: no such key (did you mean top_k?)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_faulty_rule_is_one_message(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, in which Spark starts: neither a trace nor Spark's own record of the query."""
    assert call(monkeypatch, "init", "library") == 0
    file = conf / "library.yaml"
    file.write_text(file.read_text().replace("s.days_since_play <= 7", "s.days_since_plya <= 7"))
    program = [sys.executable, "-c", "from intentrec.cli import main; main()", "validate", "--config", str(file)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: Using incubator")]
    assert "interactions.action_types.1.when (continue)" in said[0]
    assert "No such struct field `days_since_plya`" in said[0]
    assert len(said) == 1, done.stderr[:2000]
