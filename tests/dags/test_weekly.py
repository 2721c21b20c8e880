"""The weekly DAGs: structure, tags, light imports, and commands that the jobs accept."""

import subprocess
import sys
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest

from intentrec.calendar import day_start_of
from intentrec.config import ROOT, load_domain, seconds
from intentrec.entry import SKIPPED
from tests.dags.commands import HEAVY, arguments_of, words_of
from tests.dags.domain_files import BROKEN

FILE = ROOT / "dags" / "intentrec_weekly.py"
DOMAINS = sorted(path.stem for path in (ROOT / "conf").glob("*.yaml"))
JOBS = ["ingest", "build_interactions", "build_sequences", "train", "gate", "publish", "report"]
TASKS = ["wait_for_lateness", *JOBS]
WEEK_END = date(2026, 11, 2)  # daylight saving ended the day before
ENDS = {f"conf/{name}.yaml": str(WEEK_END) for name in DOMAINS}
ACCEPTED = (
    {"config": "conf/kuairand.yaml"},
    {"start": "2026-01-05", "end": "2026-01-12", "train": False, "activate": True, "include_late": True},
    {"accept_partial": "the sender has no more; $(ls)"},
)
CONFS = (
    *ACCEPTED,
    {"config": "conf/x.yaml; touch y"},
    {"config": "$(ls)"},
    {"config": "../../../../etc/hostname"},
    {"config": "/data/streaming.yaml"},
    {"config": "-x"},
    {"config": ""},
    {"config": "conf/profiles/local.yaml"},
    {"start": "2026-01-01; ls"},
    {"end": "`ls`"},
    {"train": "yes"},
)
AMONG_BROKEN = ({"config": "conf/text.yaml"}, {"config": "conf/streaming (copy).yaml"})


@pytest.fixture(scope="module")
def described(all_described: dict) -> dict:
    return all_described["weekly"]


@pytest.fixture(params=DOMAINS)
def dag(described: dict, request: pytest.FixtureRequest) -> dict:
    return described["dags"][f"intentrec_weekly_{request.param}"]


def test_one_dag_per_domain_file(described: dict) -> None:
    assert sorted(described["dags"]) == [f"intentrec_weekly_{name}" for name in DOMAINS]


def test_import_is_light(described: dict) -> None:
    """The file is parsed every half minute."""
    assert not HEAVY & set(described["modules"])
    assert "intentrec" not in described["modules"]


def test_a_domain_file_that_cannot_be_read_fails_alone(all_described: dict) -> None:
    """The other DAGs of the file are loaded, and the task of a broken domain file fails with what is to be corrected.

    The error quotes the file, so it is in no command and in no template.
    """
    found = dict(all_described["broken"]["dags"])
    good = found.pop("intentrec_weekly_streaming")
    assert set(TASKS) < set(good["tasks"])
    assert good["refuses"] == [False, True]
    assert len(found) == len(BROKEN)
    errors = []
    for dag in found.values():
        (task,) = dag["tasks"].values()
        assert (task["command"], task["templates"]) == (None, [])
        errors.append(task["error"])
    for name, (_, complaint) in BROKEN.items():
        (error,) = [error for error in errors if error.startswith(f"conf/{name}.yaml cannot be read, correct it: ")]
        assert complaint in error
    reviews = all_described["broken_review"]["dags"]
    assert "intentrec_review_streaming" in reviews
    assert len(reviews) == 1 + len(BROKEN) - 2  # none for a file that must be renamed


def test_schedule_is_explicit_and_never_catches_up(dag: dict) -> None:
    assert dag["timetable"] == ["CronDataIntervalTimetable", "0 0 * * 1", "UTC"]
    assert dag["catchup"] is False
    assert dag["max_active_runs"] == 1


def test_every_dag_and_task_is_described(described: dict, dag: dict) -> None:
    assert {"intentrec", "weekly"} < set(dag["tags"]) <= {"intentrec", "weekly", *DOMAINS}
    assert "start" in dag["doc"]
    assert {task["owner"] for task in dag["tasks"].values()} == {"intentrec"}
    assert all(task["doc"] for task in dag["tasks"].values())
    assert dag["tasks"]["gate"]["doc"].startswith("Judge the challenger")


def test_tasks_follow_each_other_and_end_in_the_outcome(dag: dict) -> None:
    follows = {name: [after] for name, after in pairwise(TASKS[:6])}
    follows |= {
        "build_sequences": ["publish", "train"],
        "train": ["gate", "outcome"],
        "gate": ["ask_for_review", "outcome", "training_over"],
        "training_over": ["publish"],
        "publish": ["outcome", "report"],
        "report": ["outcome"],
        "ask_for_review": ["outcome"],
        "outcome": [],
    }
    assert {name: task["downstream"] for name, task in dag["tasks"].items()} == follows


