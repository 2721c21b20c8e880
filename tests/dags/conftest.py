"""One description of all DAG files for the tests of this folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from intentrec.config import ROOT
from tests.dags import test_review, test_weekly

BROKEN = ("", "calendar: [", "calendar: {zone: UTC}", "- a", "calendar: x")


@pytest.fixture(scope="session")
def all_described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What `describe.py` says of the weekly and the review DAGs, and of a project with domain files that are broken."""
    folder = tmp_path_factory.mktemp("dags")
    wanted = {
        "weekly": {"file": str(test_weekly.FILE), "confs": test_weekly.CONFS, "ends": test_weekly.ENDS},
        "review": {"file": str(test_review.FILE), "confs": test_review.CONFS},
        "broken": {"file": str(_project_with_broken_files(folder / "project"))},
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "dags" / "describe.py"), json.dumps(wanted)],
        env={**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _project_with_broken_files(project: Path) -> Path:
    """A project folder whose conf/ holds one good domain file and those of BROKEN; gives its weekly DAG file."""
    for name in ("dags", "conf"):
        (project / name).mkdir(parents=True)
    (project / "jobs").symlink_to(ROOT / "jobs")
    shutil.copy(ROOT / "conf" / "streaming.yaml", project / "conf")
    for number, text in enumerate(BROKEN):
        (project / "conf" / f"broken{number}.yaml").write_text(text)
    return Path(shutil.copy(test_weekly.FILE, project / "dags"))
