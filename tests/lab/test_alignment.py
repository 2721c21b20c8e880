"""Intents beside recommendations and outcomes: by hand, and against the predictor's own output."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from intentrec.config import Intent
from intentrec.evaluation.candidates import Prefixes, Titles
from intentrec.evaluation.model_system import ModelSystem
from intentrec.evaluation.targets import Targets
from intentrec.inference.predictor import Predictor
from intentrec.model.titles import titles_of
from intentrec.registry.versions import Registry
from intentrec.training.data import read_catalog, read_sequences
from lab.alignment import Aligned, align, returns
from tests.evaluation.rows import sequences
from tests.model.world import NO_TITLE_FACTS
from tests.registry import world
from tests.registry.judged import Judged
from tests.training.next_events import score_positions

NAN = float("nan")


def test_metrics_of_four_events() -> None:
    """Attention .6/.4, .7/.3, .2/.8, .9/.1: the primary intent is a, a, b, a."""
    found = Aligned(
        intents=("a", "b"),
        users=pa.array(list("wxyz")),
        moments=pa.array([0, 1, 2, 3]),
        ranks=np.array([1.0, 2.0, 4.0, np.inf]),
        embedding_EP=np.zeros((4, 2)),
        attention_EM=np.array([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [0.9, 0.1]]),
        correct_EM=np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [NAN, 1.0]]),
        contradicted_EM=np.array([[0.0, NAN], [1.0, NAN], [0.0, NAN], [NAN, NAN]]),
    ).metrics()
    assert found["attention_a"] == pytest.approx(0.6)
    assert found["primary_b"] == 0.25
    assert found["correct_of_primary"] == pytest.approx(2 / 3), "the fourth has no label"
    assert found["correct_of_any"] == pytest.approx(4 / 7)
    assert found["contradicted_a"] == found["contradicted_any"] == pytest.approx(1 / 3)
    assert found["next_mrr_contradicted_a"] == 0.5
    assert found["next_mrr_agreed_a"] == pytest.approx((1 + 1 / 4) / 2)
    assert not any("contradicted_b" in name for name in found), "nothing contradicts b"


def test_returns_by_label() -> None:
    """Of u's events b and c are new, the second a is not; the first has no prefix."""
    batch = sequences({"u": list("abac")}, 4, action_type={"u": ["new", "new", "back", "new"]})
    found = returns([batch], Titles.of("abc"), [Intent(name="action", column="action_type")])
    assert found == {"action": {"new": 0.0, "back": 1.0}}


@pytest.mark.slow
def test_a_model_beside_its_recommendations(judged: Judged, tmp_path: Path) -> None:
    root = judged.run("gate").warehouse
    batch = read_sequences(root, 0, world.END).combine_chunks().to_batches()[0]
    catalog = read_catalog(root, 0, world.END)
    predictor = Predictor.load(Registry(judged.profile, judged.domain).artifacts(judged.version, tmp_path) / "model")
    titles = Titles.of(titles_of(catalog)["title_id"].to_pylist())
    system = ModelSystem(predictor, catalog, NO_TITLE_FACTS, world.END, titles)
    intents = judged.domain.intents
    split = len(batch) // 2
    found = align([batch[:split], batch[split:]], titles, system, catalog, intents, {"action_type": {}})
    theirs = score_positions(predictor, batch, predictor.items(catalog, NO_TITLE_FACTS, world.END))
    np.testing.assert_array_equal(found.ranks, theirs.rank)
    assert found.users.to_pylist() == theirs.user_id.to_pylist()
    for m, name in enumerate(found.intents):
        guess, truth = theirs.probabilities[name].argmax(1), theirs.truth[name]
        right = [float(row[c]) if row.any() else NAN for row, c in zip(truth, guess, strict=True)]
        np.testing.assert_array_equal(found.correct_EM[:, m], right)
        if name not in ("kind", "genre"):
            assert np.isnan(found.contradicted_EM[:, m]).all(), "no title has it, and no label is known to return"
    attention_UM = system.mixture(Prefixes.whole(batch)).attention_EM
    served = predictor.predict(batch, predictor.items(catalog, NO_TITLE_FACTS, world.END), 1)
    np.testing.assert_allclose(
        attention_UM.ravel(), served["attention"].items.to_numpy(zero_copy_only=False), rtol=1e-5
    )


@pytest.mark.slow
def test_contradictions_one_event_at_a_time(judged: Judged, tmp_path: Path) -> None:
    """The first title of every prefix, by itself, against the label with the largest probability."""
    root = judged.run("gate").warehouse
    batch = read_sequences(root, 0, world.END).combine_chunks().to_batches()[0][:8]
    catalog = read_catalog(root, 0, world.END)
    predictor = Predictor.load(Registry(judged.profile, judged.domain).artifacts(judged.version, tmp_path) / "model")
    titles = Titles.of(titles_of(catalog)["title_id"].to_pylist())
    system = ModelSystem(predictor, catalog, NO_TITLE_FACTS, world.END, titles)
    returning = {"action_type": dict.fromkeys(predictor.labels["action_type"], 0.95)}
    found = align([batch], titles, system, catalog, judged.domain.intents, returning)
    facts = {row["title_id"]: row for row in titles_of(catalog).to_pylist()}
    targets = Targets.of(batch)
    for e, (row, end) in enumerate(zip(targets.rows, targets.ends, strict=True)):
        one = Prefixes(batch, np.array([row]), np.array([end]))
        first = titles.ids[int(system.title_scores(one)(0, 1)[0].argmax())].as_py()
        heads = system.intent_probabilities(one)
        best = {name: head.labels[int(head.best[0])] for name, head in heads.items()}
        expected = {
            "kind": float(facts[first]["kind"] != best["kind"]),
            "genre": float(best["genre"] not in facts[first]["genres"]) if facts[first]["genres"] else NAN,
            "action_type": float(first not in batch["title_id"][int(row)].as_py()[: int(end)]),
        }
        for name, value in expected.items():
            np.testing.assert_equal(found.contradicted_EM[e, found.intents.index(name)], value)