def states_of(dag: dict, ended: dict[str, str]) -> dict[str, str]:
    """The state of each task under Airflow's trigger rules, if those of `ended` end so when they run."""
    above = {name: [up for up, task in dag["tasks"].items() if name in task["downstream"]] for name in dag["tasks"]}
    states: dict[str, str] = {}
    for name in dag["order"]:
        found = {states[up] for up in above[name]}
        failed, skipped = bool(found & {"failed", "upstream_failed"}), "skipped" in found
        rule = dag["tasks"][name]["trigger_rule"].lower().rpartition(".")[2]
        if failed and rule != "all_done":
            states[name] = "upstream_failed"
        elif skipped and rule == "all_success":
            states[name] = "skipped"
        else:
            states[name] = ended.get(name, "success")
    return states


@pytest.mark.parametrize(
    ("ended", "publish", "outcome"),
    [
        ({}, "success", "success"),
        ({"train": "failed"}, "success", "upstream_failed"),
        ({"gate": "failed"}, "success", "upstream_failed"),
        ({"train": "skipped"}, "success", "success"),
        ({"gate": "skipped"}, "success", "success"),
        ({"train": "skipped", "publish": "skipped"}, "skipped", "success"),
        ({"ask_for_review": "failed"}, "success", "upstream_failed"),
        ({"publish": "failed"}, "failed", "upstream_failed"),
        ({"report": "failed"}, "success", "upstream_failed"),
        ({"ingest": "failed"}, "upstream_failed", "upstream_failed"),
        ({"build_interactions": "failed"}, "upstream_failed", "upstream_failed"),
        ({"build_sequences": "failed"}, "upstream_failed", "upstream_failed"),
    ],
    ids=lambda value: "_".join(f"{name}_{state}" for name, state in value.items()) if isinstance(value, dict) else None,
)
def test_the_champion_publishes_unless_the_rows_are_missing_and_a_failure_stays_one(
    dag: dict, ended: dict[str, str], publish: str, outcome: str
) -> None:
    states = states_of(dag, ended)
    assert (states["publish"], states["outcome"]) == (publish, outcome)
    assert states["report"] == ended.get("report", "success")


@pytest.mark.parametrize("name", DOMAINS)
def test_a_review_is_asked_for_with_the_runs_range(described: dict, name: str) -> None:
    dag = described["dags"][f"intentrec_weekly_{name}"]
    task = dag["tasks"]["ask_for_review"]
    assert task["trigger"] == f"intentrec_review_{name}"
    conf = {key: rendered(dag, value) for key, value in task["conf"].items()}
    assert conf == {"start": "2026-09-14", "end": "2026-09-21", "config": f"conf/{name}.yaml"}


def test_report_always_runs_and_does_not_hide_a_failure(dag: dict) -> None:
    rules = {name: task["trigger_rule"].lower().rpartition(".")[2] for name, task in dag["tasks"].items()}
    assert {name: rule for name, rule in rules.items() if rule != "all_success"} == {
        "training_over": "all_done",
        "publish": "none_failed",
        "report": "all_done",
        "outcome": "none_failed",
    }


def test_the_report_links_its_page_and_the_weekly_run_its_review(dag: dict) -> None:
    links = {task: links for task, links in dag["shown_links"].items() if links}
    assert links == {"report": ["Report"], "ask_for_review": ["Triggered DAG"]}


def test_writers_share_a_pool_and_training_has_its_own(dag: dict) -> None:
    pools = {name: task["pool"] for name, task in dag["tasks"].items() if task["pool"] != "default_pool"}
    writers = ("ingest", "build_interactions", "build_sequences", "publish")
    assert pools == {**dict.fromkeys(writers, "warehouse"), "train": "gpu"}


def test_jobs_run_from_the_project_and_may_skip(dag: dict) -> None:
    assert {dag["tasks"][name]["cwd"] for name in JOBS} == {str(ROOT)}
    assert all(dag["tasks"][name]["skip"] == [SKIPPED] for name in JOBS)


def test_nothing_reads_a_logical_date() -> None:
    source = FILE.read_text().replace("trigger_run_id=", "").replace("logical_date=None", "")  # of what is triggered
    assert not [name for name in ("logical_date", "execution_date", "{{ ds }}", "run_id") if name in source]


@pytest.mark.parametrize("name", DOMAINS)
def test_the_wait_ends_when_the_last_row_may_have_arrived(described: dict, name: str) -> None:
    calendar = load_domain(ROOT / "conf" / f"{name}.yaml").calendar
    last = day_start_of(WEEK_END, calendar) + timedelta(seconds=seconds(calendar.lateness))
    assert datetime.fromisoformat(described["ready"][f"conf/{name}.yaml"]) == last


