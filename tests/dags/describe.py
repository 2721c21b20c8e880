"""Describes DAG files as JSON, in a process of its own.

Importing airflow writes to AIRFLOW_HOME and takes over logging. The list of modules that a DAG file imports must not
hold what the tests imported. Starting airflow takes seconds, so one process describes all files.

    python describe.py '{"NAME": {"file": PATH, "confs": [{...}, ...], "ends": {CONFIG: DATE}}, ...}'
"""

import copy
import json
import runpy
import sys
from unittest import mock

import airflow.sdk

wanted = json.loads(sys.argv[1])
spaces = {name: runpy.run_path(each["file"]) for name, each in wanted.items()}
modules = sorted({name.partition(".")[0] for name in sys.modules})

from airflow.sdk.exceptions import ParamValidationError  # noqa: E402
from airflow.sdk.execution_time.xcom import XCom  # noqa: E402
from airflow.serialization.serialized_objects import DagSerialization  # noqa: E402

LAST_LINES = ("file:///reports/a/report.html", "reporting", None)


def task(of) -> dict:
    return {
        "command": getattr(of, "bash_command", None),
        "target_time": getattr(of, "target_time", None),
        "error": getattr(of, "error", None),
        "templates": sorted(of.template_fields),
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


def refused(of: airflow.sdk.DAG, conf: dict) -> bool:
    params = copy.deepcopy(of.params)
    try:
        params.update(conf)
        params.validate()
    except ParamValidationError:
        return True
    return False


def dag(of: airflow.sdk.DAG, confs: list[dict]) -> dict:
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
        "refuses": [refused(of, conf) for conf in confs],
        "doc": of.doc_md,
    }


def link_of(space: dict, last_line: str | None) -> str:
    """The link of a report task whose last line was this."""
    with mock.patch.object(XCom, "get_value", return_value=last_line):
        return space["ReportLink"]().get_link(None, ti_key=None)


def described(name: str, space: dict) -> dict:
    confs, ends = wanted[name].get("confs", []), wanted[name].get("ends", {})
    dags = [each for each in space.values() if isinstance(each, airflow.sdk.DAG)]
    return {
        "dags": {each.dag_id: dag(each, confs) for each in dags},
        "ready": {config: space["ready_at"](config, day) for config, day in ends.items()},
        "links": {str(line): link_of(space, line) for line in LAST_LINES} if "ReportLink" in space else {},
        "modules": modules,
    }


print(json.dumps({name: described(name, space) for name, space in spaces.items()}))
