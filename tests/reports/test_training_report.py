"""The model card, on made-up results; and pictures of labels that nobody chose for matplotlib."""

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from intentrec.config import Domain
from intentrec.evaluation.metrics import Result
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES, ITEM_NAIVE_BASELINES
from intentrec.reports import plots
from intentrec.reports.training_report import GAP, model_card
from tests.reports.pages import MARKUP, elements

NAME = "intent_action_type_accuracy"


def measured(metrics: dict[str, float]) -> Result:
    return Result(metrics, pa.array([], pa.string()))


def card(domain: Domain, simulated: bool = True, label: str = "a|<b>", fact: str = "version 3") -> str:
    baselines = (*ITEM_NAIVE_BASELINES, *INTENT_NAIVE_BASELINES)
    results = {name: measured({"ndcg_at_10": 0.1, NAME: 0.25}) for name in baselines}
    ours = {
        "ndcg_at_10": 0.5,
        "users": 1234,
        "users_cold": 7,
        "users_unserved": 5,
        "reachable": 0.875,
        "next_events": 4321,
        NAME: 0.5,
        "next_session_action_type_first_accuracy": 0.375,
        "distinctive_intent_share_of_genre": 0.75,
        "distinctive_intent_agreement": 0.625,
    }
    classes = {f"{NAME}_of_resume": 0.25, f"{NAME}_of_{label}": 0.75}
    results["challenger"] = measured({**ours, **classes, "mrr": float("nan")})
    trained = SimpleNamespace(
        domain=domain,
        results=results,
        inputs=SimpleNamespace(trained_for=date(2026, 9, 7), cutoff=date(2026, 8, 31)),
        simulated=simulated,
        facts={"sequences": fact, "code": "abc"},
    )
    return model_card(trained)  # type: ignore[arg-type]


def test_the_card_holds_figures_beside_naive_baselines(streaming: Domain) -> None:
    text = card(streaming)
    lines = [line.replace(GAP, "") for line in text.splitlines()]
    assert lines[0] == f"# {streaming.model_name}, trained for 2026-09-07"
    assert "**Simulated data.** The service, its users and every number below are simulated." in lines
    assert lines[lines.index("## Data") + 2 :][:3] == ["- sequences: version 3", "- code: abc", ""]
    assert "1,234 users, 7 of them cold; 5 more came in the week, whom no system serves. 87.5% of the" in text
    assert "## Next event: 4,321 targets of that week from their prefixes, full catalogue" in lines
    ahead = [line for line in lines if line.startswith("| ")]
    assert ahead[0].startswith("| system | ndcg_at_10 | recall_at_10 |")
    assert ahead[2] == f"| IntentRec {streaming.model.variant.upper()} | 0.5000 | - | - | - | - | - | - |"
    assert [line.split(" | ")[0] for line in ahead[3 : 3 + len(ITEM_NAIVE_BASELINES)]] == [
        f"| {name}" for name in ITEM_NAIVE_BASELINES
    ], "without V0, which was not measured"
    assert "| `action_type` | next event | 0.5000 | 0.2500 | 0.2500 |" in lines
    assert "| `action_type` | next session, first target | 0.3750 | - | - |" in lines
    assert "| `distinctive_intent` | - | 0.7500 | - | - | 0.6250 | - |" in lines
    assert "- action_type, share found per class: `a|<b>` 0.75, `resume` 0.25" in lines
    assert "\n\n\n" not in text
    assert "Simulated" not in card(streaming, simulated=False)


@pytest.mark.parametrize("text", MARKUP)
def test_a_label_cannot_become_a_heading_a_link_or_an_image_of_the_card(streaming: Domain, text: str) -> None:
    assert elements(card(streaming, label=text, fact=text)) == elements(card(streaming, label="drama", fact="plain"))


def test_labels_with_dollar_signs_are_no_formulas(streaming: Domain, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cluster_U = np.arange(8) % 2
    labels = [r"0: $\frac{", "1: a$b$"]
    plots._save(plots.clusters(rng.normal(size=(8, 3)), cluster_U, labels), tmp_path / "map.png")
    plots._save(plots.attention(rng.random((8, 2)), cluster_U, ["$x_{", "b"], labels), tmp_path / "attention.png")
    first = (tmp_path / "attention.png").read_bytes()
    plots._save(plots.attention(np.full((8, 2), 0.5), cluster_U, ["a", "b"], labels), tmp_path / "attention.png")
    assert first != (tmp_path / "attention.png").read_bytes()
    nobody = pa.RecordBatch.from_pylist([], schema=pa.schema([]))
    plots.draw_profiles(nobody, np.zeros((2, 3)), np.zeros((2, 2)), np.zeros(2, int), [], streaming.intents, tmp_path)
    assert not (tmp_path / "intent_clusters.png").exists(), "no map of two users"
