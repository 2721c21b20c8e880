"""Attention and dropout against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from intentrec.model.blocks import Dropout, attend


def test_attention_is_torchs_own_in_value_and_gradient() -> None:
    torch.manual_seed(1)
    heads, rows, length = 2, 3, 7
    q, k, v, told = (torch.randn(heads, rows, length, 4, requires_grad=number < 3) for number in range(4))
    hidden = torch.ones(length, length).triu(1).bool() | (torch.rand(heads, rows, length, length) < 0.3)
    hidden &= ~torch.eye(length, dtype=torch.bool)  # everybody sees themselves
    mask = torch.randn(heads, rows, length, length).masked_fill(hidden, -torch.inf).requires_grad_()
    wanted = F.scaled_dot_product_attention(q, k, v, mask)
    found = attend(q, k, v, mask)
    torch.testing.assert_close(found, wanted)
    for ours, torchs in zip(*(torch.autograd.grad(y, (q, k, v, mask), told) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, torchs)


def test_without_a_mask_attention_is_causal() -> None:
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 2, 3, 7, 4).unbind()
    torch.testing.assert_close(attend(q, k, v, None), attend(q, k, v, torch.ones(1, 1, 7, 7).tril().bool()))


def test_dropout_drops_weights_in_training_alone() -> None:
    torch.manual_seed(1)
    q, k = torch.randn(2, 1, 50, 40, 8).unbind()
    v = torch.eye(40).expand(1, 50, -1, -1)  # what comes out are the weights
    mask = torch.zeros(1, 50, 40, 40, requires_grad=True)
    dropout = Dropout(0.25)
    weight = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend(q, k, v, mask, dropout.eval()), weight)
    found = attend(q, k, v, mask, dropout.train())
    torch.testing.assert_close(found, torch.where(found == 0, 0, weight / 0.75))
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_leaves_the_mean_and_drops_its_share_each_time_anew(rate: float) -> None:
    torch.manual_seed(1)
    dropout, x = Dropout(rate), torch.ones(400, 1000, requires_grad=True)
    first, second = dropout(x), dropout(x)
    for found in (first, second):
        kept = found > 0
        assert found.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])
        assert float(kept.float().mean()) == pytest.approx(1 - rate, abs=0.003)  # of 400,000: four deviations
    both = float(((first > 0) & (second > 0)).float().mean())
    assert both == pytest.approx((1 - rate) ** 2, abs=0.004)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(gradient, first.detach())
    assert dropout.eval()(x) is x
