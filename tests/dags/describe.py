"""Describes the DAGs of dags/ as JSON. Run in a process of its own: importing airflow writes to AIRFLOW_HOME and takes
over logging, and the list of modules that a DAG file imports must not hold what the tests imported."""

import copy
import json
import runpy
import sys

import airflow.sdk

space = runpy.run_path(sys.argv[1])
modules = sorted({name.partition(".")[0] for name in sys.modules})

from airflow.sdk.exceptions import ParamValidationError  # noqa: E402
from airflow.serialization.serialized_objects import DagSerialization  # noqa: E402


def task(of) -> dict:
    return {
        "command": getattr(of, "bash_command", None),
        "target_time": getattr(of, "target_time", None),
        "cwd": getattr(of, "cwd", None),
        "skip": list(getattr(of, "skip_on_exit_code", [])),
        "pool": of.pool,
        "trigger_rule": str(of.trigger_rule),
        "env": getattr(of, "env", None),
        "body": getattr(of, "body", None),
        "options": getattr(of, "options", None),
        "asks": list(of.params) if hasattr(of, "options") else None,
        "conf": getattr(of, "conf", None),
        "trigger": getattr(of, "trigger_dag_id", None),
        "downstream": sorted(of.downstream_task_ids),
        "retries": of.retries,
        "owner": of.owner,
        "doc": of.doc_md,
    }


def refused(of: airflow.sdk.DAG, **conf: object) -> bool:
    params = copy.deepcopy(of.params)
    try:
        params.update(conf)
        params.validate()
    except ParamValidationError:
        return True
    return False


def dag(of: airflow.sdk.DAG) -> dict:
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(of))
    return {
        "tasks": {each.task_id: task(each) for each in of.tasks},
        "shown_links": {each.task_id: [link.name for link in each.operator_extra_links] for each in stored.tasks},
        "order": [each.task_id for each in of.topological_sort()],
        "tags": sorted(of.tags),
        "timetable": [
            type(of.timetable).__name__,
            getattr(of.timetable, "expression", ""),
            str(getattr(of.timetable, "timezone", "")),
        ],
        "catchup": of.catchup,
        "paused": of.is_paused_upon_creation,
        "max_active_runs": of.max_active_runs,
        "params": {name: param.value if param.has_value else None for name, param in of.params.items()},
        "refuses": [refused(of, **json.loads(conf)) for conf in sys.argv[2].split(";;")],
        "doc": of.doc_md,
    }


dags = {each.dag_id: dag(each) for each in space.values() if isinstance(each, airflow.sdk.DAG)}
ready = {config: space["ready_at"](config, day) for config, day in (item.split("=") for item in sys.argv[3:])}
print(json.dumps({"modules": modules, "dags": dags, "ready": ready}))
