"""A person's decision about a challenger, for every domain file of conf/. Structure only; the work is in jobs/.

The weekly run starts this DAG if `gate.promotion` is `reviewed`. It is a separate DAG, because the weekly run must not
wait for days.
"""

import ast
import json
import os
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
PYTHON = os.environ.get("INTENTREC_PYTHON", sys.executable)
SUBMIT = os.environ.get("INTENTREC_SUBMIT")  # such as "spark-submit --master yarn --deploy-mode client"
SKIPPED = 99  # exit status of a job that has nothing to do
APPROVE, REJECT = "Approve", "Reject"

RANGE = "--start {{ params.start }} --end {{ params.end }} --config {{ params.config }}"
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


def job(task_id: str, name: str, command: str, **operator: Any) -> BashOperator:
    """A task that executes the command of a job in the project folder.

    Args:
        task_id: of the task.
        name: of the job, whose docstring is the page of the task.
        command: its command line.
        operator: further arguments of BashOperator.
    """
    # Not a default argument of the DAG: the task that waits for a person has no execution timeout.
    operator["execution_timeout"] = timedelta(hours=6)
    return BashOperator(
        task_id=task_id, bash_command=command, cwd=str(ROOT), skip_on_exit_code=SKIPPED, doc_md=doc(name), **operator
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
    config = str(path.relative_to(ROOT))
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
            "config": Param(config, type="string", pattern=r"^[\w./-]+$", description="domain file"),
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
            subject=f"{path.stem}: version {{{{ ti.xcom_pull(task_ids='card')['version'] }}}}, week before "
            "{{ params.end }}",
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
            f"{python}review_record {RANGE} --version {{{{ ti.xcom_pull(task_ids='card')['version'] }}}} "
            '--verdict "$VERDICT" --reason "$REASON" --by "$BY" --at "$AT"',
            # Input of a person reaches the shell as the value of a variable, never as part of a command.
            env={
                "VERDICT": f"{{{{ 'approved' if {ANSWER}['chosen_options'] == ['{APPROVE}'] else 'rejected' }}}}",
                "REASON": f"{{{{ {ANSWER}['params_input']['reason'] }}}}",
                "BY": f"{{{{ {ANSWER}['responded_by_user']['name'] }}}}",
                "AT": f"{{{{ {ANSWER}['responded_at'].isoformat() }}}}",
            },
            append_env=True,
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


for _path in sorted((ROOT / "conf").glob("*.yaml")):
    globals()[_path.stem] = review(_path)
