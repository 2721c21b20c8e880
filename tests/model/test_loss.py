"""The losses of items and intents, against torch's own cross-entropy and plain loops."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from intentrec.model.logit_bias import LogitBias
from intentrec.model.loss import draw, in_blocks, intent_loss, item_loss, sampled_item_loss
from intentrec.model.titles import titles_of
from tests.model import world

ROOT = Path(__file__).resolve().parents[2]


def problem(seed: int, n: int, titles: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random vectors, targets, and weights of which some are zero."""
    g = torch.Generator().manual_seed(seed)
    h = torch.randn(n, 6, generator=g, dtype=dtype)
    items = torch.randn(titles, 6, generator=g, dtype=dtype)
    weight = torch.rand(n, generator=g, dtype=dtype) * (torch.rand(n, generator=g) < 0.7)
    weight[0] = 0.5  # at least one that counts
    return h.requires_grad_(), items.requires_grad_(), torch.randint(titles, (n,), generator=g), weight


def biased(seed: int, n: int, titles: int, dtype: torch.dtype) -> LogitBias:
    """Random logit biases of some titles, one of them twice and some of no title."""
    g = torch.Generator().manual_seed(seed + 1)
    which = torch.randint(-2, titles, (n, 5), generator=g)
    which[:, 1] = which[:, 0]
    return LogitBias(which, torch.randn(n, 5, generator=g, dtype=dtype).requires_grad_())


def dense(logit_bias: LogitBias, titles: int) -> Tensor:
    """Logit biases as a matrix, by a product with ones and zeros."""
    hot = (logit_bias.title_NL[:, :, None] == torch.arange(titles)).to(logit_bias.value_NL)
    return (logit_bias.value_NL[:, :, None] * hot).sum(1)


def plain(h: Tensor, items: Tensor, title: Tensor, weight: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    return weight @ F.cross_entropy(h @ items.T + bias, title, reduction="none")


@given(seed=st.integers(0, 99), n=st.integers(1, 40), titles=st.integers(2, 30), cells=st.integers(1, 1500))
@settings(max_examples=40)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_tiles_equal_cross_entropy_in_value_and_gradient(
    seed: int, n: int, titles: int, cells: int, dtype: torch.dtype, tolerance: float
) -> None:
    """Tiles that cut the positions, the catalogue, both, or nothing."""
    h, items, title, weight = problem(seed, n, titles, dtype)
    logit_bias = biased(seed, n, titles, dtype)
    for some, bias, inputs in (
        (None, 0.0, (h, items)),
        (logit_bias, dense(logit_bias, titles), (h, items, logit_bias.value_NL)),
    ):
        ours = item_loss(h, items, title, weight, cells, some) / weight.sum()
        theirs = plain(h, items, title, weight, bias) / weight.sum()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        found = torch.autograd.grad(3 * ours, inputs)  # a factor, as lambda or a scaled loss would put there
        expected = torch.autograd.grad(3 * theirs, inputs)
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
        with torch.no_grad():
            assert torch.equal(item_loss(h, items, title, weight, cells, some) / weight.sum(), ours)


@pytest.mark.parametrize("cells", [2, 10, 1000])
def test_gradient_by_finite_differences(cells: int) -> None:
    h, items, title, weight = problem(1, 5, 7, torch.float64)
    torch.autograd.gradcheck(lambda a, b: item_loss(a, b, title, weight, cells), (h, items))


@pytest.mark.parametrize("scale", [30.0, 1e4])
def test_large_logits_stay_finite(scale: float) -> None:
    h, items, title, weight = problem(4, 20, 50, torch.float32)
    ours, theirs = (f(h * scale, items, title, weight) for f in (item_loss, plain))
    assert math.isfinite(float(ours.detach()))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(ours, items), torch.autograd.grad(theirs, items), rtol=1e-4, atol=1e-5 * scale
    )


@pytest.mark.parametrize("cells", [7, 1000])
def test_zero_weight_gives_zero_gradient(cells: int) -> None:
    h, items, title, weight = problem(2, 30, 9, torch.float32)
    item_loss(h, items, title, weight, cells).backward()
    assert (weight == 0).any()
    assert (h.grad[weight == 0] == 0).all()
    assert (h.grad[weight > 0] != 0).any(-1).all()
    h, items, title, _ = problem(2, 5, 9, torch.float32)
    loss = item_loss(h, items, title, torch.zeros(5), cells)
    loss.backward()
    assert loss == 0
    assert not h.grad.any()
    assert not items.grad.any()


def test_no_positions_give_loss_zero() -> None:
    h, items, title, weight = problem(2, 5, 9, torch.float32)
    loss = item_loss(h[:0], items, title[:0], weight[:0])
    loss.backward()
    assert loss == 0
    assert not items.grad.any()


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Watches the elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize("cells", [2000, 3000, 50_000])
def test_logits_of_one_tile_exist_at_a_time(cells: int) -> None:
    h, items, title, weight = problem(3, 400, 300, torch.float32)
    with Largest() as largest:
        item_loss(h, items, title, weight, cells).backward()
    assert largest.elements <= max(cells, 400 * 6)


