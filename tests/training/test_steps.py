"""The learning rate, and what is decayed."""

import pytest
import torch

from intentrec.config import Training
from intentrec.training.steps import learning_rate, optimizer_of


def test_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate((step + 0.5) / 100, 2.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([2.0 * (step + 0.5) / 10 for step in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10] == pytest.approx(2.0, rel=1e-3)
    assert rates[54] + rates[55] == pytest.approx(2.0, rel=1e-3), "half way down in the middle"
    assert 0 < rates[-1] < 0.01
    assert learning_rate(1e-9, 2.0, 0.0) == pytest.approx(2.0)


def test_only_weights_of_linear_and_recurrent_layers_decay() -> None:
    """With a gradient of zero AdamW moves nothing but what decays."""
    layers = {"id": torch.nn.Embedding(3, 4), "out": torch.nn.Linear(4, 4), "norm": torch.nn.LayerNorm(4)}
    model = torch.nn.ModuleDict({**layers, "gru": torch.nn.GRU(4, 4)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = optimizer_of(model, Training(learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decayed = {"out.weight", "gru.weight_ih_l0", "gru.weight_hh_l0"}
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name] * (1 - 0.1 * 0.5 if name in decayed else 1)), name
