"""A week whose promotion is reviewed, and a backfill that fails, on one real Airflow with stand-ins for the jobs."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import yaml

from intentrec.config import OWN, ROOT
from intentrec.errors import PipelineError
from intentrec.local import dags_test, processes, services
from intentrec.local.airflow_client import Airflow
from intentrec.local.backfill import backfill
from intentrec.local.home import Home
from intentrec.local.progress import Progress

# Stands in for `python -m jobs.<job> --start S --end E ...`: notes its arguments. The card has a page, one job fails.
JOB = """#!/bin/bash
echo "${@:2}" >> "$NOTES"
if [ "$2" = jobs.review_card ]; then cat "$PAGE"; fi
if [[ "$FAIL" = *"$2 $4"* ]]; then echo "[${2#jobs.}] FAILED: no such thing" >&2; exit 1; fi
"""
FIRST, SECOND, END = date(2026, 8, 3), date(2026, 8, 10), date(2026, 8, 17)
UNTRAINED = date(2026, 8, 24)  # first date of a week whose training fails
THINKING = 5.0  # seconds
WEEKLY, REVIEW = "intentrec_weekly_streaming", "intentrec_review_streaming"
TEXT = "# A page\n\n| system | ndcg |\n| --- | --- |\n| `<b>|{{ 1 + 1 }}` | 0.1 |\n" + "\n".join(map(str, range(3000)))


def until(found: Callable[[], Any], patience: float = 240) -> Any:
    """The first truthy answer."""
    end = time.monotonic() + patience
    while not (answer := found()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(1)
    return answer


@pytest.fixture
def own_umask() -> Iterator[None]:
    """The umask of the command line."""
    before = os.umask(OWN)
    yield
    os.umask(before)


def addresses(process: psutil.Process) -> list[tuple[str, int]]:
    """Where a process listens for connections."""
    try:
        found = process.net_connections(kind="inet")
    except psutil.Error:  # ended meanwhile
        return []
    return [(each.laddr.ip, each.laddr.port) for each in found if each.status == psutil.CONN_LISTEN]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.extended
def test_a_challenger_waits_for_a_person_and_a_backfill_stops_at_a_failure(
    new_home: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_umask: None
) -> None:
    job, notes, page = tmp_path / "job", tmp_path / "notes", tmp_path / "page"
    job.write_text(JOB)
    job.chmod(0o755)
    page.write_text(json.dumps({"version": "7", "page": TEXT}) + "\n")
    settings = {"INTENTREC_PYTHON": job, "INTENTREC_RETRIES": 0, "NOTES": notes, "PAGE": page}
    fail = f"jobs.build_interactions {FIRST}, jobs.train {UNTRAINED}"
    for name, value in {**settings, "FAIL": fail}.items():
        monkeypatch.setenv(name, str(value))
    reviewed = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text())
    reviewed["gate"]["promotion"] = "reviewed"
    conf = tmp_path / "conf of this test"
    shutil.copytree(ROOT / "conf", conf)
    config = conf / "reviewed.yaml"
    config.write_text(yaml.safe_dump({**reviewed, "domain": "reviewed"}))
    monkeypatch.setenv("INTENTREC_CONF", str(conf))
    home = replace(new_home(tmp_path / "home"), airflow_port=services.free_port())

    # `dags test` neither waits for a person nor fails: where one is to be asked, it leaves a run for the scheduler.
    # A week that is run again asks again, in the same run of the review.
    again = (END, {"config": str(config)})
    # Training that fails does not keep the champion from publishing, and the run fails all the same.
    runs = [(UNTRAINED, {}), again, again, (UNTRAINED + timedelta(days=7), {})]
    with pytest.raises(PipelineError, match=r"(?s)run of intentrec_weekly_streaming failed.*\[train\] FAILED"):
        dags_test.run(home, WEEKLY, runs, Progress())
    noted = [line.split()[:3] for line in notes.read_text().splitlines()]
    assert not [job for job, *_ in noted if job.startswith("jobs.review")]
    last = ("ingest", "build_interactions", "build_sequences", "train", "publish", "report")
    assert noted[-len(last) :] == [[f"jobs.{job}", "--start", str(UNTRAINED)] for job in last]
    notes.unlink()

    marker = services.up_marker(home)
    try:
        services.start_airflow(home, marker, SCHEDULER__USE_JOB_SCHEDULE="False")
        services.wait_for_airflow(home, marker)
        listening = {address for each in processes.marked(marker) for address in addresses(each)}
        assert listening == {("127.0.0.1", home.airflow_port)}
        written = [path for folder in (home.logs, home.airflow / "logs") for path in folder.rglob("*")]
        assert [path for path in written if not path.is_symlink() and path.stat().st_mode & 0o077] == []
        airflow = Airflow(home)
        (run,) = airflow.call("GET", f"/dags/{REVIEW}/dagRuns")["dag_runs"]
        assert run["conf"] == {"start": "2026-08-10", "end": "2026-08-17", "config": str(config)}
        path = f"/dags/{REVIEW}/dagRuns/{quote(run['dag_run_id'])}"

        def question() -> dict | None:
            tasks = airflow.call("GET", f"{path}/taskInstances")["task_instances"]
            waiting = any((task["task_id"], task["state"]) == ("review", "awaiting_input") for task in tasks)
            details = f"{path}/taskInstances/review/-1/hitlDetails"
            return airflow.call("GET", details) if waiting else None

        def answer(option: str, reason: str) -> None:
            # Nobody answers at once; a scheduler that has not seen the task park yet takes it for lost, and asks again.
            time.sleep(THINKING)
            said = {"chosen_options": [option], "params_input": {"reason": reason}}
            airflow.call("PATCH", f"{path}/taskInstances/review/-1/hitlDetails", said)

        asked = until(question)
        assert (asked["body"], asked["options"]) == (TEXT.strip(), ["Approve", "Reject"])
        assert "version 7" in asked["subject"]
        with pytest.raises(PipelineError, match="Invalid options"):
            answer("Perhaps", "undecided")
        answer("Approve", "")  # no reason: asked again

        def ended() -> str | None:
            """Answer as often as Airflow asks: it may take a task that has just parked for lost, and ask anew."""
            state = airflow.call("GET", path)["state"]
            if state in ("success", "failed"):
                return state
            if (again := question()) and not again["response_received"]:
                answer("Approve", 'better on "new" titles; $(id)')
            return None

        over = until(ended)
        assert over == "success", (home.logs / "airflow.log").read_text()[-3000:]
        card, recorded, published = notes.read_text().splitlines()
        notes.unlink()
        with pytest.raises(PipelineError, match="is paused in the Airflow that `make up` started"):
            backfill(home, WEEKLY, FIRST, END, {}, Progress())
        airflow.call("PATCH", f"/dags/{WEEKLY}", {"is_paused": False})
        with pytest.raises(PipelineError, match=rf"(?s)week {FIRST} failed.*FAILED: no such thing"):
            backfill(home, WEEKLY, FIRST, END, {"include_late": True}, Progress())
        jobs = [line.split()[:5] for line in notes.read_text().splitlines()]
        week = ["--start", str(FIRST), "--end", str(SECOND)]
        assert jobs == [[f"jobs.{name}", *week] for name in ("ingest", "build_interactions", "report")]
    finally:
        processes.stop(marker)
    about = f"--start 2026-08-10 --end 2026-08-17 --config {config}"
    assert card == f"jobs.review_card {about}"
    decided = '--version 7 --verdict approved --reason better on "new" titles; $(id) --by admin --at 20'
    assert recorded.startswith(f"jobs.review_record {about} {decided}")
    assert published == f"jobs.publish {about} --activate"
