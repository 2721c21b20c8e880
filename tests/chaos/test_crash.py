"""The chaos run in a short form, and its plan of blows."""

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
from tests.chaos.crash import JOBS, Report, crash, planned, run_job, went_on, write
from tests.chaos.faults import BLOWS, Blow, Service, Struck, struck, unfinished
from tests.conftest import profile_under
from tests.local import warm
from tests.registry import world
from tests.registry.judged import files_of

FIRST = date(2026, 8, 3)


@given(st.integers(1, 4), st.integers(0, 60), st.integers(0, 5))
def test_a_plan_spreads_its_blows_over_all_jobs_and_is_its_seeds(weeks: int, times: int, seed: int) -> None:
    starts = [FIRST + timedelta(weeks=number) for number in range(weeks)]
    steps = list(planned(starts, times, seed))
    assert [(week, job) for week, job, _ in steps] == [(week, job) for week in starts for job in JOBS]
    blows = [blow for _, _, found in steps for blow in found]
    assert len(blows) == times
    counts = [len(found) for _, _, found in steps]
    assert max(counts) - min(counts) <= 1
    assert all(blow.job in BLOWS[blow.kind] and 0 < blow.moment <= 1 for blow in blows)
    assert steps == list(planned(starts, times, seed))


def test_it_runs_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("something")
    with pytest.raises(PipelineError, match="is not empty"):
        crash(tmp_path, 1, 1, 0, 10, Progress())
    assert (tmp_path / "precious").exists()


def test_the_table_counts_each_kind_of_blow_by_job_and_end(tmp_path: Path) -> None:
    kill, full = Blow("kill everything", "train", FIRST, 0.5), Blow("full disk", "ingest", FIRST, 0.1)
    ended = [(kill, "killed"), (full, "failed and said why"), (kill, "survived"), (kill, "killed")]
    report = Report(7, [Struck(blow, end) for blow, end in ended], resumed=2)
    write(report, "intentrec crash --seed 7", tmp_path / "out" / "crash.json")
    page = (tmp_path / "out" / "crash.md").read_text()
    assert "Made by `intentrec crash --seed 7`" in page
    assert [line for line in page.splitlines() if line.startswith("|")] == [
        "| blow | job | times | failed and said why | killed | survived |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| full disk | ingest | 1 | 1 |  |  |",
        "| kill everything | train | 3 |  | 2 | 1 |",
    ]
    kept = json.loads((tmp_path / "out" / "crash.json").read_text())
    assert kept["resumed"] == 2
    assert kept["blows"][1] == "full disk, ingest of 2026-08-03 at 10%: failed and said why"


@pytest.fixture
def warmer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spark: SparkSession) -> None:
    """The quiet week, and what is rerun after a blow, in this process; training says there whether it went on."""

    def run(service: Service, job: str, start: date, end: date | None = None) -> str:
        if job == "train" or (start != service.domain.calendar.history_start and service.home.name == "calm"):
            return run_job(service, job, start, end)
        chosen = tmp_path / "profile.yaml"
        profile = service.profile.model_copy(update={"spark": profile_under(tmp_path).spark})
        chosen.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**service.environment(), "INTENTREC_PROFILE": str(chosen)}.items():
                patch.setenv(name, value)
            warm.do(service.command(job, start, end)[1:])
        return ""

    monkeypatch.setattr(crash_module, "run_job", run)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("warmer")
def test_a_week_under_blows_equals_the_week_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreting: dict[str, str]
) -> None:
    """`crash` itself compares every table after every blow and after every rerun."""
    for name, value in interpreting.items():
        monkeypatch.setenv(name, value)
    report = crash(tmp_path / "home", weeks=1, times=3, seed=43, users=20, progress=Progress())
    assert len({each.blow.kind for each in report.struck}) == 3
    assert "failed without a word" not in {each.ended for each in report.struck}
    assert {"killed", "failed and said why"} <= {each.ended for each in report.struck}
    assert report.resumed == 1  # the trainer is killed when a checkpoint is written, whenever that is


@pytest.mark.slow
def test_a_trainer_that_is_killed_beside_its_checkpoint_goes_on_from_it(tmp_path: Path, streaming: Domain) -> None:
    small = world.domain_of(streaming).model_dump(mode="json")
    small["training"] |= {"epochs": 10, "patience": 10}
    domain = Domain.model_validate(small)
    service = Service(tmp_path / "home", files_of(profile_under(tmp_path), domain, tmp_path)[0])
    world.write(f"{service.profile.warehouse}/{domain.domain}")
    killed = struck(service, Blow("kill the trainer", "train", world.END - timedelta(weeks=1), 1.0), 0.0)
    assert killed.ended == "killed"
    begun = unfinished(service)
    assert len(begun) == 1
    assert went_on(begun, run_job(service, "train", killed.blow.week))
    assert unfinished(service) == []
    with pytest.raises(PipelineError, match="began anew"):
        went_on(begun, "epoch 1/10")
