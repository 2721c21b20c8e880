"""The built wheel: what is in it, and that the jobs run with it in a folder that is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from datetime import date, timedelta
from pathlib import Path

import pytest

from intentrec.config import ROOT, load_domain, load_profile
from intentrec.contracts import TABLES
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import ledger
from tests.sources.landing import deliver, event, events_of, item, snapshot_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WEEK = date(2026, 8, 3)
LICENSES = ("LICENSE", "NOTICE", "THIRD_PARTY_NOTICES.md")
JOBS = ("ingest", "build_interactions", "build_sequences")
# Runs the jobs one after the other in one process, as `python -m jobs.NAME` does each, then asks for the status.
DRIVER = f"""
import importlib, sys
import intentrec
from intentrec import cli
from intentrec.entry import application

print("package", intentrec.__file__)
week = ["--start", "{WEEK}", "--end", "{WEEK + timedelta(days=7)}", "--config", "conf/streaming.yaml"]
for name in {JOBS}:
    module = importlib.import_module("jobs." + name)
    application(getattr(module, name), module.__doc__)(week, standalone_mode=False)
sys.argv = ["intentrec", "status"]
cli.main()
"""


def call(*command: str, **options: object) -> str:
    """Run a command and return what it printed, also as errors."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sources, built from a copy: a build leaves files behind that the next one would pack."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("intentrec", "expectations", "conf", "jobs", "dags", "simulator", "lab"):
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", *LICENSES):
        shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    call(*pip, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source"))
    (built,) = folder.glob("*.whl")
    return built


def test_it_holds_the_package_with_all_it_reads_and_claims_no_other_name(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wheel_info = f"{'-'.join(wheel.stem.split('-')[:2])}.dist-info"
    assert {name.split("/")[0] for name in held} == {"intentrec", wheel_info}
    suites = {f"intentrec/expectations/{path.name}" for path in (ROOT / "expectations").glob("*.json")}
    profiles = {f"intentrec/profiles/{path.name}" for path in (ROOT / "conf" / "profiles").glob("*.yaml")}
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "intentrec").rglob("*.jinja")}
    assert min(map(len, (suites, profiles, templates))) > 0
    assert suites | profiles | templates | {"intentrec/storage/log4j2.properties"} <= held
    assert {f"{wheel_info}/licenses/{name}" for name in LICENSES} <= held


@pytest.mark.extended
def test_the_jobs_run_beside_it_where_there_is_no_checkout(
    wheel: Path, interpreting: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, project = tmp_path / "site", tmp_path / "project"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    call(*pip, "--target", str(site), str(wheel))
    shutil.copytree(ROOT / "jobs", project / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "conf").mkdir()
    shutil.copy(ROOT / "conf" / "streaming.yaml", project / "conf")
    (project / "driver.py").write_text(DRIVER, encoding="utf-8")
    landing = project / "var" / "landing" / "streaming"
    deliver(snapshot_of(landing, WEEK), [item()])
    deliver(events_of(landing, WEEK + timedelta(days=1)), [event()])

    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTENTREC_")}
    environment |= {**interpreting, "PYTHONPATH": str(site)}
    shown = call(sys.executable, "driver.py", cwd=project, env=environment)
    assert f"package {site}/intentrec/__init__.py" in shown
    assert "streaming: rows by week" in shown
    for noise in ("log4j", "log level", "WARN "):
        assert noise not in shown

    monkeypatch.setenv("INTENTREC_HOME", str(project / "var"))
    tables = str(project / "var" / "warehouse" / "streaming")
    for name in ("catalog", "engagement_events", "interactions", "sequences"):
        assert Snapshot(tables, TABLES[name]).count() == 1
    rows = ledger(load_profile(), load_domain(ROOT / "conf" / "streaming.yaml"))
    version = wheel.stem.split("-")[1]
    assert [(row["job"], row["status"], row["code_version"]) for row in rows] == [
        (job, "succeeded", version) for job in JOBS
    ]
    page = project / "var" / "reports" / "streaming" / f"{WEEK}_{WEEK + timedelta(days=7)}" / "report.html"
    assert page.stat().st_size > 1000
