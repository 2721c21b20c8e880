"""A small study from the tables to the page: interrupted, gone on with, and added up by hand."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from intentrec.config import ConfigError, Domain, ItemKnn, load_domain
from intentrec.errors import PipelineError
from intentrec.evaluation.compare import protocols
from intentrec.evaluation.next_event import targets_ended
from intentrec.local.progress import Progress
from intentrec.storage.runs import Run
from intentrec.training.data import validation_start
from intentrec.training.inputs import settings
from lab.studies import analyses, claims, main, markdown, naive, run, tune
from lab.studies.run import Data
from lab.studies.study import FOLDER, Study, load_study
from lab.studies.systems import domain_of, systems
from lab.studies.tables import Measured
from tests.conftest import profile_under
from tests.registry import world
from tests.registry.judged import Judged

NAMES = ["v0", "v1", "transact", "v3", "v3strangers"]


def study_of(**changes: object) -> Study:
    value = {
        "title": "A small service",
        "domain": "streaming",
        "start": world.FIRST,
        "end": world.END,
        "seeds": [1, 2],
        "epochs": 2,
        "patience": 2,
        "tokens": 512,
        "model": {"dim": 16, "dim_intent": 8, "layers": 1},
        "search": {"trials": 2, "learning_rate": [0.005, 0.02], "dropout": [0.0, 0.1], "weight_decay": [0.01, 0.1]},
    }
    return Study.model_validate({**value, **changes})


@pytest.fixture(scope="module")
def data(judged: Judged) -> Data:
    return Data.of(judged.run("experiments"))


@pytest.fixture(scope="module")
def results(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's pages; its results lie in the work folder."""
    folder = tmp_path_factory.mktemp("results")
    main.carry_out("small", study_of(), data, folder, Progress(), NAMES)
    assert "No epoch was timed yet" in (folder / "small.md").read_text(), "not all systems are trained"
    main.conclude("small", study_of(), data, folder, Progress(), timed=True)
    return folder


def stored(results: Path, system: str, seed: int) -> tuple[dict, np.ndarray]:
    """The result and the next event's MRR per user."""
    path = results / "runs" / "small" / f"{system}-{seed}.json"
    return json.loads(path.read_text()), pq.read_table(path.with_suffix(".next_event.parquet"))["mrr"].to_numpy()


def test_tables_are_those_of_the_results(results: Path) -> None:
    """Mean and spread over seeds; lift over users and seeds, whose variances add up, and p-value over users alone."""
    content = json.loads((results / "small.json").read_text())
    lines = {line["system"]: line for line in content["tables"]["2"]}
    assert list(lines) == ["v0", "v1", "v3", "v3strangers"]
    per_seed = {name: [stored(results, name, seed) for seed in (1, 2)] for name in NAMES}
    for name, line in lines.items():
        values = [about["metrics"]["next_event"]["next_mrr"] for about, _ in per_seed[name]]
        assert line["next_event.next_mrr"] == pytest.approx({"mean": mean(values), "std": stdev(values)})
    of_seeds = [np.array([users.astype(float) for _, users in per_seed[name]]) for name in ("v3", "v1")]
    ours, theirs = (values.mean(axis=0) for values in of_seeds)
    lift = lines["v3"]["lift"]
    assert lift["estimate"] == pytest.approx(ours.mean() / theirs.mean() - 1)
    assert lift["p_users"] == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    parts = [(np.var(ours - theirs, ddof=1) / len(ours), len(ours) - 1)]
    parts += [(np.var(values.mean(axis=1), ddof=1) / 2, 1) for values in of_seeds]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    t = (ours.mean() - theirs.mean()) / np.sqrt(variance)
    assert lift["p_value"] == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert lift["lower"] <= lift["estimate"] <= lift["upper"]
    assert "lift" not in lines["v1"], "the reference"
    assert {line["system"] for line in content["tables"]["1"]} == {"transact", "v0", "v3"}
    assert {line["system"] for line in content["naive_baselines"]} >= {
        "popularity_7d",
        "item_knn",
        "markov",
        "repeat_last",
    }
    assert "lstm" in content["missing"]
    assert "v3" not in content["missing"]
    stated = [(each["claim"][:2], each["ours"], each["theirs"]) for each in content["claims"]]
    labels = {name: systems(study_of())[name].label for name in NAMES}
    wanted = [("1.", "v3", "transact"), ("2.", "v1", "v0"), ("5.", "v3", "v3strangers")]
    assert stated == [(number, labels[mine], labels[other]) for number, mine, other in wanted]
    page = (results / "small.md").read_text()
    assert "Unfinished" in page
    assert f"{lift['estimate']:+.1%}" in page
    across = (results / "outcomes.md").read_text()
    assert all(f"{each['found']} {each['lift']['estimate']:+.1%}" in across for each in content["claims"])


