"""The weekly run of every domain file of conf/. Structure only; the work is in jobs/.

Each domain has its own DAG, with its own history, pause switch and alerts. So a failure of one domain does not delay
the others. A DAG run covers its data interval, one week of service dates; `start` and `end` replace it by any range.
"""

import ast
import os
import re
import shlex
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, BaseOperator, BaseOperatorLink, CronDataIntervalTimetable, Param, yaml
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / (os.environ.get("INTENTREC_CONF") or "conf")  # folder of the domain files
DOMAIN = re.compile(r"[a-z][a-z0-9_]*")  # the name of a domain file, without its ending, is that of its domain
PYTHON = os.environ.get("INTENTREC_PYTHON", sys.executable)
SUBMIT = os.environ.get("INTENTREC_SUBMIT")  # such as "spark-submit --master yarn --deploy-mode client"
SKIPPED = 99  # exit status of a job that has nothing to do

START = "{{ params.start or data_interval_start | ds }}"
END = "{{ params.end or data_interval_end | ds }}"
# Values of a DAG run reach a command as variables of its environment, never as a part of its text.
ENV = {"START": START, "END": END, "CONFIG": "{{ params.config }}"}
RANGE = '--start "$START" --end "$END" --config "$CONFIG"'

PARAMS = {
    "start": Param(None, type=["null", "string"], format="date", description="first service date, not the interval's"),
    "end": Param(None, type=["null", "string"], format="date", description="service date after the last"),
    "include_late": Param(False, type="boolean", description="accept rows that arrived after the lateness allowed"),
    **{
        name: Param(None, type=["null", "boolean"], description=f"{what}; empty means yes, and in a backfill no")
        for name, what in {
            "train": "train a challenger and judge it",
            "publish": "score the snapshot that ends the range",
            "activate": "make that the release consumers read",
        }.items()
    },
}

DOC = """
**{domain}**: a week of service dates, from raw rows to what consumers read.

* **Rerun** any task or DAG run: it replaces its own interval, and the same input gives the same rows.
* **A range**: trigger the DAG with `start` and `end`. Such a DAG run trains, publishes and activates like any other,
  unless `train`, `publish` and `activate` are false. A backfill does these three only if they are true. A week needs
  the state of the week before: set the max active runs of a backfill to 1, or use `make backfill`.
* **Skipped** tasks had nothing to do; their logs say why. **Failed**: `outcome` fails if any task failed. If training
  or the gate failed, the current champion publishes the week.
* **The report** is written in every case. The link *Report* of the task `report` is its address, a file on the machine
  that executed the task. (Browsers open `file:` addresses only from the address bar: copy it.) The page links to the
  trend over weeks. If the week trained a model, its MLflow run keeps both pages under `reports`.
* **The review**: if `gate.promotion` is `reviewed`, `ask_for_review` starts `intentrec_review_{domain}`. This week is
  then published with the current champion.
* **A single job**: `python -m jobs.<task> --start <date> --end <date> --config conf/{domain}.yaml`. The page of a task
  describes its job.
"""


class ReportLink(BaseOperatorLink):
    """A link to the page of a `report` task, whose job prints the address last. Airflow keeps a task's last line."""

    @property
    def name(self) -> str:
        """The link's text."""
        return "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address of the page; empty if the task did not write it. Airflow asks when the task ends."""
        from airflow.sdk.execution_time.xcom import XCom

        last_line = XCom.get_value(ti_key=ti_key, key="return_value")
        return last_line if isinstance(last_line, str) and last_line.startswith("file:") else ""


class ReportOperator(BashOperator):
    """A BashOperator with a link to the page that its job wrote."""

    operator_extra_links = (ReportLink(),)


