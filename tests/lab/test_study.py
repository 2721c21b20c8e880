"""A small study with tiny models, from the tables to the page: interrupted, and continued."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from intentrec.config import Domain, ItemKnn
from intentrec.errors import PipelineError
from intentrec.evaluation.compare import protocols
from intentrec.evaluation.targets import targets_ended
from intentrec.local.progress import Progress
from intentrec.registry import tracking
from intentrec.storage.runs import Run
from intentrec.training.splits import validation_start
from lab.studies import main, measure, naive_measure, search
from lab.studies.data import Data
from lab.studies.main import Place
from lab.studies.study import Study, systems
from tests.conftest import profile_under
from tests.lab.made_up import stored, study_of
from tests.registry import world
from tests.registry.judged import Judged

pytestmark = pytest.mark.slow

NAMES = ["v0", "v4"]


def small(**changes: object) -> Study:
    """One epoch and one trial of everything."""
    return study_of(**{"epochs": 1, "search": {**study_of().search.model_dump(), "trials": 1}, **changes})


@pytest.fixture(scope="module")
def data(judged: Judged) -> Data:
    return Data.of(judged.run("study"))


@pytest.fixture(scope="module")
def place(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The results and the page of two systems with two seeds."""
    folder = tmp_path_factory.mktemp("study")
    found = Place("small", folder / "runs", folder / "results")
    main.carry_out(small(), data, found, Progress(), NAMES)
    assert "No epoch was timed yet" in (found.results / "small.md").read_text(), "not all systems are trained"
    main.conclude(small(), data, found, Progress(), timed=True)
    return found


def copied(place: Place, folder: Path) -> Place:
    """A place that begins with the same results."""
    shutil.copytree(place.runs, folder / "runs")
    return Place("small", folder / "runs", folder / "results")


def test_every_system_has_the_same_search_and_a_training_per_seed(place: Place, data: Data) -> None:
    content = json.loads((place.results / "small.json").read_text())
    timed = json.loads((place.runs / "timing.json").read_text())["systems"]
    assert timed.keys() == content["tuned"].keys() == set(NAMES)
    assert all(about["seconds"] > 0 for about in timed.values())
    for name, seed in product(NAMES, (1, 2)):
        about, users = stored(place.runs, name, seed)
        assert about["tuned"] == content["tuned"][name]
        assert len(about["history"]) == 1
        assert len(users) > 30
        assert bool(about["alignment"]) == (name == "v4")
    assert content["data"] == data.facts.content
    assert content["judged"] == [str(data.evidence.cut), str(data.evidence.end)]


def test_figures_stand_with_the_runs_and_results_in_mlflow(place: Place, data: Data) -> None:
    for figure in ("intent_clusters", "attention"):
        assert (place.runs / f"{figure}.png").stat().st_size > 5_000
    client = tracking.client_of(data.run.profile)
    experiment = tracking.experiment(data.run.profile, data.run.domain)
    (found,) = client.search_runs([experiment], "attributes.run_name = 'v4-2'")
    about, _ = stored(place.runs, "v4", 2)
    assert found.data.metrics["next_event.next_mrr"] == pytest.approx(about["metrics"]["next_event"]["next_mrr"])
    files = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert files == {"v4-2.json", "v4-2.next_event.parquet", "v4-2.week_ahead.parquet"}


def test_item_knn_is_tuned_on_what_systems_learn_from(place: Place, data: Data) -> None:
    """All of the grid was tried, the best of it is judged; the validation days teach only the line that says so."""
    about = json.loads((place.runs / "item_knn.json").read_text())
    keys = ("window", "decay", "popularity_exponent")
    tried = {tuple(line[key] for key in keys): line["val_mrr"] for line in about["trials"]}
    grid = product(naive_measure.WINDOWS, naive_measure.DECAYS, naive_measure.POPULARITY_EXPONENTS)
    assert set(tried) == set(grid)
    assert tried[tuple(about["tuned"][key] for key in keys)] == max(tried.values())
    domain = small().base()
    begin = validation_start(domain, data.evidence.cut)
    blind = replace(
        data.evidence, learned=lambda: (targets_ended(batch, end=begin) for batch in data.evidence.learned())
    )
    gate = domain.gate.model_copy(update={"item_knn": ItemKnn(**about["tuned"])})
    again = protocols(blind, domain.model_copy(update={"gate": gate}), {}, naive_baselines=True)[1]
    latest = json.loads((place.runs / "item_knn_latest.json").read_text())
    assert about["metrics"]["next_event"] == pytest.approx(again["item_knn"].metrics)
    assert latest["metrics"]["next_event"] != pytest.approx(again["item_knn"].metrics)


