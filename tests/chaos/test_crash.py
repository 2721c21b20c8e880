"""The plan of the faults, the results page, and a short series of weeks under faults."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from tests.chaos import crash as crash_module
from tests.chaos.crash import JOBS, crash, plan, require_resumed, run_job
from tests.chaos.faults import FAULTS, TRAINER_KILLED, Fault, Outcome, Service, inject
from tests.chaos.report import DATA, PAGE, RESULTS, Report, publish, render
from tests.conftest import profile_under
from tests.local import in_process
from tests.registry import world
from tests.registry.judged import files_of

FIRST = date(2026, 8, 3)


@given(st.integers(1, 4), st.integers(0, 60), st.integers(0, 5))
def test_a_plan_spreads_its_faults_over_all_jobs(weeks: int, times: int, seed: int) -> None:
    starts = [FIRST + timedelta(weeks=number) for number in range(weeks)]
    steps = list(plan(starts, times, seed))
    assert [(week, job) for week, job, _ in steps] == [(week, job) for week in starts for job in JOBS]
    faults = [fault for _, _, found in steps for fault in found]
    assert len(faults) == times
    counts = [len(found) for _, _, found in steps]
    assert max(counts) - min(counts) <= 1
    assert all(fault.job in FAULTS[fault.kind] and 0 < fault.moment <= 1 for fault in faults)
    assert steps == list(plan(starts, times, seed))


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("something")
    with pytest.raises(PipelineError, match="is not empty"):
        crash(tmp_path, 1, 1, 0, 10, Progress())
    assert (tmp_path / "precious").exists()


def test_the_page_counts_each_kind_of_fault_by_job_and_ending(tmp_path: Path) -> None:
    kill, full = Fault("process killed (job)", "train", FIRST, 0.5), Fault("disk full", "ingest", FIRST, 0.1)
    ended = [(kill, "killed"), (full, "failed with a message"), (kill, "succeeded"), (kill, "killed")]
    report = Report(7, [Outcome(fault, ending) for fault, ending in ended], resumed=2)
    publish(report, "crash", "python -m tests.chaos crash --seed 7", tmp_path / "out")
    page = (tmp_path / "out" / PAGE).read_text()
    assert "Made by `python -m tests.chaos crash --seed 7`" in page
    assert "scheduler" not in page
    assert [line for line in page.splitlines() if line.startswith("|")] == [
        "| fault | job | times | failed with a message | killed | succeeded |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| disk full | ingest | 1 | 1 |  |  |",
        "| process killed (job) | train | 3 |  | 2 | 1 |",
    ]
    publish(Report(8), "outages", "python -m tests.chaos outages", tmp_path / "out")
    content = json.loads((tmp_path / "out" / DATA).read_text())
    assert content["crash"]["resumed"] == 2
    assert content["crash"]["outcomes"][1] == "disk full, ingest of 2026-08-03 at 10%: failed with a message"
    assert content["outages"]["seed"] == 8


def test_the_published_page_is_made_from_its_data() -> None:
    assert (RESULTS / PAGE).read_text() == render(json.loads((RESULTS / DATA).read_text()))


@pytest.fixture
def in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession) -> None:
    """Run the first week and the reruns in this process, except training, whose output must be captured."""

    def run(service: Service, job: str, start: date, end: date | None = None) -> str:
        if job == "train" or (start != service.domain.calendar.history_start and service.home.name == "reference"):
            return run_job(service, job, start, end)
        chosen = tmp_path / "profile.yaml"
        profile = service.profile.model_copy(update={"spark": profile_under(tmp_path).spark})
        chosen.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**service.environment(), "INTENTREC_PROFILE": str(chosen)}.items():
                patch.setenv(name, value)
            in_process.run_job(service.command(job, start, end)[1:])
        return ""

    monkeypatch.setattr(crash_module, "run_job", run)


@pytest.mark.extended
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("in_this_process")
def test_a_week_under_faults_equals_the_week_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreting: dict[str, str]
) -> None:
    """`crash` itself compares every table after every fault and after every rerun."""
    for name, value in interpreting.items():
        monkeypatch.setenv(name, value)
    report = crash(tmp_path / "home", weeks=1, times=3, seed=43, users=20, progress=Progress())
    endings = {outcome.ending for outcome in report.outcomes}
    assert len({outcome.fault.kind for outcome in report.outcomes}) == 3
    assert "failed without a message" not in endings
    assert {"killed", "failed with a message"} <= endings
    assert report.resumed == 1  # a trainer is killed as soon as it writes a checkpoint


@pytest.mark.extended
def test_a_killed_trainer_continues_from_its_checkpoint(tmp_path: Path, streaming: Domain) -> None:
    small = world.domain_of(streaming).model_dump(mode="json")
    small["training"] |= {"epochs": 10, "patience": 10}
    domain = Domain.model_validate(small)
    service = Service(tmp_path / "home", files_of(profile_under(tmp_path), domain, tmp_path)[0])
    world.write(f"{service.profile.warehouse}/{domain.domain}")
    week = world.END - timedelta(weeks=1)
    assert inject(service, Fault(TRAINER_KILLED, "train", week, 1.0), 0.0).ending == "killed"
    checkpoints = service.checkpoints()
    assert len(checkpoints) == 1
    assert require_resumed(checkpoints, run_job(service, "train", week))
    assert service.checkpoints() == []
    with pytest.raises(PipelineError, match="began anew"):
        require_resumed(checkpoints, "epoch 1/10")