def config_of(path: Path) -> str:
    """The parameter `config` of a domain file: its path, in the project folder if it is there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _content(config: str) -> dict:
    """What a domain file says."""
    with (ROOT / config).open(encoding="utf-8") as file:
        return yaml.safe_load(file)


def _section(config: str, name: str) -> dict:
    """A section of a domain file."""
    return _content(config).get(name) or {}


def ready_at(config: str, end: str) -> str:
    """The moment (ISO 8601) until which rows of the service dates before `end` may arrive: their end plus lateness."""
    calendar = _section(config, "calendar")
    zone = ZoneInfo(calendar.get("zone", "UTC"))
    closed = datetime.combine(date.fromisoformat(end), time.fromisoformat(calendar.get("day_start", "04:00")), zone)
    text = calendar.get("lateness", "2d")
    unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[text[-1]]
    return (closed.astimezone(ZoneInfo("UTC")) + timedelta(**{unit: int(text[:-1])})).isoformat()


def only_where_reviewed(context: Mapping[str, Any]) -> None:
    """Skip the task unless the domain file says `gate.promotion: reviewed`."""
    config = context["params"]["config"]
    if _section(config, "gate").get("promotion") != "reviewed":
        raise AirflowSkipException(f"{config} does not say gate.promotion: reviewed")


def wanted(choice: str) -> str:
    """Jinja condition: the value of the parameter `choice`; if it is empty, true except in a backfill."""
    return f"(dag_run.run_type != 'backfill' if params.{choice} is none else params.{choice})"


def doc(name: str) -> str | None:
    """The docstring of jobs/<name>.py, for the page of its task."""
    return ast.get_docstring(ast.parse((ROOT / "jobs" / f"{name}.py").read_text(encoding="utf-8")))


def job(
    name: str,
    options: str = "",
    only_if: str | None = None,
    spark: bool = True,
    pool: str = "default_pool",
    trigger_rule: str = "all_success",
    operator: type[BashOperator] = BashOperator,
) -> BashOperator:
    """A task that executes jobs/<name>.py over the range of the DAG run, in the project folder.

    Args:
        name: of the job and of the task.
        options: further options of its command.
        only_if: parameter of the DAG run that must be true; else the task is skipped.
        spark: whether the job starts Spark, so that INTENTREC_SUBMIT applies.
        pool: Airflow's pool.
        trigger_rule: Airflow's trigger rule.
        operator: class of the task.
    """
    launch = f"{SUBMIT} jobs/{name}.py" if spark and SUBMIT else f"{shlex.quote(PYTHON)} -m jobs.{name}"
    command = f"{launch} {RANGE} {options}".rstrip()
    if only_if:
        skip = f'echo "[{name} $START..$END] skipped: not asked for in this run"; exit {SKIPPED}'
        command = f"{{% if {wanted(only_if)} %}}{command}{{% else %}}{skip}{{% endif %}}"
    return operator(
        task_id=name,
        bash_command=command,
        env=ENV,
        append_env=True,
        cwd=str(ROOT),
        skip_on_exit_code=SKIPPED,
        pool=pool,
        trigger_rule=trigger_rule,
        doc_md=doc(name),
    )


def weekly(path: Path) -> DAG:
    """The DAG of one domain file. The function is long because it lists every task with its options.

    Raises:
        Exception: the file cannot be read.
    """
    config = config_of(path)
    _require_own_name(path, _content(config)["domain"])
    history_start = _section(config, "calendar")["history_start"]
    with DAG(
        dag_id=f"intentrec_weekly_{path.stem}",
        schedule=CronDataIntervalTimetable("0 0 * * 1", timezone="UTC"),
        start_date=datetime.combine(history_start, time(), ZoneInfo("UTC")),
        catchup=False,
        max_active_runs=1,
        params={**PARAMS, "config": Param(config, enum=CONFIGS, description="domain file")},
        default_args={
            "owner": "intentrec",
            "retries": int(os.environ.get("INTENTREC_RETRIES", "1")),
            "retry_delay": timedelta(minutes=2),
            "execution_timeout": timedelta(hours=6),
        },
        user_defined_macros={"ready_at": ready_at},
        tags=["intentrec", "weekly", path.stem],
        description=f"Weekly intents and recommendations of {path.stem}",
        doc_md=DOC.format(domain=path.stem),
    ) as dag:
        wait = DateTimeSensorAsync(
            task_id="wait_for_lateness",
            target_time="{{ ready_at(params.config, params.end or (data_interval_end | ds)) }}",
            execution_timeout=None,
            doc_md="Waits, without a worker slot, until late rows have arrived: week's end plus `calendar.lateness`.",
        )
        ingest = job("ingest", "{% if params.include_late %}--include-late{% endif %}", pool="warehouse")
        interactions = job("build_interactions", pool="warehouse")
        sequences = job("build_sequences", pool="warehouse")
        train = job("train", only_if="train", spark=False, pool="gpu")
        gate = job("gate", spark=False)
        # The DAG run does not wait for the decision, which may take days. A rerun of the week repeats the same review.
        ask_for_review = TriggerDagRunOperator(
            task_id="ask_for_review",
            trigger_dag_id=f"intentrec_review_{path.stem}",
            trigger_run_id=f"{START}_{END}",
            logical_date=None,
            reset_dag_run=True,
            conf={"start": START, "end": END, "config": "{{ params.config }}"},
            pre_execute=only_where_reviewed,
            doc_md="Starts the review of the new model, if the domain file says `gate.promotion: reviewed`.",
        )
        # Without a new model, or without a verdict on it, the champion publishes. Without new rows nothing publishes.
        over = EmptyOperator(
            task_id="training_over",
            trigger_rule="all_done",
            doc_md="Waits until training and gate have ended, whatever their outcome.",
        )
        publish = job(
            "publish",
            f"{{% if {wanted('activate')} %}}--activate{{% else %}}--no-activate{{% endif %}}",
            only_if="publish",
            pool="warehouse",
            trigger_rule="none_failed",
        )
        report = job("report", spark=False, trigger_rule="all_done", operator=ReportOperator)
        # `report` succeeds even after a failure. Without this last task, Airflow would mark the DAG run as successful.
        outcome = EmptyOperator(task_id="outcome", trigger_rule="none_failed", doc_md="Fails if any task failed.")
        wait >> ingest >> interactions >> sequences >> train >> gate >> over
        [sequences, over] >> publish >> report
        gate >> ask_for_review
        [train, gate, publish, report, ask_for_review] >> outcome
    return dag


class DomainFileOperator(BaseOperator):
    """Fails with the error of a domain file. No field is a template, because the error quotes the file."""

    def __init__(self, error: str, **operator: Any) -> None:
        super().__init__(**operator)
        self.error = error

    def execute(self, context: Any) -> None:
        """Fail."""
        raise AirflowFailException(self.error)


def _require_own_name(path: Path, domain: object) -> None:
    """Two files with one domain would write the same tables."""
    if not DOMAIN.fullmatch(path.stem):
        raise ValueError("name the file as its domain: lower-case letters, digits and underscores, then .yaml")
    if domain != path.stem:
        raise ValueError(f"it describes the domain {domain!r}: name the file {domain}.yaml, or say domain: {path.stem}")


def unreadable(path: Path, error: Exception) -> DAG:
    """A DAG in place of that of a domain file that cannot be read. Its task fails with the error."""
    # The id of a DAG has no blanks. A minus is in no name of a domain, so no two files get the same id.
    name = re.sub(r"[^a-z0-9_]", lambda found: f"-{ord(found[0]):x}", path.stem)[:200]
    with DAG(
        dag_id=f"intentrec_weekly_{name}",
        schedule="0 0 * * 1",
        start_date=datetime(2020, 1, 6, tzinfo=ZoneInfo("UTC")),
        catchup=False,
        tags=["intentrec", "weekly"],
        description=f"{path.name} cannot be read: {type(error).__name__}",
    ) as dag:
        message = f"{config_of(path)} cannot be read, correct it: {type(error).__name__}: {error}"
        DomainFileOperator(task_id="read_domain_file", error=message)
    return dag


FILES = sorted(CONF.glob("*.yaml"))
CONFIGS = [config_of(path) for path in FILES if DOMAIN.fullmatch(path.stem)]
for _path in FILES:
    try:
        globals()[_path.stem] = weekly(_path)
    except Exception as error:  # whatever is wrong with a file, the DAGs of the others are made
        globals()[_path.stem] = unreadable(_path, error)
