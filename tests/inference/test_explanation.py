"""The parts of scores: against the predictor, against models that lack a part, and by plain loops."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import fsum

import numpy as np
import pyarrow as pa
import pytest
import torch

from intentrec.inference.explanation import LOG_WEIGHT, NEIGHBOURS, OTHER_CLASSES, explain
from intentrec.inference.predictor import ItemIndex, Predictor
from intentrec.model.intentrec import IntentRec
from intentrec.model.logit_bias import SOURCES, NeighbourCounts
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST
from intentrec.training.checkpoint import save_model
from tests.model import world

ON = ("history_path", "decayed_counts", "title_state", "compatibility", "dated_facts")
PARTS = {**dict.fromkeys(ON, True), "neighbours": 3}
SPECS = {
    "v3": world.spec("v3"),
    "v3 with all parts": replace(world.spec("v3"), **PARTS, next_session=True),
    "v4": world.spec("v4"),
    "v4 with all parts": replace(world.spec("v4"), **PARTS, next_session=True),
    "v4 of the age": replace(world.spec("v4"), lead_intent="age", history_path=True, neighbours=3),
}
USERS, TITLES, DAY = 6, 25, world.START.date()
CLOSE = {"rel": 1e-4, "abs": 1e-4}
# What makes a part of a model give nothing.
REMOVALS: dict[str, Callable[[IntentRec], None]] = {
    "history_path": lambda model: _zero(model.history.gate),
    "decayed_counts": lambda model: _zero(model.counts.weight),
    "compatibility": lambda model: _zero(model.compatible),
    "title_state": lambda model: _zero(model.state),
    "dated_facts": lambda model: _zero(model.dated),
    NEIGHBOURS: lambda model: model.neighbours.similarity_VK.zero_(),
    "vectors": lambda model: _zero(model.to_item),
}


def _zero(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data.zero_()


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Users with titles that the vocabulary lacks, and with titles that are not on offer."""
    return world.random_sequences(9, users=USERS, titles=TITLES + 5, longest=20)


