"""The unsupervised mixture: its loss by brute force, and that no label of the lead intent enters it."""

from dataclasses import replace

import pytest
import torch

from intentrec.model import item_given_intent
from intentrec.model.loss import LossSettings
from intentrec.model.vocabulary import FIRST
from lab.baselines import build
from tests.model import world

SPEC = replace(world.spec("v4"), variant="v4mixture", history_path=True, decayed_counts=True, compatibility=True)


def test_the_loss_is_that_of_the_mixture_and_knows_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = world.random_sequences(9, users=4, titles=20)
    _, encoder, encoded = world.model_of(world.spec("v4"), sequences)
    torch.manual_seed(3)
    model = build(SPEC, encoder.vocabulary).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    batch, catalog = encoded.pad(torch.arange(4)), world.catalog_of(encoder)
    found = model.loss(batch, catalog, LossSettings())

    targets = batch.targets()
    targets = targets.part(model.weight(batch, targets) > 0)
    monkeypatch.setattr(item_given_intent, "MASS", 1.0)
    prediction = model.before(batch, targets)
    scores = model.title_scores(prediction, batch.title_BL[targets.row_N] - FIRST).of(model.item_vectors(catalog))
    title_N, weight_N = targets.of(batch.title_BL) - FIRST, model.weight(batch, targets)
    expected = -sum(
        weight * scores[n, title] for n, (weight, title) in enumerate(zip(weight_N, title_N.tolist(), strict=True))
    )
    torch.testing.assert_close(found.sums["item"], expected, rtol=1e-4, atol=1e-4)

    other = replace(batch, label={**batch.label, "action_type": batch.label["action_type"].flip(0)})
    again = model.loss(other, catalog, LossSettings())
    torch.testing.assert_close(again.loss(), found.loss())
    assert model.loss(batch, catalog, LossSettings()).loss().requires_grad