def test_an_interrupted_study_continues_where_it_was(
    data: Data, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is not done again, on this machine or another, and what is new is; then everything is there."""
    copy, trained, real = copied(place, tmp_path), [], measure.train_once

    def counted(domain: Domain, *args):  # type: ignore[no-untyped-def]
        trained.append(domain.model.variant)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(domain, *args)

    monkeypatch.setattr(measure, "train_once", counted)
    more = small(seeds=[1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        main.carry_out(more, data, copy, Progress(), NAMES)
    main.carry_out(more, data, copy, Progress(), NAMES)
    assert trained == ["v0", "v4", "v4"]
    lines = {line["system"]: line for line in json.loads((copy.results / "small.json").read_text())["table"]}
    assert lines["v0"]["seeds"] == lines["v4"]["seeds"] == 3
    with pytest.raises(PipelineError, match="v9: no such system; there are gru"):
        main.carry_out(more, data, copy, Progress(), ["v9"])


def test_a_control_has_the_settings_of_what_it_controls(data: Data, place: Place, tmp_path: Path) -> None:
    """No search of its own, other labels, other weights."""
    copy = copied(place, tmp_path)
    main.carry_out(small(seeds=[1]), data, copy, Progress(), ["v4", "v4permuted"])
    v4, permuted = (stored(copy.runs, name, 1) for name in ("v4", "v4permuted"))
    assert {path.name for path in copy.runs.glob("v4*-tuning.json")} == {"v4-tuning.json"}
    assert permuted[0]["tuned"] == v4[0]["tuned"]
    assert permuted[0]["parameters"] == v4[0]["parameters"]
    assert not np.array_equal(permuted[1], v4[1])
    content = json.loads((copy.results / "small.json").read_text())
    assert {line["system"] for line in content["margins"]} > {"v0", "v4permuted", "item_knn", "item_knn_latest"}
    assert {line["over"] for line in content["claims"]} > {systems(small())["v4permuted"].label, "item_knn"}


def test_an_interrupted_search_tries_what_it_would_have_tried(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same values with the same results as without the interruption, and none is trained twice."""
    study = small(search={**study_of().search.model_dump(), "trials": 3})
    system, real, trained = systems(study)["v0"], search.train_once, []

    def interrupted(*args):  # type: ignore[no-untyped-def]
        trained.append(1)
        if len(trained) in (2, 4):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(search, "train_once", interrupted)
    lines: list[str] = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search.tuned(study, data, system, tmp_path / "out", tmp_path / "trials", lines.append)
    search.tuned(study, data, system, tmp_path / "out", tmp_path / "trials", lines.append)
    assert [line.split(",")[0] for line in lines] == [f"v0: trial {number} of 3" for number in range(1, 4)]
    search.tuned(study, data, system, tmp_path / "whole", tmp_path / "other", print)
    found, whole = (json.loads((tmp_path / name / "v0-tuning.json").read_text()) for name in ("out", "whole"))
    assert found == whole
    assert len({trial["learning_rate"] for trial in found["trials"]}) == 3


def test_the_mark_of_the_data_depends_on_rows_and_not_on_files(
    data: Data, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tables that were built again hold the same; another user's history, another week do not."""

    def content(users: int, seed: int = 3) -> str:
        profile = profile_under(tmp_path_factory.mktemp("again"))
        again = Run("study", world.END - timedelta(days=7), world.END, data.run.domain, profile)
        world.write(again.warehouse, users, seed)
        return Data.of(again).facts.content

    assert content(60) == data.facts.content
    assert len({data.facts.content, content(59), content(60, 4)}) == 3
