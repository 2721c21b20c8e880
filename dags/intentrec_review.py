"""A person's decision about a challenger, for every domain file of conf/. Structure only; the work is in jobs/.

The weekly run starts this DAG if `gate.promotion` is `reviewed`. It is a separate DAG, because the weekly run must not
wait for days.
"""

import ast
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / (os.environ.get("INTENTREC_CONF") or "conf")  # folder of the domain files
DOMAIN = re.compile(r"[a-z][a-z0-9_]*")  # the name of a domain file, without its ending, is that of its domain
PYTHON = os.environ.get("INTENTREC_PYTHON", sys.executable)
SUBMIT = os.environ.get("INTENTREC_SUBMIT")  # such as "spark-submit --master yarn --deploy-mode client"
SKIPPED = 99  # exit status of a job that has nothing to do
APPROVE, REJECT = "Approve", "Reject"

# Values of a DAG run, and what a person typed, reach a command as variables of its environment, never as a part of it.
ENV = {"START": "{{ params.start }}", "END": "{{ params.end }}", "CONFIG": "{{ params.config }}"}
RANGE = '--start "$START" --end "$END" --config "$CONFIG"'
VERSION = "{{ ti.xcom_pull(task_ids='card')['version'] }}"
ANSWER = "ti.xcom_pull(task_ids='review')"

DOC = """
**{domain}**: a person decides about the version that the weekly run trained.

* `card` makes the review page: metrics with intervals of challenger, champion and naive baselines, slices, guardrails,
  what changed, and example users.
* `review` waits for a decision, under *Required Actions*: approve or reject, with a reason.
* `record` stores decision, reason, name and time as the version's tags in MLflow. An approved version becomes champion.
* `publish` publishes the week with the approved version. After a rejection it is skipped.

If the registry already holds a decision, `card` and all tasks after it end as *skipped*.
"""


def doc(name: str) -> str | None:
    """The docstring of jobs/<name>.py, for the page of its task."""
    return ast.get_docstring(ast.parse((ROOT / "jobs" / f"{name}.py").read_text(encoding="utf-8")))


def config_of(path: Path) -> str:
    """The parameter `config` of a domain file: its path, in the project folder if it is there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def job(task_id: str, name: str, command: str, env: Mapping[str, str] | None = None, **operator: Any) -> BashOperator:
    """A task that executes the command of a job in the project folder.

    Args:
        task_id: of the task.
        name: of the job, whose docstring is the page of the task.
        command: its command line.
        env: variables of its command besides ENV.
        operator: further arguments of BashOperator.
    """
    # Not a default argument of the DAG: the task that waits for a person has no execution timeout.
    operator["execution_timeout"] = timedelta(hours=6)
    return BashOperator(
        task_id=task_id,
        bash_command=command,
        env={**ENV, **(env or {})},
        append_env=True,
        cwd=str(ROOT),
        skip_on_exit_code=SKIPPED,
        doc_md=doc(name),
        **operator,
    )


class Review(HITLOperator):
    """Asks for a decision, and asks again if the response gives no reason.

    The schema of the parameter cannot require a reason, because Airflow validates the empty default value, too.
    """

    def validate_params_input(self, params_input: Mapping) -> None:
        """Refuse an empty reason; the retry asks again."""
        super().validate_params_input(params_input)
        if not str(params_input.get("reason") or "").strip():
            raise ValueError("no reason was given: the decision is asked for again")


def review(path: Path) -> DAG:
    """The DAG of one domain file. The function is long because it lists every task with its options."""
    config = config_of(path)
    python = f"{shlex.quote(PYTHON)} -m jobs."
    spark = f"{SUBMIT} jobs/publish.py" if SUBMIT else f"{python}publish"
    with DAG(
        dag_id=f"intentrec_review_{path.stem}",
        schedule=None,
        max_active_runs=8,  # an open review does not block the next one
        is_paused_upon_creation=False,  # only a weekly run or a person starts it
        params={
            "start": Param(type="string", format="date", description="first service date of the week"),
            "end": Param(type="string", format="date", description="service date after the last"),
            "config": Param(config, enum=CONFIGS, description="domain file"),
        },
        default_args={
            "owner": "intentrec",
            # Not INTENTREC_RETRIES: `dags test` sets it to 0, but a scheduler executes this DAG.
            "retries": 2,
            "retry_delay": timedelta(seconds=30),
        },
        tags=["intentrec", "review", path.stem],
        description=f"Review of a model of {path.stem}",
        doc_md=DOC.format(domain=path.stem),
    ) as dag:
        card = job("card", "review_card", f"{python}review_card {RANGE}", output_processor=json.loads)
        ask = Review(
            task_id="review",
            subject=f"{path.stem}: version {VERSION}, week before {{{{ params.end }}}}",
            body="{{ ti.xcom_pull(task_ids='card')['page'] }}",
            options=[APPROVE, REJECT],
            params={"reason": Param("", type="string", description="needed; kept with the version")},
            retries=5,
            doc_md="Shows the version's page under *Required Actions*, and asks to approve or reject, with a reason.",
            retry_delay=timedelta(seconds=10),
        )
        record = job(
            "record",
            "review_record",
            f"{python}review_record {RANGE} "
            '--version "$VERSION" --verdict "$VERDICT" --reason "$REASON" --by "$BY" --at "$AT"',
            env={
                "VERSION": VERSION,
                "VERDICT": f"{{{{ 'approved' if {ANSWER}['chosen_options'] == ['{APPROVE}'] else 'rejected' }}}}",
                "REASON": f"{{{{ {ANSWER}['params_input']['reason'] }}}}",
                "BY": f"{{{{ {ANSWER}['responded_by_user']['name'] }}}}",
                "AT": f"{{{{ {ANSWER}['responded_at'].isoformat() }}}}",
            },
        )
        publish = job(
            "publish",
            "publish",
            f"{{% if {ANSWER}['chosen_options'] == ['{APPROVE}'] %}}{spark} {RANGE} --activate"
            f"{{% else %}}echo '[publish] skipped: rejected'; exit {SKIPPED}{{% endif %}}",
            pool="warehouse",
        )
        card >> ask >> record >> publish
    return dag


# The weekly DAG of a file with another name says that it must be renamed.
FILES = [path for path in sorted(CONF.glob("*.yaml")) if DOMAIN.fullmatch(path.stem)]
CONFIGS = [config_of(path) for path in FILES]
for _path in FILES:
    globals()[_path.stem] = review(_path)
