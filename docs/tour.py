"""Take the pictures of the documentation in a browser: `make demo`, then `make tour`.

Needs Debian's chromium (`apt-get install chromium`; CHROMIUM names another one), running services, and playwright.
`make tour` installs playwright apart from the project's environment. To have a review to show, this script trains the
last week once more with another short-term window and leaves the decision to a person.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from io import BytesIO
from urllib.parse import quote

import yaml
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from intentrec.config import ROOT, load_domain, load_profile
from intentrec.errors import PipelineError
from intentrec.local.airflow_client import Airflow
from intentrec.local.home import Home
from intentrec.registry import tracking
from intentrec.registry.versions import CHALLENGER, Registry, Version
from intentrec.reports import run_page, trend_page

CONFIG = ROOT / "conf" / "streaming.yaml"
PICTURES = ROOT / "docs" / "img"
WIDTH, HEIGHT = 1400, 900
COLOURS = 256
SETTLED = 4000  # milliseconds until animations have ended
PATIENCE = 300  # seconds until the review must ask a person
WEEK = timedelta(days=7)
ASSISTANT = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"  # otherwise a chat opens beside the first page
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main() -> None:
    """Take all pictures."""
    home, profile, domain = Home.here(), load_profile(), load_domain(CONFIG)
    airflow, registry = Airflow(home), Registry(profile, domain)
    if registry.champion() is None:
        raise PipelineError(f"{home.path} holds no champion: `make demo` first")
    if not airflow.healthy():
        raise PipelineError(f"Airflow does not answer at {home.airflow_url}: `make up` first")
    end = max(version.trained_for for version in registry.versions())
    PICTURES.mkdir(exist_ok=True)
    with browser() as opened:
        page = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(run_page.path(profile, domain, end - WEEK, end).as_uri())
        shoot(page, "report", height=1900)
        page.goto(trend_page.path(profile, domain).as_uri())
        shoot(page, "trend", height=1500)
        page = log_in(opened, home)
        weekly(page, home, airflow, f"intentrec_weekly_{domain.domain}")
        review(page, home, airflow, f"intentrec_review_{domain.domain}", end)
        page = opened.new_page(
            viewport={"width": WIDTH, "height": HEIGHT},
            http_credentials={"username": "admin", "password": home.password},
        )
        choose(page, {"mlflow.workflowType_v1": "machine_learning", ASSISTANT: True})
        newest = registry.by_alias(CHALLENGER)
        assert newest is not None, "it was just trained"
        models(page, home, tracking.experiment(profile, domain), newest)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window.

    Raises:
        PipelineError: chromium is not installed.
    """
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found:
        raise PipelineError("no chromium: `apt-get install chromium`, or set CHROMIUM to a browser of its kind")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=FLAGS)


def log_in(opened: Browser, home: Home) -> Page:
    """A page that is logged in to Airflow and shows DAGs as graphs."""
    page = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    choose(page, {"default_dag_view": "graph"})
    page.goto(home.airflow_url)
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(home.password)
    page.locator("button[type=submit]").click()
    page.wait_for_url(f"{home.airflow_url}/**")
    return page


def weekly(page: Page, home: Home, airflow: Airflow, dag: str) -> None:
    """The graph of the newest run, and the DAG's documentation."""
    choose(page, {f"direction-{dag}": "DOWN"})
    newest = airflow.call("GET", f"/dags/{dag}/dagRuns?order_by=-run_after&limit=1")["dag_runs"][0]["dag_run_id"]
    page.goto(f"{home.airflow_url}/dags/{dag}/runs/{quote(newest)}")
    page.locator(".react-flow__node").first.wait_for()
    shoot(page, "airflow_graph", height=1050)
    page.goto(f"{home.airflow_url}/dags/{dag}")
    page.get_by_role("button", name="Dag Docs").click()
    text = page.locator("[role=dialog] .chakra-dialog__body, [role=dialog] [data-part=body]").first.bounding_box()
    assert text is not None
    page.mouse.move(text["x"] + text["width"] - 5, text["y"] + text["height"] - 5)  # the corner that resizes it
    page.mouse.down()
    page.mouse.move(WIDTH - 200, 480, steps=10)
    page.mouse.up()
    shoot(page, "airflow_docs", height=600)


def review(page: Page, home: Home, airflow: Airflow, dag: str, end: date) -> None:
    """Train the week before `end` with other settings, ask a person, and show the question."""
    tried = home.path / "tour" / "conf" / CONFIG.name  # `make tour` has started Airflow with this folder
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    settings["model"]["windows"] = ["1d"]
    settings["gate"]["promotion"] = "reviewed"
    tried.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    week = {"start": str(end - WEEK), "end": str(end)}
    for job in ("train", "gate"):
        command = [sys.executable, "-m", f"jobs.{job}", "--config", str(tried)]
        subprocess.run([*command, "--start", week["start"], "--end", week["end"]], cwd=ROOT, check=True)
    body = {"logical_date": None, "conf": week}  # the DAG's own domain file is the one that was just written
    run = airflow.call("POST", f"/dags/{dag}/dagRuns", body)["dag_run_id"]
    until = time.monotonic() + PATIENCE
    while airflow.call("GET", f"/dags/{dag}/dagRuns/{quote(run)}/taskInstances/review")["state"] != "awaiting_input":
        if time.monotonic() > until:
            raise PipelineError(f"{dag} did not ask within {PATIENCE} s: look at its run {run}")
        time.sleep(2)
    page.goto(f"{home.airflow_url}/dags/{dag}/runs/{quote(run)}/tasks/review/required_actions")
    page.get_by_role("button", name="Approve").wait_for()
    page.get_by_role("separator").focus()
    for _ in range(4):  # a tenth of the window each
        page.keyboard.press("ArrowLeft")
    shoot(page, "airflow_review", height=1500)


def models(page: Page, home: Home, experiment: str, version: Version) -> None:
    """The version's training run, all versions of the model, and the version's card."""
    page.goto(f"{home.mlflow_url}/#/experiments/{experiment}/runs/{version.run_id}")
    page.get_by_text("ndcg_at_10").first.wait_for()
    shoot(page, "mlflow_run", height=1100)
    page.goto(f"{home.mlflow_url}/#/models/{version.name}")
    page.get_by_text(f"Version {version.number}").first.wait_for()
    shoot(page, "mlflow_model", height=1350)
    page.goto(f"{home.mlflow_url}/#/models/{version.name}/versions/{version.number}")
    page.get_by_text("Simulated data").first.wait_for()
    shoot(page, "mlflow_version", height=1500)


def choose(page: Page, settings: Mapping[str, str | bool]) -> None:
    """Store settings in the browser, as after an earlier visit of a person."""
    for name, value in settings.items():
        page.add_init_script(f"localStorage.setItem({json.dumps(name)}, {json.dumps(json.dumps(value))})")


def shoot(page: Page, name: str, height: int = HEIGHT) -> None:
    """Save what the window shows as PNG, with few colours, so that the file is small."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.wait_for_timeout(SETTLED)
    file = PICTURES / f"{name}.png"
    with Image.open(BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        small.save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}  {file.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.exit(f"FAILED: {error}")
