"""The losses of intents, and sums that add up over batches and processes."""

import pytest
import torch
from torch.nn import functional as F

from intentrec.model.loss import intent_loss


def test_intent_loss_by_a_loop() -> None:
    torch.manual_seed(0)
    logit = torch.randn(6, 4, dtype=torch.float64)
    labels = [[0], [1, 3], [], [2], [0, 1, 2], [3]]
    weight = torch.tensor([0.3, 1.0, 0.9, 0.0, 0.5, 0.2], dtype=torch.float64)
    padded = torch.tensor([each + [-1] * (3 - len(each)) for each in labels])
    total, weights = 0.0, 0.0
    for n, true in enumerate(labels):
        p = [float(x) for x in logit[n].exp() / logit[n].exp().sum()]
        total += float(weight[n]) * -sum(torch.tensor(p[c]).double().log().item() for c in true)
        weights += float(weight[n]) if true else 0.0
    found = intent_loss(logit, padded, weight)
    assert [float(value) for value in found] == pytest.approx([total, weights])


def test_unknown_label_and_zero_weight_give_no_gradient() -> None:
    logit = torch.randn(3, 4, requires_grad=True)
    intent_loss(logit, torch.tensor([[1, 2], [-1, -1], [0, -1]]), torch.tensor([1.0, 1.0, 0.0]))[0].backward()
    assert logit.grad[0].any()
    assert not logit.grad[1:].any()
    logit.grad = None
    intent_loss(logit, torch.full((3, 1), -1), torch.ones(3))[0].backward()
    assert torch.equal(logit.grad, torch.zeros(3, 4))


def test_positives_only_need_a_softmax() -> None:
    """Without negatives a sigmoid says yes to everything; a softmax learns which labels go with which input."""
    torch.manual_seed(1)
    x = torch.eye(3)
    labels = torch.tensor([[0, 1], [2, -1], [3, -1]])
    hot = torch.zeros(3, 5).scatter_(1, labels.clamp(min=0), 1.0) * torch.tensor([[1.0] * 5] * 3)
    hot[1:, 0] = 0
    soft, sigmoid = torch.nn.Linear(3, 5), torch.nn.Linear(3, 5)
    optimizer = torch.optim.Adam([*soft.parameters(), *sigmoid.parameters()], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        positives_only = -(hot * F.logsigmoid(sigmoid(x))).sum()
        (intent_loss(soft(x), labels, torch.ones(3))[0] + positives_only).backward()
        optimizer.step()
    p_sigmoid, p_soft = sigmoid(x).sigmoid(), soft(x).softmax(-1)
    assert p_sigmoid[:, :4].min() > 0.8, "every label that was ever positive is predicted for every input"
    assert p_soft[hot == 0].max() < 0.05
    torch.testing.assert_close(p_soft[0, :2], torch.tensor([0.5, 0.5]), atol=0.05, rtol=0)
