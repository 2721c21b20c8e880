"""The logit biases: of titles that come back, of neighbours of the history, and of titles that realise an intent."""

import math
from collections import defaultdict
from dataclasses import replace

import pytest
import torch

from intentrec.model.features import Encoded
from intentrec.model.intentrec import IntentRec
from intentrec.model.logit_bias import NeighbourCounts, NeighbourPath
from intentrec.model.loss import LossSettings
from intentrec.model.scores import logits
from intentrec.model.titles import titles_of
from intentrec.model.vocabulary import FIRST
from intentrec.training.cooccurrence import cooccurrence, neighbours
from tests.model import world

KEPT = 3
SPEC = replace(world.spec("v3"), neighbours=KEPT)


@torch.no_grad()
def test_history_path_raises_titles_of_the_history_known_to_training_or_not() -> None:
    """With nothing learnt a title that was touched n times gets a head's log(1 + n); others get nothing."""
    spec = replace(world.spec("v2"), history_path=True)
    model, encoder, _ = world.model_of(spec, world.random_sequences(1, titles=10))
    for parameter in (*model.to_item.parameters(), *model.history.parameters()):
        parameter.zero_()
    model.history.gate.bias.fill_(1.0)
    rows = world.random_sequences(2, titles=30, users=8, longest=20)
    items = encoder.items(titles_of(world.catalog(40)))
    encoded = encoder.encode(rows)
    batch = encoded.pad(torch.arange(len(encoded)))
    prediction = model.at(batch, torch.arange(len(encoded)), encoded.lengths - 1)
    place = {world.title(i): i for i in range(40)}
    histories = rows["title_id"].to_pylist()
    width = batch.title_BL.shape[1]
    title_BL = torch.tensor([[place[title] for title in row] + [-1] * (width - len(row)) for row in histories])
    logit_BI = logits(prediction.h_ND, model.item_vectors(items), prediction.logit_bias(title_BL))
    times = torch.tensor([[row.count(world.title(i)) for i in range(40)] for row in histories])
    torch.testing.assert_close(logit_BI, spec.heads * times.float().log1p())
    assert times[:, 10:].any(), "a title that training never saw is known to somebody"
    assert int(times.max()) > 1


def set_counts(counted: Encoded, model: IntentRec) -> None:
    """Give the model the co-occurrences of these rows."""
    titles = len(model.neighbours.title_VK) - FIRST
    model.neighbours.set_counts(neighbours(cooccurrence(counted, titles), KEPT))


@torch.no_grad()
def test_the_last_ten_interactions_raise_the_neighbours_of_their_titles() -> None:
    """Against a loop. Titles that the vocabulary lacks, and those without co-occurrences, raise nothing."""
    sequences = world.random_sequences(5, users=6, titles=12, longest=30)
    model, encoder, encoded = world.model_of(SPEC, sequences)
    set_counts(encoded, model)
    model.to_item.weight.copy_(torch.eye(SPEC.dim))
    model.to_item.bias.zero_()  # so that E^item shows itself as the user vector
    others = encoder.encode(world.random_sequences(6, users=5, titles=40, longest=30))
    batch = others.pad(torch.arange(len(others)))
    targets = batch.targets()
    row_N, k_N = targets.row_N, targets.k_N
    item_BLD, prediction = model(batch).item_BLD, model.at(batch, row_N, k_N)
    path = model.neighbours
    raised = 0
    for n, (row, k) in enumerate(zip(row_N.tolist(), k_N.tolist(), strict=True)):
        gate = 32 * math.log1p(math.exp(float(path.gate(item_BLD[row, k]))))
        expected: dict[int, float] = defaultdict(float)
        for ago in range(min(10, k + 1)):
            token = int(batch.title_BL[row, k - ago])
            pairs = zip(path.title_VK[token].tolist(), path.similarity_VK[token].tolist(), strict=True)
            for number, similarity in pairs:
                expected[number] += gate * math.exp(float(path.log_weight[ago])) * similarity
        found: dict[int, float] = defaultdict(float)
        near = prediction.neighbours.part(torch.tensor([n]))
        for number, value in zip(near.title_NL[0].tolist(), near.value_NL[0].tolist(), strict=True):
            found[number] += value
        for number in (expected.keys() | found.keys()) - {-1}:
            assert found[number] == pytest.approx(expected[number], rel=1e-4, abs=1e-5)
            raised += found[number] > 0
        assert found[-1] == 0
    assert raised > 100
    assert int(k_N.max()) > 10
    assert (batch.title_BL == 1).any()