@pytest.fixture(scope="module", params=SPECS.values(), ids=SPECS)
def predictor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model with random weights and counts."""
    return made(request.param, tmp_path_factory)


def made(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    model, encoder, _ = world.model_of(spec, world.random_sequences(5, users=8, titles=20), seed=4)
    size, random = len(encoder.vocabulary.titles), torch.Generator().manual_seed(7)
    if model.neighbours is not None:
        near_IK = torch.randint(size, (size, spec.neighbours), generator=random, dtype=torch.int32)
        alike_IK = torch.rand(size, spec.neighbours, generator=random) / 10
        model.neighbours.set_counts(NeighbourCounts(near_IK, alike_IK, torch.ones(size, spec.neighbours)))
    folder = tmp_path_factory.mktemp("model")
    calendar = {"day_start": "04:00", "zone": "America/Los_Angeles"}
    about = {"spec": spec.to_dict(), "vocabulary": encoder.vocabulary.to_dict(), "calendar": calendar}
    save_model(folder, model.state_dict(), json.loads(json.dumps(about)))
    return Predictor.load(folder)


def items_of(predictor: Predictor) -> ItemIndex:
    users = [{"as_of": DAY, "title_id": world.title(i), "users": i} for i in range(1, TITLES)]
    popularity = pa.Table.from_pylist(users, schema=world.NO_TITLE_FACTS.schema)
    return predictor.items(world.catalog(TITLES), popularity, DAY)


def test_parts_add_up_to_the_scores(predictor: Predictor, rows: pa.Table) -> None:
    items = items_of(predictor)
    names = {"vectors", *(name for name in PARTS if getattr(predictor.spec, name))}
    for i, answer in enumerate(predictor.predict(rows, items, 9, top_labels=99).to_pylist()):
        found = explain(predictor, items, rows.slice(i, 1), answer["title_ids"])
        assert [each.title_id for each in found.titles] == answer["title_ids"]
        for each, score in zip(found.titles, answer["scores"], strict=True):
            assert each.score == pytest.approx(score, **CLOSE)
            assert fsum([*each.logit.values(), *each.beside.values()]) == pytest.approx(score, **CLOSE)
            assert each.logit.keys() == names
            assert each.beside.keys() == ({LOG_WEIGHT, OTHER_CLASSES} if predictor.spec.conditional else set())
        probabilities = dict(answer["top_probabilities"])
        for intent, labels in answer["top_labels"]:
            assert [found.intents[intent][label] for label in labels] == pytest.approx(probabilities[intent], **CLOSE)
        assert found.attention == pytest.approx(dict(answer["attention"]), **CLOSE)


@torch.no_grad()
def test_without_a_part_the_logit_is_smaller_by_it(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> None:
    spec = SPECS["v3 with all parts"]
    whole = made(spec, tmp_path_factory)
    items = items_of(whole)
    everything = items.title_ids.to_pylist()
    for name, remove in REMOVALS.items():
        without = made(spec, tmp_path_factory)
        remove(without.model)
        given = 0
        for i, answer in enumerate(without.predict(rows, items_of(without), TITLES).to_pylist()):
            scores = dict(zip(answer["title_ids"], answer["scores"], strict=True))
            for each in explain(whole, items, rows.slice(i, 1), everything).titles:
                assert each.score - each.logit[name] == pytest.approx(scores[each.title_id], **CLOSE)
                given += each.logit[name] != 0
        assert given > USERS


@pytest.mark.parametrize("name", ["v4", "v4 with all parts", "v4 of the age"])
def test_shares_of_classes_from_what_is_published(
    name: str, rows: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A consumer's computation, title by title: exp(log_weight + vector · item + logit bias) of each class."""
    predictor = made(SPECS[name], tmp_path_factory)
    items = items_of(predictor)
    vectors = {row["title_id"]: np.array(row["vector"]) for row in predictor.item_vectors(items).to_pylist()}
    leading = set()
    for i, answer in enumerate(predictor.predict(rows, items, 9).to_pylist()):
        for each in explain(predictor, items, rows.slice(i, 1), answer["title_ids"]).titles:
            logit = {
                given["label"]: np.array(given["vector"]) @ vectors[each.title_id]
                + dict(given["logit_bias"]).get(each.title_id, 0.0)
                for given in answer["by_class"]
            }
            weight = {given["label"]: given["log_weight"] for given in answer["by_class"]}
            amount = {label: np.exp(weight[label] + value) for label, value in logit.items()}
            assert each.shares == pytest.approx(
                {label: a / sum(amount.values()) for label, a in amount.items()}, **CLOSE
            )
            assert each.leading == max(amount, key=amount.__getitem__)
            assert fsum(each.logit.values()) == pytest.approx(logit[each.leading], **CLOSE)
            assert each.beside[LOG_WEIGHT] == pytest.approx(weight[each.leading], **CLOSE)
            leading.add(each.leading)
    assert len(leading) > 1


@torch.no_grad()
@pytest.mark.parametrize("name", ["v3 with all parts", "v4 of the age"])
def test_which_title_of_the_history_spoke(name: str, rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By a loop over the last interactions and the neighbours of their titles."""
    predictor = made(SPECS[name], tmp_path_factory)
    items, known = items_of(predictor), predictor.vocabulary.titles
    path, spoke = predictor.model.neighbours, 0
    for i, row in enumerate(rows.to_pylist()):
        history = row["title_id"][::-1][:SOURCES]
        for each in explain(predictor, items, rows.slice(i, 1), items.title_ids.to_pylist()).titles:
            assert fsum(near.bias for near in each.neighbours) == pytest.approx(each.logit[NEIGHBOURS], **CLOSE)
            expected = []
            for ago, title in enumerate(history):
                token = FIRST + known.index(title) if title in known else 0
                near = [known[number] for number in path.title_VK[token].tolist() if number >= 0]
                if each.title_id in near:
                    expected.append((title, ago))
            assert [(near.title_id, near.ago) for near in each.neighbours] == expected
            spoke += len(expected)
    assert spoke > USERS


def test_what_cannot_be_explained(predictor: Predictor, rows: pa.Table) -> None:
    items = items_of(predictor)
    with pytest.raises(ValueError, match="one row of sequences is needed, got 2"):
        explain(predictor, items, rows.slice(0, 2), [])
    with pytest.raises(ValueError, match="not on offer: t099"):
        explain(predictor, items, rows.slice(0, 1), [world.title(1), "t099"])
