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
from tests.dags.domain_files import BROKEN, GOOD


@pytest.fixture(scope="session")
def all_described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What `describe.py` says of the weekly and the review DAGs, and of a project with domain files that are broken."""
    folder = tmp_path_factory.mktemp("dags")
    project = _project_with_broken_files(folder / "project")
    wanted = {
        "weekly": {"file": str(test_weekly.FILE), "confs": test_weekly.CONFS, "ends": test_weekly.ENDS},
        "review": {"file": str(test_review.FILE), "confs": test_review.CONFS},
        "broken": {"file": str(project / "dags" / test_weekly.FILE.name), "confs": test_weekly.AMONG_BROKEN},
        "broken_review": {"file": str(project / "dags" / test_review.FILE.name)},
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
    """A project folder whose conf/ holds one good domain file and those of BROKEN."""
    for name in ("dags", "conf"):
        (project / name).mkdir(parents=True)
    (project / "jobs").symlink_to(ROOT / "jobs")
    (project / "conf" / "streaming.yaml").write_text(GOOD)
    for name, (text, _) in BROKEN.items():
        path = project / "conf" / f"{name}.yaml"
        if text is None:
            path.symlink_to(project / "nowhere")
        else:
            path.write_text(text)
    for file in (test_weekly.FILE, test_review.FILE):
        shutil.copy(file, project / "dags")
    return project
