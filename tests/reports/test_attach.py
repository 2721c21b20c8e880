"""Both pages beside the model that the interval trained, in a real MLflow store."""

from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts

from intentrec.registry.tracking import client_of
from intentrec.registry.versions import Registry
from intentrec.storage.runs import Run, _record
from jobs.report import attach, body
from tests.registry.judged import Judged
from tests.reports.pages import Page, resolves

pytestmark = pytest.mark.slow


def reported(judged: Judged, trained: str | None) -> Run:
    """The report job over the judged week, after a train job that ended like this."""
    if trained:
        train = judged.run("train")
        _record(train, "running")
        _record(train, trained)
    run = judged.run("report")
    _record(run, "running")
    body(run)
    return run


def kept(judged: Judged, folder: Path) -> Path:
    return Path(download_artifacts(run_id=judged.version.run_id, artifact_path="reports", dst_path=str(folder)))


def test_pages_open_from_the_run_and_from_its_version(judged: Judged, tmp_path: Path) -> None:
    run = reported(judged, "succeeded")
    place = f"reports/{run.start}_{run.end}/report.html"
    client = client_of(judged.profile)
    assert client.get_run(judged.version.run_id).data.tags["report"] == place
    name = Registry(judged.profile, judged.domain).name
    tags = client.get_model_version(name, judged.version.number).tags
    assert tags["report"] == f"runs:/{judged.version.run_id}/{place}"
    copy = kept(judged, tmp_path) / run.report_dir.name / "report.html"
    assert copy.read_bytes() == (run.report_dir / "report.html").read_bytes()
    links = Page(copy.read_text("utf-8")).links
    assert "../trend.html" in links
    assert all(resolves(copy, link) for link in links)
    # Reported again, the copies are replaced.
    reported(judged, None)
    assert sorted(path.name for path in kept(judged, tmp_path / "again").rglob("*.html")) == [
        "report.html",
        "trend.html",
    ]


def test_a_week_that_trained_nothing_touches_no_model(judged: Judged, tmp_path: Path) -> None:
    run = Run("report", judged.version.trained_for, judged.run("report").end, judged.domain, judged.profile)
    assert attach(run, tmp_path / "report.html", tmp_path / "trend.html") is None
    assert run.inputs == {}
    failed = judged.run("train")
    _record(failed, "running")
    _record(failed, "failed")
    assert attach(judged.run("report"), tmp_path / "report.html", tmp_path / "trend.html") is None
