"""The calls of every network: predictions at positions, sums of losses that add up, samples, half precision."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from intentrec.model.features import Items
from intentrec.model.loss import LossParts, LossSettings
from tests.model import two_processes, world
from tests.model.test_intentrec import outputs, part

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("variant", ["v0", "v1", "v2", "v3"])
@torch.no_grad()
def test_predictions_are_those_of_rows_that_end_there(variant: str) -> None:
    model, _, encoded = world.model_of(world.spec(variant), world.random_sequences(21, users=4))
    batch = encoded.pad(torch.arange(4))
    row_N = torch.tensor([2, 0, 1, 1, 3])
    k_N = torch.tensor([min(k, int(encoded.lengths[row]) - 1) for k, row in zip((5, 0, 3, 1, 2), row_N, strict=True)])
    prediction = model.at(batch, row_N, k_N)
    found = [prediction.h_ND, *prediction.intent_logit.values(), prediction.z_NP, prediction.attention_NM]
    for n, (row, k) in enumerate(zip(row_N.tolist(), k_N.tolist(), strict=True)):
        alone = outputs(model, part(batch, row, 0, k))
        for ours, theirs in zip([value for value in found if value is not None], alone, strict=True):
            torch.testing.assert_close(ours[n], theirs[0, k], rtol=1e-4, atol=1e-5)


def test_targets_are_predicted_after_the_last_interaction_that_ended_before() -> None:
    """Interactions of one moment do not know one another, and those of the row's first moment are no targets."""
    rows = world.random_sequences(2, users=12, longest=20)
    _, _, encoded = world.model_of(world.spec(), rows)
    expected = []
    for b, row in enumerate(rows.to_pylist()):
        ends, n = row["end_ts"], len(row["end_ts"])
        for j in range(n - row["n_new"], n):
            before = [i for i in range(n) if ends[i] < ends[j]]
            if row["is_target"][j] and before:
                expected.append((b, before[-1], j))
    targets = encoded.pad(torch.arange(len(encoded))).targets()
    found = zip(targets.row_N.tolist(), targets.k_N.tolist(), targets.j_N.tolist(), strict=True)
    assert list(found) == expected
    assert any(j > k + 1 for _, k, j in expected), "there are ties"


def _added(parts: list[LossParts], name: str) -> dict[str, Tensor]:
    return {task: sum(getattr(each, name)[task] for each in parts) for task in getattr(parts[0], name)}


def gradients_of(
    model: torch.nn.Module, parts: LossParts, totals: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    model.zero_grad()
    parts.loss(totals).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_sums_of_two_batches_are_the_loss_of_both() -> None:
    model, encoded, catalog = two_processes.problem()
    settings = LossSettings()
    whole = model.loss(encoded.pad(torch.arange(len(encoded))), catalog, settings)
    halves = [model.loss(encoded.pad(torch.arange(r, len(encoded), 2)), catalog, settings) for r in (0, 1)]
    both = LossParts(*(_added(halves, part) for part in ("sums", "weights")), whole.intent_weight)
    torch.testing.assert_close(both.loss(), whole.loss())
    for name, value in whole.means().items():
        torch.testing.assert_close(both.means()[name], value)
    expected = gradients_of(model, whole)
    by_hand = [gradients_of(model, half, whole.weights) for half in halves]
    for name, gradient in expected.items():
        torch.testing.assert_close(by_hand[0][name] + by_hand[1][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    """Their intents even have labels in different shares; averaging the processes' means would be wrong."""
    other = subprocess.Popen([sys.executable, "-m", "tests.model.two_processes", str(tmp_path)], cwd=ROOT)
    loss, gradients = two_processes.together(0, tmp_path)
    assert other.wait(60) == 0
    model, encoded, catalog = two_processes.problem()
    whole = model.loss(encoded.pad(torch.arange(len(encoded))), catalog, LossSettings())
    torch.testing.assert_close(loss, whole.loss().detach())
    for name, gradient in gradients_of(model, whole).items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_batch_without_weighted_targets_has_loss_zero() -> None:
    model, encoded, catalog = two_processes.problem()
    batch = encoded.pad(torch.arange(len(encoded)))
    for changed in (
        replace(batch, weight_BL=torch.zeros_like(batch.weight_BL)),
        replace(batch, target_BL=torch.zeros_like(batch.target_BL)),
    ):
        parts = model.loss(changed, catalog, LossSettings())
        assert float(parts.loss().detach()) == 0
        assert not any(value.any() for value in gradients_of(model, parts).values())


@pytest.mark.parametrize("history", [False, True])
def test_a_large_sample_trains_like_the_whole_catalogue(history: bool) -> None:
    """It computes vectors of the drawn and the true titles only."""
    sequences = world.random_sequences(9)
    model, encoder, encoded = world.model_of(replace(world.spec(), history_path=history), sequences)
    catalog, batch = world.catalog_of(encoder), encoded.pad(torch.arange(len(encoded)))
    torch.manual_seed(1)
    n = 300_000
    proposal = torch.rand(len(catalog.title_I)) + 0.2
    seen: list[Items] = []
    whole_of = model.item_vectors
    model.item_vectors = lambda items: seen.append(items) or whole_of(items)  # type: ignore[func-returns-value,method-assign]
    sampled = model.loss(batch, catalog, LossSettings(sampled=n, proposal=proposal))
    known = sum(len(items.title_I) for items in seen)
    model.item_vectors = whole_of  # type: ignore[method-assign]
    whole = model.loss(batch, catalog, LossSettings())
    assert known <= len(catalog.title_I) + int(batch.target_BL.sum())
    torch.testing.assert_close(sampled.sums["item"], whole.sums["item"], rtol=0.01, atol=0)
    assert sampled.weights == whole.weights
    few = model.loss(batch, catalog, LossSettings(sampled=3))
    assert 0 < float(few.sums["item"].detach()) < float("inf")
    ours, theirs = gradients_of(model, sampled), gradients_of(model, whole)
    for name, gradient in theirs.items():
        assert float((ours[name] - gradient).norm()) < 0.03 * float(gradient.norm()) + 1e-4, name


@pytest.mark.parametrize("variant", ["v0", "v1", "v2", "v3"])
def test_half_precision_trains_like_float32(variant: str) -> None:
    spec = replace(world.spec(variant), history_path=variant == "v2")
    model, encoder, encoded = world.model_of(spec, world.random_sequences(9))
    catalog, batch = world.catalog_of(encoder), encoded.pad(torch.arange(len(encoded)))
    expected = model.loss(batch, catalog, LossSettings())
    with torch.autocast("cpu", torch.bfloat16):
        parts = model.loss(batch, catalog, LossSettings())
    for name, value in parts.sums.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected.sums[name], rtol=0.03, atol=0)
    ours, theirs = gradients_of(model, parts), gradients_of(model, expected)
    flat = [torch.cat([each[name].flatten() for name in theirs]) for each in (ours, theirs)]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99