def test_item_knn_is_tuned_on_what_systems_learn_from(results: Path, data: Data) -> None:
    """All of the grid was tried, the best of it is judged; the validation days teach only the line that says so."""
    folder = results / "runs" / "small"
    about = json.loads((folder / "item_knn.json").read_text())
    tried = {(line["window"], line["decay"], line["alike"]): line["val_mrr"] for line in about["trials"]}
    assert set(tried) == set(product(naive.WINDOWS, naive.DECAYS, naive.ALIKE))
    assert tried[about["tuned"]["window"], about["tuned"]["decay"], about["tuned"]["alike"]] == max(tried.values())
    domain = study_of().base()
    begin = validation_start(domain, data.evidence.cut)
    blind = replace(
        data,
        evidence=replace(
            data.evidence, learned=lambda: (targets_ended(batch, end=begin) for batch in data.evidence.learned())
        ),
    )
    gate = domain.gate.model_copy(update={"item_knn": ItemKnn(**about["tuned"])})
    again = protocols(blind.evidence, domain.model_copy(update={"gate": gate}), {}, naive_baselines=True)[1]
    same = json.loads((folder / "item_knn_latest.json").read_text())
    assert about["metrics"]["next_event"] == pytest.approx(again["item_knn"].metrics)
    assert same["metrics"]["next_event"] != pytest.approx(again["item_knn"].metrics)


@pytest.mark.parametrize(
    ("estimate", "p_value", "found"),
    [(0.1, 0.009, "above"), (-0.1, 0.009, "below"), (0.1, 0.01, "level"), (-0.3, 0.5, "level"), (0.0, np.nan, "level")],
)
def test_a_claim_is_decided_below_one_percent(
    monkeypatch: pytest.MonkeyPatch, estimate: float, p_value: float, found: str
) -> None:
    monkeypatch.setattr(claims, "compared", lambda *pair: {"estimate": estimate, "p_value": p_value})
    measured = {name: Measured(name, name.upper(), [], {}, {}) for name in ("v2", "v1")}
    (line,) = claims.outcomes(measured, ["genre"])
    assert (line["claim"][:2], line["ours"], line["theirs"], line["found"]) == ("3.", "V2", "V1", found)


def test_only_what_was_timed_has_times() -> None:
    def trained(name: str) -> Measured:
        history = [{"val_mrr": 0.1}, {"val_mrr": 0.2}, {"val_mrr": 0.3}]
        return Measured(name, name.upper(), [{"history": history, "best_epoch": 3, "parameters": 5}], {}, {})

    measured = {name: trained(name) for name in ("v0", "v1", "v3")}
    for paces, expected in (
        ({"v0": 1.0, "v3": 2.0}, {"v0": (3.0, 0.3, 3.0), "v1": (3.0, None, None), "v3": (3.0, 0.1, 6.0)}),
        ({}, dict.fromkeys(measured, (None, None, None))),
    ):
        lines = analyses.budgets(measured, paces)
        found = {line["system"]: (line["seconds"], line["at_equal_time"], line["seconds_to_best"]) for line in lines}
        assert found == expected
        assert [(line["at_equal_epochs"], line["best"]) for line in lines] == [(0.3, 0.3)] * 3
        assert ("after 3 s" in markdown.budgets(lines, "CPU")[2]) == bool(paces)


