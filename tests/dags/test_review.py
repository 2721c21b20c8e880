"""The review DAGs: structure, commands that the jobs accept, and no shell injection by a reviewer's input."""

import os
import shlex
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest

from intentrec.config import ROOT
from intentrec.entry import SKIPPED
from tests.dags.commands import HEAVY, arguments_of, words_of

FILE = ROOT / "dags" / "intentrec_review.py"
DOMAINS = sorted(path.stem for path in (ROOT / "conf").glob("*.yaml"))
WEEK = {"start": "2026-09-14", "end": "2026-09-21"}
CONFS = (
    WEEK,
    {},
    {**WEEK, "start": "2026-01-01; ls"},
    {**WEEK, "config": "$(ls)"},
    {**WEEK, "config": "../../../../etc/hostname"},
    {**WEEK, "config": "-x"},
)
NASTY = """it's "good"; $(touch pwned) `ls` {{ 7 * 7 }} \\"""


@pytest.fixture(scope="module")
def described(all_described: dict) -> dict:
    return all_described["review"]


@pytest.fixture(params=DOMAINS)
def dag(described: dict, request: pytest.FixtureRequest) -> dict:
    return described["dags"][f"intentrec_review_{request.param}"]


def answered(option: str, reason: str = "looks right") -> dict:
    """What the operator returns."""
    return {
        "chosen_options": [option],
        "params_input": {"reason": reason},
        "responded_by_user": {"id": "1", "name": "ada"},
        "responded_at": datetime(2026, 9, 22, 10, 30, tzinfo=UTC),
    }


def rendered(dag: dict, template: str, option: str = "Approve", reason: str = "looks right") -> str:
    """A template as Airflow renders it after the answer."""
    results = {"card": {"version": "7", "page": "# The page"}, "review": answered(option, reason)}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    ti = SimpleNamespace(xcom_pull=lambda task_ids: results[task_ids])
    return environment.from_string(template).render(params={**dag["params"], **WEEK}, ti=ti)


def test_one_dag_per_domain_file_that_only_a_run_or_a_person_starts(described: dict) -> None:
    assert sorted(described["dags"]) == [f"intentrec_review_{name}" for name in DOMAINS]
    assert not HEAVY & set(described["modules"])
    assert "intentrec" not in described["modules"]
    for dag in described["dags"].values():
        assert dag["timetable"][0] == "NullTimetable"
        assert dag["paused"] is False
        assert {"intentrec", "review"} < set(dag["tags"])


def test_card_review_record_and_publication_follow_each_other(dag: dict) -> None:
    assert dag["order"] == ["card", "review", "record", "publish"]
    assert dag["tasks"]["publish"]["pool"] == "warehouse"
    question = dag["tasks"]["review"]
    assert (question["options"], question["asks"]) == (["Approve", "Reject"], ["reason"])
    assert rendered(dag, question["body"]) == "# The page"
    assert all(task["doc"] for task in dag["tasks"].values())


def test_the_range_is_needed_and_no_parameter_can_inject_a_command(dag: dict) -> None:
    assert dag["refuses"] == [conf != WEEK for conf in CONFS]


@pytest.mark.parametrize("option", ["Approve", "Reject"])
@pytest.mark.parametrize("task", ["card", "record", "publish"])
def test_every_command_is_one_that_its_job_takes(described: dict, task: str, option: str) -> None:
    dag = described["dags"]["intentrec_review_streaming"]
    command = rendered(dag, dag["tasks"][task]["command"], option)
    if (task, option) == ("publish", "Reject"):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (SKIPPED, "[publish] skipped: rejected\n")
        return
    environment = {name: rendered(dag, value, option) for name, value in dag["tasks"][task]["env"].items()}
    name, args = arguments_of(words_of(command, environment))
    assert name == {"card": "review_card", "record": "review_record"}.get(task, task)
    assert (args.start, args.end, str(args.config)) == (date(2026, 9, 14), date(2026, 9, 21), "conf/streaming.yaml")
    if task == "record":
        assert (args.version, args.by, args.reason) == ("7", "ada", "looks right")
        assert args.verdict == {"Approve": "approved", "Reject": "rejected"}[option]
        assert args.at == datetime(2026, 9, 22, 10, 30, tzinfo=UTC)


def test_the_text_of_a_reviewer_reaches_the_job_unchanged(described: dict, tmp_path: Path) -> None:
    dag = described["dags"]["intentrec_review_streaming"]
    task = dag["tasks"]["record"]
    command = rendered(dag, task["command"], reason=NASTY)
    show = f"{shlex.quote(sys.executable)} -c 'import sys; print(sys.argv[sys.argv.index(\"--reason\") + 1])'"
    head, _, arguments = command.partition(" -m jobs.review_record ")
    assert head == sys.executable
    environment = {name: rendered(dag, value, reason=NASTY) for name, value in task["env"].items()}
    done = subprocess.run(
        ["bash", "-c", f"{show} {arguments}"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == NASTY + "\n"
    assert not list(tmp_path.iterdir())
