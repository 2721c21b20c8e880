"""Eq. 3 and 4 against torch's own cross-entropy and against loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from intentrec.model.loss import intent_loss, item_loss


def problem(seed: int, n: int, titles: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Random vectors, targets, and weights of which some are zero."""
    g = torch.Generator().manual_seed(seed)
    h = torch.randn(n, 6, generator=g, dtype=dtype)
    items = torch.randn(titles, 6, generator=g, dtype=dtype)
    weight = torch.rand(n, generator=g, dtype=dtype) * (torch.rand(n, generator=g) < 0.7)
    return h.requires_grad_(), items.requires_grad_(), torch.randint(titles, (n,), generator=g), weight


@given(seed=st.integers(0, 99), n=st.integers(1, 40), titles=st.integers(2, 30), cells=st.integers(1, 1500))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_chunks_equal_cross_entropy_in_value_and_gradient(
    seed: int, n: int, titles: int, cells: int, dtype: torch.dtype, tolerance: float
) -> None:
    h, items, title, weight = problem(seed, n, titles, dtype)
    weight[0] = 0.5  # at least one that counts
    ours = item_loss(h, items, title, weight, cells)
    each = F.cross_entropy(h @ items.T, title, reduction="none")
    theirs = (weight * each).sum()
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    found = torch.autograd.grad(3 * ours, (h, items))  # a factor, as lambda or a scaled loss would put there
    expected = torch.autograd.grad(3 * theirs, (h, items))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    with torch.no_grad():
        assert torch.equal(item_loss(h, items, title, weight, cells), ours)


def test_gradient_by_finite_differences() -> None:
    h, items, title, weight = problem(1, 5, 7, torch.float64)
    torch.autograd.gradcheck(lambda a, b: item_loss(a, b, title, weight, 2), (h, items))


def test_zero_weight_gives_zero_gradient() -> None:
    h, items, title, weight = problem(2, 30, 9, torch.float32)
    item_loss(h, items, title, weight, 7).backward()
    assert (weight == 0).any()
    assert (h.grad[weight == 0] == 0).all()
    assert (h.grad[weight > 0] != 0).any(-1).all()
    h, items, title, weight = problem(2, 5, 9, torch.float32)
    loss = item_loss(h, items, title, torch.zeros(5), 7)
    loss.backward()
    assert loss == 0
    assert not h.grad.any()
    assert not items.grad.any()


def test_logits_of_one_chunk_exist_at_a_time() -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    h, items, title, weight = problem(3, 400, 300, torch.float32)
    with Watch():
        item_loss(h, items, title, weight, 3000).backward()
    assert largest <= 3000


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
