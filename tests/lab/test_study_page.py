"""From stored results to summary and page, added up by hand; no model is trained here."""

import json
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from typer.testing import CliRunner

from intentrec.errors import PipelineError
from intentrec.evaluation.naive_baselines import ITEM_NAIVE_BASELINES
from lab.studies import __main__ as command
from lab.studies import main, page, results, summary
from lab.studies.main import Place
from lab.studies.naive_measure import naive_mark
from lab.studies.results import Measured
from lab.studies.study import Study, systems
from tests.lab.made_up import FACTS, INTENTS, TUNED, stored, study_of, write_results

NAMES = ["transact", "v0", "v1", "v4", "v4permuted"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The results, and the page that the command made from them."""
    folder = tmp_path_factory.mktemp("study")
    found = Place("small", folder / "runs", folder / "results")
    write_results(found.runs, study_of(), NAMES)
    (found.results / "img").mkdir(parents=True)
    (found.results / "img" / "small_attention.png").write_bytes(b"drawn when V4 was trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Place, "of", classmethod(lambda cls, name: found))
        patch.setattr(main, "load_study", lambda name: study_of())
        done = CliRunner().invoke(command.app, ["small", "--page-only"])
    assert done.exit_code == 0, done.output
    return found


@pytest.fixture(scope="module")
def content(place: Place) -> dict:
    return json.loads((place.results / "small.json").read_text())


def test_tables_are_those_of_the_results(place: Place, content: dict) -> None:
    """Mean and spread over seeds; lift over users and seeds, whose variances add up, and p-value over users alone."""
    lines = {line["system"]: line for line in content["table"]}
    assert list(lines) == NAMES
    per_seed = {name: [stored(place.runs, name, seed) for seed in (1, 2)] for name in NAMES}
    for name, line in lines.items():
        values = [about["metrics"]["next_event"]["next_mrr"] for about, _ in per_seed[name]]
        assert line["next_event.next_mrr"] == pytest.approx({"mean": mean(values), "std": stdev(values)})
    of_seeds = [np.array([users.astype(float) for _, users in per_seed[name]]) for name in ("v4", "v0")]
    ours, theirs = (values.mean(axis=0) for values in of_seeds)
    lift = lines["v4"]["lift"]
    assert lift["estimate"] == pytest.approx(ours.mean() / theirs.mean() - 1)
    assert lift["p_users"] == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    parts = [(np.var(ours - theirs, ddof=1) / len(ours), len(ours) - 1)]
    parts += [(np.var(values.mean(axis=1), ddof=1) / 2, 1) for values in of_seeds]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    t = (ours.mean() - theirs.mean()) / np.sqrt(variance)
    assert lift["p_value"] == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert lift["lower"] <= lift["estimate"] <= lift["upper"]
    assert "lift" not in lines["v0"], "the reference"
    naive = {"popularity_7d", "item_knn", "markov", "repeat_last"}
    assert {line["system"] for line in content["naive_baselines"]} >= naive
    assert "gru" in content["missing"]
    assert "v4" not in content["missing"]
    assert content["tuned"] == dict.fromkeys(NAMES, TUNED)
    assert content["hours"] == pytest.approx({"CPU": 10 * 36 / 3600})
    claims = [(each["claim"][:2], each["over"]) for each in content["claims"]]
    labels = {name: systems(study_of())[name].label for name in NAMES}
    trained = [("1.", labels["v4permuted"]), *(("2.", labels[name]) for name in ("transact", "v0", "v1"))]
    assert claims == [*trained, *(("3.", name) for name in ITEM_NAIVE_BASELINES)]
    text = (place.results / "small.md").read_text()
    assert "Unfinished" in text
    assert f"{lift['estimate']:+.1%}" in text
    outcomes = (place.results / "outcomes.md").read_text()
    assert all(f"{each['found']} {each['lift']['estimate']:+.1%}" in outcomes for each in content["claims"])


def test_the_page_shows_every_section_and_the_figures_that_exist(place: Place, content: dict) -> None:
    text = (place.results / "small.md").read_text()
    assert [each["system"] for each in content["alignment"]] == ["v4", "v4permuted"], "the others mix no intents"
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "How to make it again",
        "Claims",
        "Systems",
        "Naive baselines",
        "Margins",
        "Intents",
        "Equal budgets",
        "Primary intents",
        "Contradictions",
    ]
    assert "img/small_attention.png" in text
    assert "small_intent_clusters.png" not in text, "it was not drawn"
    assert (place.results / "img" / "small_curves.png").stat().st_size > 5_000
    assert "N/A: trained since then" in text, "all were timed, side by side"
    assert "\n\n\n" not in text
    assert "{" not in text


def test_equal_budgets_are_those_of_the_results(place: Place, content: dict) -> None:
    """The best so far at as many epochs, and in as much time, as the system had that stopped first."""
    histories = {name: [stored(place.runs, name, seed)[0]["history"] for seed in (1, 2)] for name in NAMES}
    epochs = min(len(history) for seeds in histories.values() for history in seeds)
    timed = json.loads((place.runs / "timing.json").read_text())["systems"]
    seconds = min(len(history) * timed[name]["seconds"] for name, seeds in histories.items() for history in seeds)
    assert {line["system"] for line in content["budgets"]} == set(NAMES)
    for line in content["budgets"]:
        at_epochs, at_time = [], []
        for history in histories[line["system"]]:
            at_epochs.append(max(row["val_mrr"] for row in history[:epochs]))
            spent, best = 0.0, 0.0
            for row in history:
                spent += timed[line["system"]]["seconds"]
                best = max(best, row["val_mrr"]) if spent <= seconds * (1 + 1e-6) else best
            at_time.append(best)
        assert line["at_equal_epochs"] == pytest.approx(mean(at_epochs))
        assert line["at_equal_time"] == pytest.approx(mean(at_time))


def test_skills_and_margins_are_those_of_the_results(place: Place, content: dict) -> None:
    metrics = [stored(place.runs, "v4", seed)[0]["metrics"]["next_event"] for seed in (1, 2)]
    of_naive_baselines = [
        json.loads((place.runs / f"{name}.json").read_text())["metrics"]["next_event"]
        for name in ("majority", "repeat_last_intent")
    ]
    for intent in INTENTS:
        (line,) = [each for each in content["intents"] if (each["system"], each["intent"]) == ("v4", intent)]
        baseline = max(each[f"intent_{intent}_accuracy"] for each in of_naive_baselines)
        assert line["accuracy"] == pytest.approx(mean(each[f"intent_{intent}_accuracy"] for each in metrics))
        assert line["skill"] == pytest.approx((line["accuracy"] - baseline) / (1 - baseline))
    (line,) = [each for each in content["margins"] if each["system"] == "item_knn"]
    ahead = {
        name: mean(pq.read_table(place.runs / f"{name}.week_ahead.parquet")["ndcg_at_10"].to_pylist())
        for name in ("v4-1", "v4-2", "item_knn")
    }
    lift = mean([ahead["v4-1"], ahead["v4-2"]]) / ahead["item_knn"] - 1
    assert line["week_ahead"]["estimate"] == pytest.approx(lift)


def test_results_of_other_settings_or_data_do_not_count(place: Place) -> None:
    study, known = study_of(), systems(study_of())
    assert set(results.read(place.runs, study, FACTS, known)) >= set(NAMES)
    wider = study_of(model={"dim": 32, "dim_intent": 8, "layers": 1})
    other_data = FACTS.__class__("other", FACTS.cut, FACTS.end, 70)
    for changed, facts in ((wider, FACTS), (study_of(epochs=3), FACTS), (study, other_data)):
        assert not set(results.read(place.runs, changed, facts, known)) & set(NAMES)
    assert set(results.read(place.runs, study_of(seeds=[2, 3]), FACTS, known)) >= set(NAMES), "seed 2 is there"


def test_without_values_there_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    done = CliRunner().invoke(command.app, ["kuairand", "--page-only"])
    assert done.exit_code == 2
    for options in (["--system", "v3", "--timing-only"], ["--timing-only", "--page-only"]):
        assert CliRunner().invoke(command.app, ["kuairand", *options]).exit_code == 2
    with pytest.raises(PipelineError, match=r"data\.json: no such file"):
        main.only_page("kuairand")


@pytest.mark.parametrize(
    ("estimate", "p_value", "found"),
    [(0.1, 0.009, "above"), (-0.1, 0.009, "below"), (0.1, 0.01, "level"), (-0.3, 0.5, "level"), (0.0, np.nan, "level")],
)
def test_a_claim_is_decided_below_one_percent(
    monkeypatch: pytest.MonkeyPatch, estimate: float, p_value: float, found: str
) -> None:
    monkeypatch.setattr(summary, "compared", lambda *pair: {"estimate": estimate, "p_value": p_value})
    measured = {name: Measured(name, name.upper(), [], {}, {}) for name in ("v4", "gru")}
    (line,) = summary.claims(measured)
    assert (line["claim"][:2], line["over"], line["found"]) == ("2.", "GRU", found)


def test_only_timed_systems_have_times() -> None:
    def trained(name: str) -> Measured:
        history = [{"val_mrr": 0.1}, {"val_mrr": 0.2}, {"val_mrr": 0.3}]
        return Measured(name, name.upper(), [{"history": history, "best_epoch": 3, "parameters": 5}], {}, {})

    measured = {name: trained(name) for name in ("v0", "v1", "v3")}
    for seconds, expected in (
        ({"v0": 1.0, "v3": 2.0}, {"v0": (3.0, 0.3, 3.0), "v1": (3.0, None, None), "v3": (3.0, 0.1, 6.0)}),
        ({}, dict.fromkeys(measured, (None, None, None))),
    ):
        lines = summary.budgets(measured, seconds)
        found = {line["system"]: (line["seconds"], line["at_equal_time"], line["seconds_to_best"]) for line in lines}
        assert found == expected
        assert [(line["at_equal_epochs"], line["best"]) for line in lines] == [(0.3, 0.3)] * 3
        assert ("after 3 s" in page.budgets_table(lines)) == bool(seconds)


def test_a_naive_baseline_depends_on_what_it_reads_of_the_domain_file(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of()
    before, base = naive_mark(study, FACTS, "majority"), study.base()
    assert naive_mark(study, FACTS, "majority") == before
    for section, change in (("publishing", {"seen_titles": False}), ("training", {"validation_days": 3})):
        changed = base.model_copy(update={section: getattr(base, section).model_copy(update=change)})
        monkeypatch.setattr(Study, "base", lambda self, changed=changed: changed)
        assert naive_mark(study, FACTS, "majority") != before
    fewer = base.model_copy(update={"intents": base.intents[1:]})
    monkeypatch.setattr(Study, "base", lambda self: fewer)
    assert naive_mark(study, FACTS, "majority") != before


def lift(estimate: float, p_value: float, p_users: float = 1.0) -> dict[str, float]:
    return {"estimate": estimate, "p_value": p_value, "p_users": p_users}


def summary_file(folder: Path, name: str, simulated: bool, claims: list[dict], margins: list[dict]) -> None:
    content = {"simulated": simulated, "claims": claims, "margins": margins}
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_in_the_outcomes_each_comparison_is_a_row_and_each_study_a_column(tmp_path: Path) -> None:
    second = {"claim": "2. Others", "over": "GRU", "found": "level", "lift": lift(-0.004, 0.4, 0.001)}
    first = {"claim": "1. Intent", "over": "permuted", "found": "above", "lift": lift(0.251, 0.00012)}
    ahead = {"next_event": lift(5.0, 0.5), "week_ahead": lift(0.1, 0.009)}
    summary_file(tmp_path, "films", False, [second], [{"system": "gru", "label": "GRU", **ahead}])
    markov = {"system": "markov", "label": "Markov", "week_ahead": lift(-0.1, 0.009), "next_event": lift(0.2, 0.5)}
    alone = {"system": "item_knn_latest", "label": "item-kNN", "next_event": lift(1.0, 0.5)}
    summary_file(tmp_path, "world", True, [first, second], [markov, alone])
    (tmp_path / "benchmarks.json").write_text(json.dumps({"cost": "another page's figures"}))
    page.write_outcomes(tmp_path)
    text = (tmp_path / "outcomes.md").read_text()
    # In brackets, by hand: .00012 is the least of three, so times 3; what is last keeps its own, and ties with it do.
    assert [line for line in text.splitlines() if line.startswith("|") and "---" not in line] == [
        "| claim | V4 over | [films](films.md) | [world](world.md) (simulated) |",
        "| 1. Intent | permuted |  | above +25.1%, 0.00012 (0.00036) |",
        "| 2. Others | GRU | level -0.4%, 0.4 (0.4) | level -0.4%, 0.4 (0.4) |",
        "| V4 over | [films](films.md) | [world](world.md) (simulated) |",
        "| GRU | above +10.0%, 0.009 (0.009) |  |",
        "| Markov |  | below -10.0%, 0.009 (0.009) |",
    ]
    # The same comparison of two data sets is sure over users alone, in both; of the margins none is.
    assert "Of the 3 comparisons under the claims 1 are above or below, 1 of them by the adjusted p-value" in text
    assert "By the p-value over users alone 2 more of them would be, and 0 more of the 5 margins" in text
