"""The oracle control: V3 given the true next intents."""

import pytest
import torch

from lab.baselines import build
from lab.oracle import OracleIntentRec, true_next
from tests.lab.baseline_models import all_rows, made, spec
from tests.model import world


@torch.no_grad()
def test_the_oracle_is_v3_with_the_true_distributions_in_the_mixture() -> None:
    chosen = spec("v3oracle", windows=("7d",))
    model, _, encoded = made(chosen, world.random_sequences(4))
    assert isinstance(model, OracleIntentRec)
    batch = all_rows(encoded)
    output = model(batch)
    truth = [true_next(batch, name, logit_BLC.softmax(-1)) for name, logit_BLC in output.intent_logit.items()]
    z_BLP, attention_BLM = model.mixture(truth)
    assert torch.equal(output.z_BLP, z_BLP)
    assert torch.equal(output.attention_BLM, attention_BLM)


@torch.no_grad()
def test_v0s_is_v0_with_the_short_term_interest() -> None:
    model, _, encoded = made(spec("v0s", windows=("1d", "7d")), world.random_sequences(4))
    plain = build(spec("v0"), world.vocabulary_of(world.random_sequences(4), world.catalog(25), spec("v0")))
    assert set(model.short_term) == {"1d", "7d"}
    assert not plain.short_term
    output = model(all_rows(encoded))
    assert output.z_BLP is None
    assert not output.intent_logit


@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_is_told_the_next_labels_and_nothing_else(seed: int) -> None:
    """By a loop over interactions, with ties: what ended next shares the weight; elsewhere the prediction stays."""
    _, _, encoded = world.model_of(world.spec(), world.random_sequences(seed))
    batch = encoded.pad(torch.arange(len(encoded)))
    for intent, labels in batch.label.items():
        classes = int(labels.max()) + 1
        p_BLC = torch.rand(*batch.title_BL.shape, classes)
        found_BLC = true_next(batch, intent, p_BLC)
        for row, length in enumerate(encoded.lengths.tolist()):
            for k in range(length):
                following = [j for j in range(length) if int(batch.known_BL[row, j]) == k + 1]
                told = torch.zeros(classes)
                for j in following:
                    present = labels[row, j][labels[row, j] >= 0]
                    told[present] += 1 / max(1, len(present))
                expected_C = told / told.sum() if told.sum() else p_BLC[row, k]
                torch.testing.assert_close(found_BLC[row, k], expected_C)
