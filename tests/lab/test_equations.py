"""Each baseline once more from its weights: a loop over positions, or torch's own layers, one row at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from intentrec.model.network import Network
from lab.baselines import transact
from tests.lab.baseline_models import CLOSE, ago, all_rows, made, reference, spec, title_vectors
from tests.model import world


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(unbiased=False) + layer.eps).sqrt() * layer.weight + layer.bias


def compare_heads(model: Network, encoded_LD: Tensor, b: int, output) -> None:  # type: ignore[no-untyped-def]
    """A fully connected layer for the item, one for each intent."""
    for k, x_D in enumerate(encoded_LD):
        torch.testing.assert_close(output.item_BLD[b, k], linear(model.to_item, x_D), **CLOSE)
        for intent, head in zip(model.spec.intents, model.heads, strict=True):
            torch.testing.assert_close(output.intent_logit[intent.name][b, k], linear(head, x_D), **CLOSE)


def lstm_step(x: Tensor, h: Tensor, c: Tensor, rnn: nn.LSTM, layer: int) -> tuple[Tensor, Tensor]:
    gates = getattr(rnn, f"weight_ih_l{layer}") @ x + getattr(rnn, f"bias_ih_l{layer}")
    gates = gates + getattr(rnn, f"weight_hh_l{layer}") @ h + getattr(rnn, f"bias_hh_l{layer}")
    i, f, g, o = gates.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x: Tensor, h: Tensor, rnn: nn.GRU, layer: int) -> Tensor:
    r_x, z_x, n_x = (getattr(rnn, f"weight_ih_l{layer}") @ x + getattr(rnn, f"bias_ih_l{layer}")).chunk(3)
    r_h, z_h, n_h = (getattr(rnn, f"weight_hh_l{layer}") @ h + getattr(rnn, f"bias_hh_l{layer}")).chunk(3)
    r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    return (1 - z) * (n_x + r * n_h).tanh() + z * h


@pytest.mark.parametrize("variant", ["lstm", "gru"])
@torch.no_grad()
def test_recurrent_step_by_step(variant: str) -> None:
    sequences = world.random_sequences(7, users=3)
    model, encoder, encoded = made(spec(variant, id_only=True), sequences)
    output = model(all_rows(encoded))
    for b, row in enumerate(sequences.to_pylist()):
        x = list(title_vectors(model, encoder, row))
        for layer in range(model.spec.layers):
            h = c = torch.zeros(model.spec.dim)
            for k in range(len(x)):
                if variant == "lstm":
                    h, c = lstm_step(x[k], h, c, model.layers, layer)
                else:
                    h = gru_step(x[k], h, model.layers, layer)
                x[k] = h
        compare_heads(model, torch.stack(x), b, output)


def later(length: int) -> Tensor:
    """Minus infinity above the diagonal."""
    return torch.full((length, length), -torch.inf).triu(1)


@torch.no_grad()
def test_transformer_is_a_stack_of_torch_layers() -> None:
    sequences = world.random_sequences(7, users=3)
    model, encoder, encoded = made(spec("transformer", id_only=True), sequences)
    output = model(all_rows(encoded))
    for b, row in enumerate(sequences.to_pylist()):
        x_LD = title_vectors(model, encoder, row)
        x_LD = x_LD + model.inputs.position.weight[: len(x_LD)]
        for block in model.blocks:
            x_LD = reference(block, "relu")(x_LD[None], later(len(x_LD)))[0]
        compare_heads(model, x_LD, b, output)


@pytest.mark.parametrize("variant", ["transformer", "transact"])
@torch.no_grad()
def test_with_facts_attention_knows_how_long_ago(variant: str) -> None:
    sequences = world.random_sequences(8, users=3)
    model, _, encoded = made(spec(variant), sequences)
    batch = all_rows(encoded)
    encoded_BLD = model.encode(batch)
    for b, length in enumerate(encoded.lengths.tolist()):
        one = batch.map(lambda value, b=b, length=length: value[b : b + 1, :length])
        facts_LF = model.inputs.features(model.titles(one.title_BL, one.tokens), one)[0]
        reduced_LD = torch.stack([norm(model.inputs.reduce[1], linear(model.inputs.reduce[0], f)) for f in facts_LF])
        x_LD = reduced_LD + model.inputs.time(one)[0]
        bias_HLL = ago(model.mask.ago.table, one.time_BL[0].tolist(), later(length).repeat(model.spec.heads, 1, 1))
        for block in model.blocks:
            x_LD = reference(block, "relu")(x_LD[None], bias_HLL)[0]
        expected = x_LD if variant == "transformer" else slow_features(model, x_LD)
        torch.testing.assert_close(encoded_BLD[b, :length], expected, **CLOSE)


@torch.no_grad()
def test_sasrec_step_by_step() -> None:
    sequences = world.random_sequences(7, users=3)
    model, encoder, encoded = made(spec("sasrec", id_only=True), sequences)
    output = model(all_rows(encoded))
    for b, row in enumerate(sequences.to_pylist()):
        x = [v + model.inputs.position.weight[k] for k, v in enumerate(title_vectors(model, encoder, row))]
        for block in model.blocks:
            x = [sasrec_at(block, x, k, model.spec.heads) for k in range(len(x))]
        for k in range(len(x)):
            torch.testing.assert_close(output.item_BLD[b, k], norm(model.norm, x[k]), **CLOSE)


def sasrec_at(block, x: list[Tensor], k: int, heads: int) -> Tensor:  # type: ignore[no-untyped-def]
    """Queries and the residual path from the normalised input, keys and values from the input as it is."""
    query = norm(block.norm_attention, x[k])
    q = linear(block.attention.query, query).chunk(heads)
    keys_values = [linear(block.attention.key_value, x[i]).chunk(2) for i in range(k + 1)]
    mixed = []
    for h in range(heads):
        score = torch.stack([q[h] @ key.chunk(heads)[h] / len(q[h]) ** 0.5 for key, _ in keys_values]).softmax(0)
        mixed.append(sum(share * value.chunk(heads)[h] for share, (_, value) in zip(score, keys_values, strict=True)))
    y = norm(block.norm_mlp, query + torch.cat(mixed))
    return y + linear(block.mlp[3], linear(block.mlp[0], y).relu())


@pytest.mark.parametrize("recent", [4, 100])
@torch.no_grad()
def test_transact_step_by_step(recent: int) -> None:
    sequences = world.random_sequences(7, users=3, longest=20)
    model, encoder, encoded = made(spec("transact", id_only=True, recent=recent), sequences)
    batch = all_rows(encoded)
    output = model(batch)
    for b, row in enumerate(sequences.to_pylist()):
        x_LD = title_vectors(model, encoder, row)
        outside = torch.full((len(x_LD), len(x_LD)), -torch.inf)
        for block in model.blocks:
            x_LD = reference(block, "relu")(x_LD[None], outside.triu(1) + outside.tril(-recent))[0]
        compare_heads(model, slow_features(model, x_LD), b, output)
    targets = batch.targets()
    row_N, k_N = targets.row_N, targets.k_N
    prediction = model.at(batch, row_N, k_N)
    torch.testing.assert_close(prediction.h_ND, output.item_BLD[row_N, k_N], **CLOSE)
    for name, logit_NC in prediction.intent_logit.items():
        torch.testing.assert_close(logit_NC, output.intent_logit[name][row_N, k_N], **CLOSE)


def slow_features(model: Network, x_LD: Tensor) -> Tensor:
    """Ten latest outputs and the maximum of the window, crossed twice, and a layer with ReLU."""
    found = []
    for k in range(len(x_LD)):
        latest = [x_LD[i] if i >= 0 else torch.zeros(model.spec.dim) for i in range(k - 9, k + 1)]
        greatest = torch.stack([x_LD[i] for i in range(max(0, k + 1 - model.spec.recent), k + 1)]).amax(0)
        first = torch.cat([torch.stack(latest).T.flatten(), linear(model.pooled, greatest)])
        x = first
        for cross in model.crosses:
            x = first * linear(cross.u, cross.v.weight @ x) + x
        found.append(linear(model.shared[0], x).relu())
    return torch.stack(found)


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_sliding_maximum_and_its_gradient(length: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_BLD = torch.randn(2, length, 3, generator=generator).requires_grad_()
    told_BLD = torch.randn(2, length, 3, generator=generator)
    wanted_BLD = torch.stack([x_BLD[:, max(0, k + 1 - width) : k + 1].amax(1) for k in range(length)], 1)
    found_BLD = transact.sliding_maximum(x_BLD, width)
    assert torch.equal(found_BLD, wanted_BLD)
    found, wanted = (torch.autograd.grad(y_BLD, x_BLD, told_BLD)[0] for y_BLD in (found_BLD, wanted_BLD))
    torch.testing.assert_close(found, wanted)


def test_transact_hides_a_random_recent_window_in_training() -> None:
    """A window of random length is hidden, the same for a row; the interaction itself never is."""
    model, _, encoded = made(spec("transact"), world.random_sequences(3, users=200, longest=20))
    batch = all_rows(encoded)
    everything_BLL = model.visible(batch)
    assert torch.equal(everything_BLL, torch.ones_like(everything_BLL).tril())
    torch.manual_seed(0)
    seen_BLL = model.train().visible(batch)
    ago_BLL = batch.time_BL[:, :, None] - batch.time_BL[:, None, :]
    past_BLL = everything_BLL & batch.valid_BL[:, None] & batch.valid_BL[:, :, None]
    diagonal = torch.eye(seen_BLL.shape[1], dtype=torch.bool)
    assert seen_BLL[:, diagonal].all()
    hidden_BLL = past_BLL & ~seen_BLL
    before_BLL = past_BLL & seen_BLL & ~diagonal
    for hidden, before, ago_LL in zip(hidden_BLL, before_BLL, ago_BLL, strict=True):
        if hidden.any() and before.any():
            assert ago_LL[hidden].max() < ago_LL[before].min()
    assert ago_BLL[hidden_BLL].max() < transact.WINDOW_SECONDS
    hour = past_BLL & (ago_BLL == 3_600)
    assert 0.9 < float((hidden_BLL & hour).sum() / hour.sum()) <= 1  # 23 of 24 windows are longer