def rendered(dag: dict, template: str, run_type: str = "scheduled", **params: object) -> str:
    """A template as Airflow renders it for the week of 14 September 2026."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters["ds"] = str
    return environment.from_string(template).render(
        params={**dag["params"], **params},
        dag_run=SimpleNamespace(run_type=run_type),
        data_interval_start=date(2026, 9, 14),
        data_interval_end=date(2026, 9, 21),
    )


def command_of(dag: dict, job: str, run_type: str = "scheduled", **params: object) -> tuple[str, dict[str, str]]:
    """The command of a task and the variables of its environment, as Airflow renders them."""
    task = dag["tasks"][job]
    return (
        rendered(dag, task["command"], run_type, **params),
        {name: rendered(dag, value, run_type, **params) for name, value in task["env"].items()},
    )


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("late", [False, True])
def test_every_command_is_one_that_its_job_takes(dag: dict, job: str, late: bool) -> None:
    words = words_of(*command_of(dag, job, include_late=late))
    assert words[:3] == [sys.executable, "-m", f"jobs.{job}"]
    name, args = arguments_of(words)
    assert (name, args.start, args.end) == (job, date(2026, 9, 14), date(2026, 9, 21))
    assert Path(args.config).exists()
    if job == "ingest":
        assert args.include_late is late


def test_a_range_replaces_the_interval(dag: dict) -> None:
    words = words_of(*command_of(dag, "ingest", start="2026-08-03", end="2026-09-14"))
    assert words[3:7] == ["--start", "2026-08-03", "--end", "2026-09-14"]


@pytest.mark.parametrize("job", JOBS)
def test_no_value_of_a_run_is_part_of_a_command(dag: dict, job: str) -> None:
    """Whatever values are, a command is the same text. They are in the environment of its process."""
    values = {"start": "s'; touch ran; '", "end": "$(touch ran)", "config": "`touch ran` {{ ti }}"}
    command, environment = command_of(dag, job, **values)
    assert command == command_of(dag, job)[0]
    assert [environment[name] for name in ("START", "END", "CONFIG")] == list(values.values())


@pytest.mark.parametrize("task", ["train", "publish"])
@pytest.mark.parametrize(
    ("run_type", "choice", "runs_it"),
    [
        ("scheduled", None, True),
        ("manual", None, True),
        ("backfill", None, False),
        ("backfill", True, True),
        ("scheduled", False, False),
    ],
)
def test_a_backfill_trains_and_publishes_only_if_told(
    dag: dict, task: str, run_type: str, choice: bool | None, runs_it: bool
) -> None:
    command, environment = command_of(dag, task, run_type, **{task: choice})
    assert (f"jobs.{task}" in command) is runs_it
    done = subprocess.run(["bash", "-n", "-c", command], check=False)
    assert done.returncode == 0
    if not runs_it:
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == SKIPPED
        assert done.stdout.startswith(f"[{task} 2026-09-14..2026-09-21] skipped")


@pytest.mark.parametrize(
    ("run_type", "choice", "flag"),
    [("scheduled", None, "--activate"), ("backfill", None, "--no-activate"), ("backfill", True, "--activate")],
)
def test_a_backfill_activates_only_if_told(dag: dict, run_type: str, choice: bool | None, flag: str) -> None:
    assert (
        rendered(dag, dag["tasks"]["publish"]["command"], run_type, publish=True, activate=choice).split()[-1] == flag
    )


def test_no_parameter_can_inject_a_command(dag: dict) -> None:
    assert dag["refuses"] == [accepted not in ACCEPTED for accepted in CONFS]


@pytest.mark.parametrize("reason", [None, '\'; touch x; "$(touch y)" {{ 7*7 }}\nand more'], ids=["none", "hostile"])
def test_a_reason_reaches_the_job_and_never_its_command(dag: dict, reason: str | None) -> None:
    task = dag["tasks"]["ingest"]
    assert rendered(dag, task["command"], accept_partial=reason) == rendered(dag, task["command"])
    environment = {name: rendered(dag, text, accept_partial=reason) for name, text in task["env"].items()}
    assert environment["INTENTREC_ACCEPT_PARTIAL"] == (reason or "")
    assert all("INTENTREC_ACCEPT_PARTIAL" not in dag["tasks"][name]["env"] for name in JOBS if name != "ingest")


def test_the_link_is_the_last_line_of_the_task_if_it_is_a_file(described: dict) -> None:
    """A task that failed earlier has another last line, or none."""
    page = "file:///reports/a/report.html"
    assert described["links"] == {page: page, "reporting": "", "None": ""}