@torch.no_grad()
def test_a_targets_own_part_in_the_counts_is_taken_out() -> None:
    """Count once more without the target: only how often its title met those before it differs, and what that adds."""
    _, encoder, encoded = world.model_of(SPEC, world.random_sequences(5, users=6, titles=8, longest=30))
    model = IntentRec(SPEC, encoder.vocabulary).eval()
    set_counts(encoded, model)
    path, titles = model.neighbours, len(model.neighbours.title_VK) - FIRST
    whole = cooccurrence(encoded, titles).toarray()
    batch = encoded.pad(torch.arange(len(encoded)))
    targets = batch.targets()
    row_N, k_N, j_N = targets.row_N, targets.k_N, targets.j_N
    near = model.at(batch, row_N, k_N).neighbours
    judged = path.without_target(near, batch.title_BL, targets)
    wanted_N = batch.title_BL[row_N, j_N] - FIRST
    weight_NW = model(batch).neighbour_weight_BLW[row_N, k_N]
    less = 0
    for n, (row, k, j, title) in enumerate(zip(*(x.tolist() for x in (row_N, k_N, j_N, wanted_N)), strict=True)):
        flat = encoded.flat.target_BL.clone()
        flat[int(encoded.offsets[row]) + j] = False
        without = cooccurrence(encoded.with_targets(flat), titles).toarray()
        expected = 0.0
        for ago in range(min(10, k + 1)):
            i = int(batch.title_BL[row, k - ago]) - FIRST
            if title in path.title_VK[i + FIRST].tolist():
                similarity = without[i, title] / math.sqrt(whole[i].sum() * whole[title].sum())
                expected += float(weight_NW[n, ago]) * similarity
        assert float(judged.of(wanted_N)[n]) == pytest.approx(expected, rel=1e-4, abs=1e-4)
        less += float(judged.of(wanted_N)[n]) < float(near.of(wanted_N)[n]) - 1e-4
    assert less > len(row_N) / 4
    others = near.title_NL != wanted_N[:, None]
    torch.testing.assert_close(judged.value_NL[others], near.value_NL[others])


@torch.no_grad()
def test_compatibility_raises_titles_of_a_predicted_genre_also_new_ones() -> None:
    """With everything else at 0, a title's logit is twice the probability of its genres, added up."""
    spec = replace(world.spec("v3"), compatibility=True)
    model, encoder, encoded = world.model_of(spec, world.random_sequences(1, titles=10))
    for parameter in (*model.to_item.parameters(), *model.titles.parameters(), *model.compatible.parameters()):
        parameter.zero_()
    model.compatible.scale["genre"].fill_(2.0)
    batch = encoded.pad(torch.arange(len(encoded)))
    prediction = model.at(batch, torch.arange(len(encoded)), encoded.lengths - 1)
    vectors = model.item_vectors(encoder.items(titles_of(world.catalog(40))))
    logit_BI = logits(prediction.h_ND, vectors, prediction.logit_bias(batch.title_BL - 2))
    p_BC = prediction.intent_logit["genre"].softmax(-1)
    names = encoder.vocabulary.tokens["genres"]
    for i in range(40):
        wanted = sum(p_BC[:, names.index(genre)] for genre in world.facts(i)["genres"])
        torch.testing.assert_close(
            logit_BI[:, i], 2 * wanted if len(world.facts(i)["genres"]) else torch.zeros(len(p_BC))
        )


def test_compatibility_of_actions_is_learned() -> None:
    """The item loss reaches both tables, which begin at 0 and know no other teacher."""
    spec = replace(world.spec("v2"), compatibility=True)
    model, encoder, encoded = world.model_of(spec, world.random_sequences(1, titles=10))
    catalog = encoder.items(titles_of(world.catalog(10)))
    model.loss(encoded.pad(torch.arange(len(encoded))), catalog, LossSettings()).loss().backward()
    tables = [*model.compatible.by_act.parameters(), *model.compatible.by_ago.parameters()]
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in tables)


def test_compatibility_needs_intents() -> None:
    with pytest.raises(ValueError, match="v0 has no intents"):
        replace(world.spec("v0"), compatibility=True)


def test_buffers_saved_under_their_former_names_still_load() -> None:
    """A registered model must stay scorable."""
    path = NeighbourPath(4, tokens=5, kept=2)
    path.set_counts(NeighbourCounts(torch.ones(3, 2, dtype=torch.int32), torch.rand(3, 2), torch.rand(3, 2)))
    former = {"similarity_VK": "alike_VK", "cooccurrence_VK": "met_VK"}
    saved = {f"a.{former.get(name, name)}": value for name, value in path.state_dict().items()}
    loaded = torch.nn.ModuleDict({"a": NeighbourPath(4, tokens=5, kept=2)})
    loaded.load_state_dict(saved)
    for name, value in path.state_dict().items():
        assert torch.equal(loaded.state_dict()[f"a.{name}"], value)
