"""What V4 predicts for each class: consumers can compute every score from it."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from intentrec.config import Domain
from intentrec.evaluation.candidates import Prefixes, Titles
from intentrec.evaluation.model_system import ModelSystem
from intentrec.inference.predictor import ItemIndex, Predictor
from intentrec.model.titles import SEEN
from intentrec.training.loop import fit
from tests.model import world
from tests.registry.world import domain_of, interactions_of, title_facts_of

WEEKS, TITLES, LATER = 3, 24, 30
CUTOFF = world.START.date() + timedelta(weeks=WEEKS)
PARTS = ("history_path", "decayed_counts", "title_state", "dated_facts", "compatibility", "next_session")


@pytest.fixture(scope="module")
def predictor(streaming: Domain, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    domain = domain_of(streaming, model={"variant": "v4", **dict.fromkeys(PARTS, True), "neighbours": 2})
    sequences, folder = world.learnable_weeks(5, 40, WEEKS, TITLES), tmp_path_factory.mktemp("fit")
    popularity = title_facts_of(interactions_of(sequences))
    return Predictor.load(
        fit(domain, sequences, world.catalog(TITLES), popularity, CUTOFF, folder, lambda _: None).directory
    )


@pytest.fixture(scope="module")
def items(predictor: Predictor) -> ItemIndex:
    popularity = title_facts_of(interactions_of(world.learnable_weeks(5, 40, WEEKS, TITLES)))
    return predictor.items(world.catalog(LATER), popularity, CUTOFF)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return world.random_sequences(9, users=30, titles=LATER, longest=20)


def logits_of(given: dict, vectors: dict[str, np.ndarray]) -> dict[str, float]:
    """Logits of all titles on offer given a class, from what is published about it."""
    bias, vector = dict(given["logit_bias"]), np.array(given["vector"])
    return {title: float(vector @ item) + bias.get(title, 0.0) for title, item in vectors.items()}


def test_scores_and_lists_follow_from_what_is_published(predictor: Predictor, items: ItemIndex, rows: pa.Table) -> None:
    offered = predictor.item_vectors(items).to_pylist()
    vectors = {row["title_id"]: np.array(row["vector"]) for row in offered}
    answers = predictor.predict(rows, items, 5, top_labels=9, class_lists=2).to_pylist()
    assert [answer["user_id"] for answer in answers] == rows["user_id"].to_pylist()
    for answer in answers:
        given = answer["by_class"]
        assert answer["user_vector"] == []
        assert answer["logit_bias"] == []
        labels = dict(answer["top_labels"])["action_type"]
        assert [each["label"] for each in given] == labels[: len(given)]
        probabilities = dict(answer["top_probabilities"])["action_type"][: len(given)]
        np.testing.assert_allclose([each["probability"] for each in given], probabilities, rtol=1e-4)
        assert sum(probabilities[:-1]) < 0.99 <= sum(probabilities) + 1e-6 or len(given) == len(labels)
        total = dict.fromkeys(vectors, 0.0)
        for place, each in enumerate(given):
            logits = logits_of(each, vectors)
            for title, logit in logits.items():
                total[title] += np.exp(each["log_weight"] + logit)
            norm = np.log(sum(np.exp(list(logits.values()))))
            best = sorted(logits.values(), reverse=True)[: len(each["scores"])]
            assert len(each["title_ids"]) == (5 if place < 2 else 0)
            np.testing.assert_allclose(each["scores"], np.array(best) - norm, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose([logits[title] - norm for title in each["title_ids"]], each["scores"], atol=1e-4)
        np.testing.assert_allclose(
            [np.log(total[title]) for title in answer["title_ids"]], answer["scores"], rtol=1e-3, atol=1e-4
        )
        assert sum(value > total[answer["title_ids"][-1]] * 1.001 for value in total.values()) < 5


def test_lists_of_a_class_hold_what_the_domain_allows(predictor: Predictor, items: ItemIndex, rows: pa.Table) -> None:
    seen = [[world.title(place) for place in range(10)]] * len(rows)
    marked = rows.append_column(SEEN, pa.array(seen, pa.list_(pa.string())))
    for answer in predictor.predict(marked, items, 4, "new", class_lists=1).to_pylist():
        (first, *others) = answer["by_class"]
        assert len(first["title_ids"]) == 4
        assert not set(first["title_ids"]) & set(seen[0])
        assert not any(each["title_ids"] for each in others)


def test_scores_given_a_class_are_those_of_what_is_published(
    predictor: Predictor, items: ItemIndex, rows: pa.Table
) -> None:
    titles = Titles.of(items.only_eligible().title_ids.to_pylist())
    facts = title_facts_of(interactions_of(world.learnable_weeks(5, 40, WEEKS, TITLES)))
    system = ModelSystem(predictor, world.catalog(LATER), facts, CUTOFF, titles, next_session=True)
    assert system.system.given is system
    vectors = {row["title_id"]: np.array(row["vector"]) for row in predictor.item_vectors(items).to_pylist()}
    likeliest = [answer["by_class"][0] for answer in predictor.predict(rows, items, 5).to_pylist()]
    prefixes = Prefixes.whole(rows.combine_chunks().to_batches()[0])
    found = system.title_scores_given(prefixes, pa.array([each["label"] for each in likeliest]))(0, len(rows))
    for score_N, given in zip(found, likeliest, strict=True):
        logits = logits_of(given, vectors)
        np.testing.assert_allclose(score_N, [logits[title] for title in titles.ids.to_pylist()], rtol=1e-3, atol=1e-4)