def test_half_precision_is_added_up_in_float32() -> None:
    """Vectors that a half-precision model hands over: as good as their own rounding, inside autocast too."""
    h, items, title, weight = problem(5, 300, 200, torch.float32)
    half = [value.detach().bfloat16().requires_grad_() for value in (h, items)]
    expected = [value.detach().float().requires_grad_() for value in half]
    with torch.autocast("cpu", torch.bfloat16):
        ours = item_loss(*half, title, weight, 1000)
        drawn = draw(500, torch.ones(200))
        torch.manual_seed(0)
        sampled = sampled_item_loss(half[0], lambda index: half[1][index], title, weight, drawn)
    assert ours.dtype == sampled.dtype == torch.float32
    torch.testing.assert_close(ours, plain(*expected, title, weight), rtol=1e-6, atol=0)
    wide = sampled_item_loss(expected[0], lambda index: expected[1][index], title, weight, drawn)
    torch.testing.assert_close(sampled, wide, rtol=1e-6, atol=0)
    for found, value in zip(torch.autograd.grad(ours, half), half, strict=True):
        assert found.dtype == value.dtype


def slow_sampled(logit_NI: Tensor, title: Tensor, weight: Tensor, places: list[int], q: list[float]) -> float:
    """Over the sample as drawn, one by one: every draw counts 1 / (n q), the true title 1."""
    total = 0.0
    for n in range(len(logit_NI)):
        true = int(title[n])
        logit = logit_NI[n].tolist()
        norm = math.exp(logit[true])
        norm += sum(math.exp(logit[i]) / (len(places) * q[i]) for i in places if i != true)
        total += float(weight[n]) * (math.log(norm) - logit[true])
    return total


@given(seed=st.integers(0, 99), n=st.integers(1, 12), titles=st.integers(2, 9), cells=st.integers(1, 200))
@settings(max_examples=25)
def test_sampled_softmax_by_a_loop(seed: int, n: int, titles: int, cells: int) -> None:
    h, items, title, weight = problem(seed, n, titles, torch.float64)
    g = torch.Generator().manual_seed(seed)
    places = torch.randint(titles, (6,), generator=g)
    q = torch.rand(titles, generator=g, dtype=torch.float64) + 0.1
    q /= q.sum()
    drawn, count = places.unique(return_counts=True)
    logit_bias = biased(seed, n, titles, torch.float64)
    for some, bias in ((logit_bias, dense(logit_bias, titles)), (None, 0.0)):
        found = sampled_item_loss(
            h, lambda index: items[index], title, weight, (drawn, (count / (6 * q[drawn])).log()), cells, some
        )
        expected = slow_sampled(h @ items.T + bias, title, weight, places.tolist(), q.tolist())
        assert float(found.detach()) == pytest.approx(expected)
    found.backward()
    untouched = sorted(set(range(titles)) - {*title.tolist(), *drawn.tolist()})
    assert not items.grad[untouched].any()
    assert not h.grad[weight == 0].any()


def test_draws_follow_the_proposal_and_their_correction_undoes_it() -> None:
    torch.manual_seed(3)
    proposal = torch.tensor([0.0, 1.0, 2.0, 0.0, 5.0, 0.0])
    value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    estimates = []
    for _ in range(4000):
        drawn, log_q = draw(4, proposal)
        assert proposal[drawn].all(), "what cannot be drawn is not"
        estimates.append(float((value[drawn] * log_q.exp()).sum()))
    mean = torch.tensor(estimates)
    expected = float(value[proposal > 0].sum())
    assert abs(float(mean.mean()) - expected) < 4 * float(mean.std()) / 4000**0.5
    drawn, log_q = draw(200_000, proposal)
    torch.testing.assert_close(log_q, torch.zeros(3), atol=0.02, rtol=0)


def test_large_samples_come_to_the_whole_softmax_and_without_the_correction_they_do_not() -> None:
    torch.manual_seed(4)
    h, items, title, weight = problem(6, 30, 40, torch.float32)
    with torch.no_grad():  # titles that are drawn often have high logits, as popular ones do
        h[:, 0], items[:, 0] = 1.0, torch.linspace(-1.5, 1.5, 40)
    skewed = torch.arange(1, 41) ** 2.0
    drawn = draw(400_000, skewed)
    as_if_alike = (drawn[0], drawn[1] + (skewed[drawn[0]] / skewed.mean()).log())
    found, naive = (sampled_item_loss(h, lambda index: items[index], title, weight, d) for d in (drawn, as_if_alike))
    expected = plain(h, items, title, weight)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)
    assert abs(float(naive.detach()) / float(expected.detach()) - 1) > 0.05
    for ours, theirs in zip(
        torch.autograd.grad(found, (h, items)), torch.autograd.grad(expected, (h, items)), strict=True
    ):
        assert float((ours - theirs).norm() / theirs.norm()) < 0.02


def test_vectors_in_blocks_are_the_vectors() -> None:
    model, encoder, _ = world.model_of(world.spec(), world.random_sequences(3))
    items = encoder.items(titles_of(world.catalog(40)))
    whole, blocks = model.item_vectors(items), in_blocks(model.item_vectors, items, 7)
    torch.testing.assert_close(blocks, whole)
    g = torch.randn_like(whole)
    used = list(model.titles.parameters())
    for ours, theirs in zip(
        torch.autograd.grad((blocks * g).sum(), used), torch.autograd.grad((whole * g).sum(), used), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.extended
def test_a_million_titles_take_less_than_a_gigabyte() -> None:
    """1,024 targets, d = 64; all their logits at once would be 4 GB."""
    command = [sys.executable, "-m", "tests.model.scale", "1000000", "1024"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) < 1000


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
