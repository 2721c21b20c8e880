"""The benchmark of hand-written parts: each takes the place of torch's, and a step does the same with either."""

import pytest
import torch

from intentrec.config import Domain
from lab.benchmarks import step
from tests.registry.world import domain_of


@pytest.mark.parametrize("part", step.PARTS, ids=lambda part: part.name)
def test_a_step_with_either_part(streaming: Domain, part: step.Part) -> None:
    domain = domain_of(streaming, model={"history_path": True}, training={"tokens": 200})
    by_hand, by_torch = step.measure(domain, part, users=12, length=8, titles=30, rounds=1)
    assert 0 < by_hand < 60
    assert 0 < by_torch < 60


def test_the_hand_written_parts_are_torchs_in_value_and_gradient() -> None:
    torch.manual_seed(1)
    q, k, v, told = (torch.randn(2, 3, 7, 4, requires_grad=number < 3) for number in range(4))
    mask = torch.randn(2, 3, 7, 7).masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf).requires_grad_()
    found, wanted = (
        f(q, k, v, mask) for f in (step.attention_by_hand, torch.nn.functional.scaled_dot_product_attention)
    )
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(*(torch.autograd.grad(y, (q, k, v, mask), told) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs)
    dropout, x = torch.nn.Dropout(0.25), torch.ones(400, 1000)
    kept = step.dropout_by_hand(dropout, x)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float((kept > 0).float().mean()) == pytest.approx(0.75, abs=0.003)
