"""V4 against plain loops over rows, positions and classes, and by its definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from intentrec.model import item_given_intent
from intentrec.model.features import Batch, TargetPositions
from intentrec.model.item_given_intent import ItemGivenIntent
from intentrec.model.loss import LossSettings
from intentrec.model.network import Prediction
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST
from tests.model import world
from tests.model.reference import Reference, softmax
from tests.model.test_intentrec import CLOSE, LOOPS, true_labels

PLAIN = world.spec("v4")
WHOLE = replace(PLAIN, history_path=True, decayed_counts=True, compatibility=True)
SPECS = {"plain": PLAIN, "all biases": WHOLE, "of the age": replace(WHOLE, lead_intent="age")}


def at_every_position(model: ItemGivenIntent, batch: Batch) -> tuple[Prediction, Tensor, Tensor]:
    """The predictions after all positions, their rows and positions."""
    row_N, k_N = batch.valid_BL.nonzero(as_tuple=True)
    return model.at(batch, row_N, k_N), row_N, k_N


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@torch.no_grad()
def test_given_each_class_by_a_loop(spec: ModelSpec) -> None:
    model, encoder, _ = world.model_of(spec, world.random_sequences(5, users=3, titles=12))
    rows = world.random_sequences(6, users=4, titles=40)
    batch = encoder.encode(rows).pad(torch.arange(4))
    prediction, row_N, k_N = at_every_position(model, batch)
    reference = Reference(model, encoder.vocabulary)
    forward = [reference.forward(row) for row in rows.to_pylist()]
    for label in (*range(model.classes), -1):
        given = model.given(prediction, torch.full_like(row_N, label))
        for n, (b, k) in enumerate(zip(row_N.tolist(), k_N.tolist(), strict=True)):
            row = rows.slice(b, 1).to_pylist()[0]
            user, bias = reference.given(row, forward[b], k, None if label < 0 else label)
            np.testing.assert_allclose(given.h_ND[n], user, **LOOPS)
            assert (given.bias_NL is None) == (bias is None)
            if bias is not None:
                np.testing.assert_allclose(given.bias_NL[n, : len(bias)], bias, **LOOPS)


@pytest.mark.parametrize("spec", [PLAIN, WHOLE, replace(WHOLE, neighbours=2)], ids=["plain", "biases", "neighbours"])
@torch.no_grad()
def test_the_sum_over_classes_by_brute_force(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over some candidates only; and that the classes which are left out hold at most 1 % of the probability."""
    model, encoder, encoded = world.model_of(spec, world.random_sequences(9, users=4, titles=20))
    batch = encoded.pad(torch.arange(4))
    prediction, row_N, _ = at_every_position(model, batch)
    items = model.item_vectors(world.catalog_of(encoder))[:15]
    number_I = torch.cat([torch.arange(15), torch.full((len(encoder.vocabulary.titles) - 15,), -1)])
    title_NL = number_I[(batch.title_BL[row_N] - FIRST).clamp(min=0)]
    title_NL = torch.where(batch.title_BL[row_N] >= FIRST, title_NL, -1)
    monkeypatch.setattr(item_given_intent, "MASS", 1.0)
    whole = model.title_scores(prediction, title_NL, number_I).of(items).exp()
    expected = np.zeros((len(row_N), 15))
    p_NC = prediction.intent_logit["action_type"].numpy()
    for n in range(len(row_N)):
        for label, share in enumerate(softmax(p_NC[n].astype(float))):
            given = model.given(prediction, torch.full_like(row_N, label))
            logit = (items @ given.h_ND[n]).double().numpy()
            bias = given.logit_bias(title_NL, number_I)
            for title, value in [] if bias is None else zip(bias.title_NL[n], bias.value_NL[n], strict=True):
                logit[title] += float(value) if title >= 0 else 0.0
            expected[n] += share * softmax(logit)
    np.testing.assert_allclose(whole, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(whole.sum(-1), 1.0, rtol=1e-4)

    monkeypatch.setattr(item_given_intent, "MASS", 0.99)
    some = model.title_scores(prediction, title_NL, number_I)
    assert float((whole - some.of(items).exp()).sum(-1).max()) <= 0.01
    parts = torch.cat([some.part(slice(begin, begin + 3)).of(items) for begin in range(0, len(some), 3)])
    torch.testing.assert_close(parts, some.of(items), **CLOSE)


@torch.no_grad()
def test_loss_by_a_loop() -> None:
    """Each target is conditioned on its own class, and on nothing where the vocabulary lacks it."""
    sequences = world.random_sequences(13, users=5)
    model, encoder, _ = world.model_of(WHOLE, sequences)
    rows = sequences.to_pylist()
    for row in rows:
        row["action_type"][-1] = "unheard"
    batch = encoder.encode(world.table(rows)).pad(torch.arange(len(rows)))
    catalog = world.catalog_of(encoder, sequences)
    parts = model.loss(batch, catalog, LossSettings(cells=100))
    items, reference = model.item_vectors(catalog).double().numpy(), Reference(model, encoder.vocabulary)
    lead = next(intent for intent in WHOLE.intents if intent.name == "action_type")
    classes, titles = list(encoder.vocabulary.labels(lead)), list(encoder.vocabulary.titles)
    losses, weights, unlabelled = 0.0, 0.0, 0
    for row in rows:
        forward, length = reference.forward(row), len(row["title_id"])
        for j in range(length - row["n_new"], length):
            k = sum(end < row["end_ts"][j] for end in row["end_ts"]) - 1
            if not row["is_target"][j] or k < 0 or not row["weight"][k]:
                continue
            (label,) = true_labels(row, j, "action_type")
            unlabelled += label not in classes
            user, bias = reference.given(row, forward, k, classes.index(label) if label in classes else None)
            logit = items @ user
            for title, value in zip(row["title_id"], bias, strict=True):
                logit[titles.index(title)] += value
            losses -= row["weight"][k] * np.log(softmax(logit)[titles.index(row["title_id"][j])])
            weights += row["weight"][k]
    assert unlabelled
    means = {name: float(value) for name, value in parts.means().items()}
    assert means["item"] == pytest.approx(losses / weights, rel=1e-4)
    others = sum(value for name, value in means.items() if name not in ("item", "action_type"))
    assert float(parts.loss()) == pytest.approx(
        means["item"] + means["action_type"] + WHOLE.intent_weight * others, rel=1e-5
    )


@torch.no_grad()
def test_classes_that_say_nothing_leave_v3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scale, shift and compatibility, every class gives what V3 gives with the same weights."""
    spec = replace(WHOLE, compatibility=False, neighbours=2)
    model, encoder, encoded = world.model_of(spec, world.random_sequences(9, users=4, titles=20))
    model.scale.zero_()
    model.shift.zero_()
    plain, _, _ = world.model_of(
        replace(spec, variant="v3", lead_intent=""), world.random_sequences(9, users=4, titles=20)
    )
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name not in ("scale", "shift")})
    batch = encoded.pad(torch.arange(4))
    prediction, row_N, k_N = at_every_position(model, batch)
    items, title_NL = model.item_vectors(world.catalog_of(encoder)), batch.title_BL[row_N] - FIRST
    monkeypatch.setattr(item_given_intent, "MASS", 1.0)
    ours = model.title_scores(prediction, title_NL).of(items)
    theirs = plain.title_scores(plain.at(batch, row_N, k_N), title_NL).of(items).log_softmax(-1)
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_a_target_without_weight_moves_no_parameter() -> None:
    sequences = world.random_sequences(17)
    model, encoder, encoded = world.model_of(WHOLE, sequences)
    batch = encoded.pad(torch.arange(len(encoded)))
    targets = batch.targets()
    silent = model.weight(batch, targets) == 0
    assert silent.any()
    prediction = model.at(batch, targets.row_N, targets.k_N)
    chosen = TargetPositions(*(value[silent] for value in (targets.row_N, targets.k_N, targets.j_N)))
    parts = model.prediction_loss(
        item_given_intent._part(prediction, silent), batch, chosen, world.catalog_of(encoder, sequences), LossSettings()
    )
    parts.loss().backward()
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)