def test_equal_budgets_and_intents_are_those_of_the_results(results: Path) -> None:
    """Two epochs each: the best so far at as many epochs, and in as much time, as whoever stopped first had."""
    content = json.loads((results / "small.json").read_text())
    histories = {name: [stored(results, name, seed)[0]["history"] for seed in (1, 2)] for name in NAMES}
    epochs = min(len(history) for seeds in histories.values() for history in seeds)
    timed = json.loads((results / "runs" / "small" / "pace.json").read_text())["systems"]
    assert timed.keys() == set(NAMES)
    fastest = {name: about["seconds"] for name, about in timed.items()}
    assert all(seconds > 0 for seconds in fastest.values())
    seconds = min(len(history) * fastest[name] for name, seeds in histories.items() for history in seeds)
    for line in content["budgets"]:
        at_epochs, at_time = [], []
        for history in histories[line["system"]]:
            at_epochs.append(max(row["val_mrr"] for row in history[:epochs]))
            spent, best = 0.0, 0.0
            for row in history:
                spent += fastest[line["system"]]
                best = max(best, row["val_mrr"]) if spent <= seconds * (1 + 1e-6) else best
            at_time.append(best)
        assert line["at_equal_epochs"] == pytest.approx(mean(at_epochs))
        assert line["at_equal_time"] == pytest.approx(mean(at_time))
    metrics = [stored(results, "v3", seed)[0]["metrics"]["next_event"] for seed in (1, 2)]
    of_naive_baselines = [
        json.loads((results / "runs" / "small" / f"{name}.json").read_text())["metrics"]["next_event"]
        for name in ("majority", "repeat_last_intent")
    ]
    (line,) = [each for each in content["intents"] if (each["system"], each["intent"]) == ("v3", "kind")]
    baseline = max(each["intent_kind_accuracy"] for each in of_naive_baselines)
    assert line["accuracy"] == pytest.approx(mean(each["intent_kind_accuracy"] for each in metrics))
    assert line["skill"] == pytest.approx((line["accuracy"] - baseline) / (1 - baseline))
    (line,) = [each for each in content["margins"] if each["system"] == "item_knn"]
    ahead = {
        name: mean(pq.read_table(results / "runs" / "small" / f"{name}.week_ahead.parquet")["ndcg_at_10"].to_pylist())
        for name in ("v3-1", "v3-2", "item_knn")
    }
    lift = mean([ahead["v3-1"], ahead["v3-2"]]) / ahead["item_knn"] - 1
    assert line["v3.week_ahead"]["estimate"] == pytest.approx(lift)
    assert [each["system"] for each in content["alignment"]] == ["v3", "v3strangers"], "the others mix no intents"
    page = (results / "small.md").read_text()
    assert "## Contradictions" in page
    for figure in ("intent_clusters", "attention"):
        assert f"small_{figure}.png" in page
        assert (results / "img" / f"small_{figure}.png").stat().st_size > 5_000


def test_every_system_had_the_same_search_and_a_training_per_seed(results: Path) -> None:
    tuned = json.loads((results / "small.json").read_text())["tuned"]
    for name in NAMES:
        for seed in (1, 2):
            about, users = stored(results, name, seed)
            assert about["tuned"] == tuned[name]
            assert 1 <= len(about["history"]) <= 2
            assert len(users) > 30


