"""What titles near those of a history get, and that in training no target speaks for itself."""

import math
from collections import defaultdict
from dataclasses import replace

import pytest
import torch

from intentrec.model.features import Encoded
from intentrec.model.intentrec import IntentRec
from intentrec.model.vocabulary import FIRST
from intentrec.training.covisitation import met, nearest
from tests.model import world

KEPT = 3
SPEC = replace(world.spec("v3"), neighbours=KEPT)


def counting(counted: Encoded, model: IntentRec) -> None:
    """Give the model what is counted."""
    titles = len(model.neighbours.title_VK) - FIRST
    model.neighbours.begin_with(*nearest(met(counted, titles), KEPT))


@torch.no_grad()
def test_the_last_ten_interactions_raise_what_is_near_their_titles() -> None:
    """Against a loop; titles that the vocabulary lacks, and what training never met, raise nothing."""
    sequences = world.random_sequences(5, users=6, titles=12, longest=30)
    model, encoder, encoded = world.model_of(SPEC, sequences)
    counting(encoded, model)
    model.to_item.weight.copy_(torch.eye(SPEC.dim))
    model.to_item.bias.zero_()  # so that E^item shows itself as the user vector
    others = encoder.encode(world.random_sequences(6, users=5, titles=40, longest=30))
    batch = others.pad(torch.arange(len(others)))
    row_N, k_N, _ = batch.questions()
    item_BLD, answer = model(batch).item_BLD, model.at(batch, row_N, k_N)
    path = model.neighbours
    raised = 0
    for n, (row, k) in enumerate(zip(row_N.tolist(), k_N.tolist(), strict=True)):
        gate = 32 * math.log1p(math.exp(float(path.gate(item_BLD[row, k]))))
        expected: dict[int, float] = defaultdict(float)
        for ago in range(min(10, k + 1)):
            token = int(batch.title_BL[row, k - ago])
            for number, alike in zip(path.title_VK[token].tolist(), path.alike_VK[token].tolist(), strict=True):
                expected[number] += gate * math.exp(float(path.log_weight[ago])) * alike
        found: dict[int, float] = defaultdict(float)
        for number, value in zip(answer.near.title_NL[n].tolist(), answer.near.value_NL[n].tolist(), strict=True):
            found[number] += value
        for number in (expected.keys() | found.keys()) - {-1}:
            assert found[number] == pytest.approx(expected[number], rel=1e-4, abs=1e-5)
            raised += found[number] > 0
        assert found[-1] == 0
    assert raised > 100
    assert int(k_N.max()) > 10
    assert (batch.title_BL == 1).any()


@torch.no_grad()
def test_a_target_is_judged_as_if_it_had_not_been_counted() -> None:
    """Count once more without the target: only how often its title met those before it differs, and what that adds."""
    _, encoder, encoded = world.model_of(SPEC, world.random_sequences(5, users=6, titles=8, longest=30))
    model = IntentRec(SPEC, encoder.vocabulary).eval()
    counting(encoded, model)
    path, titles = model.neighbours, len(model.neighbours.title_VK) - FIRST
    whole = met(encoded, titles).toarray()
    batch = encoded.pad(torch.arange(len(encoded)))
    row_N, k_N, j_N = batch.questions()
    near = model.at(batch, row_N, k_N).near
    judged = path.uncounted(near, batch.title_BL, row_N, k_N, j_N)
    wanted_N = batch.title_BL[row_N, j_N] - FIRST
    loud_NW = model(batch).loud_BLW[row_N, k_N]
    less = 0
    for n, (row, k, j, title) in enumerate(zip(*(x.tolist() for x in (row_N, k_N, j_N, wanted_N)), strict=True)):
        flat = encoded.flat.target_BL.clone()
        flat[int(encoded.offsets[row]) + j] = False
        without = met(encoded.with_targets(flat), titles).toarray()
        expected = 0.0
        for ago in range(min(10, k + 1)):
            i = int(batch.title_BL[row, k - ago]) - FIRST
            if title in path.title_VK[i + FIRST].tolist():
                alike = without[i, title] / math.sqrt(whole[i].sum() * whole[title].sum())
                expected += float(loud_NW[n, ago]) * alike
        assert float(judged.of(wanted_N)[n]) == pytest.approx(expected, rel=1e-4, abs=1e-4)
        less += float(judged.of(wanted_N)[n]) < float(near.of(wanted_N)[n]) - 1e-4
    assert less > len(row_N) / 4
    others = near.title_NL != wanted_N[:, None]
    torch.testing.assert_close(judged.value_NL[others], near.value_NL[others])