def test_interrupted_it_goes_on_where_it_was(
    data: Data, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is not done again, on this machine or another, and what is new is; then everything is there."""
    shutil.copytree(results / "runs", tmp_path / "runs")
    trained: list[str] = []
    real = run.train_once

    def counted(domain, *args):  # type: ignore[no-untyped-def]
        trained.append(domain.model.variant)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(domain, *args)

    monkeypatch.setattr(run, "train_once", counted)
    more = study_of(seeds=[1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        main.carry_out("small", more, data, tmp_path, Progress(), ["v0", "v1"])
    main.carry_out("small", more, data, tmp_path, Progress(), ["v0", "v1"])
    assert trained == ["v0", "v1", "v1"]
    lines = {line["system"]: line for line in json.loads((tmp_path / "small.json").read_text())["tables"]["2"]}
    assert lines["v0"]["seeds"] == lines["v1"]["seeds"] == 3


def test_a_result_is_of_its_rows_and_not_of_its_files(
    data: Data, streaming: Domain, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tables that were built again hold the same; another user's history, another week do not."""

    def content(users: int, seed: int = 3) -> str:
        profile = profile_under(tmp_path_factory.mktemp("again"))
        again = Run("experiments", world.END - timedelta(days=7), world.END, data.run.domain, profile)
        world.write(again.warehouse, users, seed)
        return Data.of(again).content

    assert content(60) == data.content
    assert len({data.content, content(59), content(60, 4)}) == 3


def test_systems_differ_in_what_they_say_and_in_nothing_else() -> None:
    study = study_of()
    known = systems(study)
    tuned = {"learning_rate": 0.01, "dropout": 0.1, "weight_decay": 0.1}
    domains = {name: domain_of(study, system, tuned, 5) for name, system in known.items()}
    for name, domain in domains.items():
        assert (domain.training.learning_rate, domain.model.dropout, domain.training.seed) == (0.01, 0.1, 5)
        assert domain.model.history_path == name.startswith("shipped")
        assert domain.model.compatibility == name.startswith("v3compatible")
        same = {"variant", "layers", "intents", "intent_weight", "history_path", "compatibility"}
        assert domain.model.model_dump(exclude=same) == domains["v0"].model.model_dump(exclude=same)
        assert domain.training.permute_intents == (name == "v3strangers")
        assert domain.training.refit == (name == "shippedrefit")
    assert domains["v0deep"].model.layers > domains["v0"].model.layers == domains["v3"].model.layers
    assert {name for name in known if name.startswith("v3only_")} == {f"v3only_{i.name}" for i in study.base().intents}


def test_a_study_may_have_longer_sequences_and_fewer_systems() -> None:
    study, longer = study_of(), study_of(length=40, systems=["transact", "v3"])
    assert longer.base().sequences == study.base().sequences.model_copy(update={"length": 40})
    assert longer.base().sequences != study.base().sequences
    assert list(systems(longer)) == ["transact", "v3"]
    labels = [systems(study_of(length=length))["shipped"].label for length in (None, study.base().sequences.length, 40)]
    assert labels[0] == labels[1] == labels[2].replace(", but n = 40", "") != labels[2]
    tuned = {"learning_rate": 0.01, "dropout": 0.1, "weight_decay": 0.1}
    short, long = (settings(domain_of(each, systems(each)["v3"], tuned, 1)) for each in (study, longer))
    assert short != long
    with pytest.raises(PipelineError, match="systems: v9: no such system; there are lstm"):
        systems(study_of(systems=["v3", "v9"]))
    with pytest.raises(PipelineError, match="systems: shippedrefit has the settings that shipped found: name both"):
        systems(study_of(systems=["shippedrefit"]))


def test_studies_of_the_repository_are_valid() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    assert "kuairand" in names
    for name in names:
        assert systems(load_study(name))


def test_what_cannot_be_studied_is_refused(tmp_path: Path, data: Data) -> None:
    with pytest.raises(PipelineError, match=r"nothing\.yaml: no such study; there are .*kuairand"):
        load_study("nothing")
    (tmp_path / "bad.yaml").write_text("title: x\n")
    with pytest.raises(PipelineError, match=r"bad\.yaml: domain: Field required"):
        load_study("bad", tmp_path)
    with pytest.raises(ValueError, match="whole weeks"):
        study_of(end=world.END + timedelta(days=1))
    with pytest.raises(PipelineError, match="v9: no such system; there are lstm"):
        main.carry_out("small", study_of(), data, tmp_path, Progress(), ["v9"])
    with pytest.raises(PipelineError, match="without --system"):
        main.experiments("kuairand", ["v3"], pace_only=True)


def test_controls_are_not_for_the_weekly_run(tmp_path: Path) -> None:
    text = (FOLDER.parent / "streaming.yaml").read_text()
    for changed, message in (
        (text.replace("variant: v3", "variant: v0s"), "for comparison only"),
        (text.replace("  weeks: 26", "  weeks: 26\n  permute_intents: true"), "only for comparison"),
    ):
        path = tmp_path / "domain.yaml"
        path.write_text(changed)
        with pytest.raises(ConfigError, match=message):
            load_domain(path)


def test_what_is_refit_shares_the_search_of_what_is_not(data: Data, results: Path, tmp_path: Path) -> None:
    """The same curve, so the same search; then other weights, that know more."""
    shutil.copytree(results / "runs", tmp_path / "runs")
    main.carry_out("small", study_of(seeds=[1]), data, tmp_path, Progress(), ["shippedrefit"])
    main.carry_out("small", study_of(seeds=[1]), data, tmp_path, Progress(), ["shipped"])
    refit, held_out = (stored(tmp_path, name, 1) for name in ("shippedrefit", "shipped"))
    assert {path.name for path in (tmp_path / "runs" / "small").glob("shipped*-tuning.json")} == {"shipped-tuning.json"}
    assert refit[0]["tuned"] == held_out[0]["tuned"]
    for one, two in zip(refit[0]["history"], held_out[0]["history"], strict=True):
        assert one["val_mrr"] == two["val_mrr"]
    assert refit[0]["parameters"] >= held_out[0]["parameters"]
    assert not np.array_equal(refit[1], held_out[1])
    content = json.loads((tmp_path / "small.json").read_text())
    (line,) = [each for each in content["margins"] if each["system"] == "item_knn_latest"]
    assert {"shippedrefit.next_event", "shipped.next_event"} < line.keys()


def test_an_interrupted_search_tries_what_it_would_have_tried(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same values with the same results as without the interruption, and none is trained twice."""
    study = study_of(search={**study_of().search.model_dump(), "trials": 5}, epochs=1)
    system, real, trained = systems(study)["v0"], tune.train_once, []

    def interrupted(*args):  # type: ignore[no-untyped-def]
        trained.append(1)
        if len(trained) in (3, 5):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(tune, "train_once", interrupted)
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune.tuned(study, data, system, tmp_path / "out", tmp_path / "trials", said.append)
    tune.tuned(study, data, system, tmp_path / "out", tmp_path / "trials", said.append)
    assert [line.split(",")[0] for line in said] == [f"v0: trial {number} of 5" for number in range(1, 6)]
    tune.tuned(study, data, system, tmp_path / "whole", tmp_path / "other", print)
    found, whole = (json.loads((tmp_path / name / "v0-tuning.json").read_text()) for name in ("out", "whole"))
    assert found == whole
    assert len({trial["learning_rate"] for trial in found["trials"]}) == 5


def test_a_floor_is_of_what_it_reads_of_the_domain_file(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of()
    before, base = naive.naive_mark(study, data, "majority"), study.base()
    assert naive.naive_mark(study, data, "majority") == before
    for section, change in (("publishing", {"seen_titles": False}), ("training", {"validation_days": 3})):
        changed = base.model_copy(update={section: getattr(base, section).model_copy(update=change)})
        monkeypatch.setattr(Study, "base", lambda self, changed=changed: changed)
        assert naive.naive_mark(study, data, "majority") != before
    fewer = base.model_copy(update={"intents": base.intents[1:]})
    monkeypatch.setattr(Study, "base", lambda self: fewer)
    assert naive.naive_mark(study, data, "majority") != before
