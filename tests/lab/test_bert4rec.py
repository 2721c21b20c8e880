"""BERT4Rec: masks in training and behind a cut row, by the definition."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intentrec.model.features import Batch
from intentrec.model.loss import LossSettings
from lab.baselines import bert4rec
from lab.baselines.bert4rec import cut_rows, draw_hidden
from tests.lab.baseline_models import CLOSE, ago, all_rows, made, reference, spec
from tests.model import world

forms = pytest.mark.parametrize("id_only", [True, False], ids=["id-only", "facts"])


def slow_vectors(model, one: Batch, hidden: list[int]) -> Tensor:  # type: ignore[no-untyped-def]
    """User vectors (L, D) of one unpadded row with some interactions hidden, by torch's layers."""
    content_LD = model.inputs.content(model.titles(one.title_BL, one.tokens), one)[0]
    length, seconds = len(content_LD), one.time_BL[0].tolist()
    content_LD = torch.stack([model.hidden if k in hidden else content_LD[k] for k in range(length)])
    bias_HLL = torch.zeros(model.spec.heads, length, length)
    if model.spec.id_only:
        x_LD = content_LD + model.inputs.position.weight[:length]
    else:
        known = [max(i for i in range(k + 1) if i not in hidden) for k in range(length)]
        gaps = [0 if k in hidden else int(one.gap_BL[0, k]) for k in range(length)]
        time = model.inputs.time
        x_LD = content_LD + time.periodic(one.periodic_BLC[0, known]) + time.gap.weight[gaps]
        seconds = [seconds[i] for i in known]
        before, after = (torch.zeros_like(bias_HLL) for _ in range(2))
        ago(model.mask.before.table, seconds, before)
        ago(model.mask.after.table, [-s for s in seconds], after)
        bias_HLL = before.tril() + after.triu(1)
    moment = one.time_BL[0].tolist()
    for k, other in product(hidden, hidden):
        if k != other and moment[k] == moment[other]:
            bias_HLL[:, k, other] = -torch.inf
    x_LD = torch.nn.functional.layer_norm(x_LD, (model.spec.dim,), model.norm.weight, model.norm.bias)
    for block in model.blocks:
        x_LD = reference(block, "gelu")(x_LD[None], bias_HLL)[0]
    dense, _, norm = model.to_item
    h_LD = torch.nn.functional.gelu(x_LD @ dense.weight.T + dense.bias)
    h_LD = torch.nn.functional.layer_norm(h_LD, (model.spec.dim,), norm.weight, norm.bias)
    return torch.cat([h_LD, torch.ones(length, 1)], 1)


@forms
@pytest.mark.parametrize("length", [6, 20])
@torch.no_grad()
def test_predicts_with_a_mask_behind_each_cut_row(id_only: bool, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows cut in the table itself, one by one. With 6 positions, the 5 latest interactions and the mask."""
    monkeypatch.setattr(bert4rec, "CELLS", 50)  # several chunks
    sequences = world.random_sequences(5, users=3, longest=15)
    model, encoder, encoded = made(spec("bert4rec", id_only, length=length), sequences)
    batch = all_rows(encoded)
    row_N, k_N = batch.valid_BL.nonzero(as_tuple=True)
    found = model.at(batch, row_N, k_N).h_ND
    output = model(batch) if length == 20 else None
    for n, (b, k) in enumerate(zip(row_N.tolist(), k_N.tolist(), strict=True)):
        row = sequences.to_pylist()[b]
        kept = slice(max(0, k + 1 - (length - 1)), k + 1)
        cut = {name: value[kept] if isinstance(value, list) else value for name, value in row.items()}
        cut |= {"window_start": [(h, starts[kept]) for h, starts in row["window_start"]], "n_new": 1}
        one = encoder.encode(world.table([cut])).pad(torch.tensor([0]))
        with_mask = one.map(lambda value: torch.cat([value, value[:, -1:]], 1))
        places = with_mask.title_BL.shape[1]
        torch.testing.assert_close(found[n], slow_vectors(model, with_mask, [places - 1])[-1], **CLOSE)
        if output is not None:
            torch.testing.assert_close(output.item_BLD[b, k], found[n], **CLOSE)


@forms
@torch.no_grad()
def test_loss_is_that_of_the_hidden_targets(id_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = world.random_sequences(14, users=5)
    model, encoder, encoded = made(spec("bert4rec", id_only), sequences)
    catalog, batch = world.catalog_of(encoder, sequences), all_rows(encoded)
    torch.manual_seed(4)
    hidden_BL = draw_hidden(batch.target_BL, batch.time_BL, 0.5)
    mates_BL = hidden_BL[:, 1:] & hidden_BL[:, :-1] & (batch.time_BL[:, 1:] == batch.time_BL[:, :-1])
    assert (mates_BL & batch.target_BL[:, 1:]).any(), "targets of one moment"
    monkeypatch.setattr(bert4rec, "draw_hidden", lambda target, time, share: hidden_BL)
    parts = model.loss(batch, catalog, LossSettings())
    items = model.titles(catalog.title_I, catalog.tokens)
    total = weights = 0.0
    for b, row in enumerate(sequences.to_pylist()):
        length = len(row["title_id"])
        one = batch.map(lambda value, b=b, length=length: value[b : b + 1, :length])
        hidden = hidden_BL[b].nonzero().flatten().tolist()
        vectors = slow_vectors(model, one, hidden)
        for k in [k for k in hidden if batch.target_BL[b, k] and row["end_ts"][k] > row["end_ts"][0]]:
            logit = items @ vectors[k, :-1] + model.bias[catalog.title_I]
            truth = encoder.vocabulary.titles.index(row["title_id"][k])
            last = sum(end < row["end_ts"][k] for end in row["end_ts"]) - 1
            total -= row["weight"][last] * float(logit.log_softmax(0)[truth])
            weights += row["weight"][last]
    assert weights > 0
    assert float(parts.sums["item"]) == pytest.approx(total, rel=1e-4)
    assert float(parts.weights["item"]) == pytest.approx(weights, rel=1e-5)
    assert list(parts.sums) == ["item"]


@forms
@torch.no_grad()
def test_hidden_interactions_do_not_change_predictions(id_only: bool) -> None:
    model, _, encoded = made(spec("bert4rec", id_only), world.random_sequences(6, users=3))
    batch = all_rows(encoded)
    hidden_BL = torch.zeros_like(batch.target_BL)
    hidden_BL[:, 1:3] = batch.valid_BL[:, 1:3]

    def changed(value: Tensor) -> Tensor:
        where = hidden_BL.view(*hidden_BL.shape, *[1] * (value.dim() - 2))
        return torch.where(where, torch.ones_like(value), value)

    # Two moments stay two: only that they are two is known of them.
    later_BL = torch.where(hidden_BL, batch.time_BL + 5, batch.time_BL)
    other = replace(batch.map(changed), time_BL=later_BL)
    ours, theirs = model.encode(batch, hidden_BL), model.encode(other, hidden_BL)
    torch.testing.assert_close(ours[batch.valid_BL], theirs[batch.valid_BL], **CLOSE)


def test_attention_looks_to_both_sides() -> None:
    model, _, encoded = made(spec("bert4rec", id_only=True), world.random_sequences(6, users=1, longest=12))
    batch = all_rows(encoded)
    hidden_BL = torch.zeros_like(batch.target_BL)
    hidden_BL[:, 2] = True
    for side in (1, 3):
        title_BL = batch.title_BL.clone()
        title_BL[0, side] = title_BL[0, side] % 20 + 3
        other = Batch(**{**vars(batch), "title_BL": title_BL})
        assert not torch.allclose(model.encode(other, hidden_BL)[0, 2], model.encode(batch, hidden_BL)[0, 2])


@forms
@torch.no_grad()
def test_a_hidden_line_sees_no_other_of_its_basket(id_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at prediction: another interaction of the same moment changes neither encoding."""
    (row,) = world.random_sequences(6, users=1, longest=12).to_pylist()
    length = len(row["title_id"])
    row["end_ts"][-3:] = [row["end_ts"][-1]] * 3
    row["is_target"] = [False] * (length - 3) + [True] * 3
    row["n_new"] = 3
    model, encoder, _ = made(spec("bert4rec", id_only), world.table([row]))
    monkeypatch.setattr(torch, "rand", torch.zeros)  # the last moment alone
    found = []
    for mate in ("t001", "t002"):
        row["title_id"][-2] = mate
        batch = all_rows(encoder.encode(world.table([row])))
        hidden_BL = draw_hidden(batch.target_BL, batch.time_BL, 0.2)
        assert hidden_BL[0].tolist() == [False] * (length - 3) + [True] * 3
        found.append(torch.stack([model.encode(batch, hidden_BL)[0, -1], model.encode(batch, hidden_BL)[0, -3]]))
    torch.testing.assert_close(*found, **CLOSE)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=6),
    st.lists(st.integers(0, 1), min_size=9, max_size=9),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_whole_moments_with_a_target_are_hidden_and_one_of_every_row(
    targets: list[list[bool]], steps: list[int], share: float, seed: int
) -> None:
    target_BL, time_L = torch.tensor(targets), torch.tensor(steps).cumsum(0)
    torch.manual_seed(seed)
    hidden_BL = draw_hidden(target_BL, time_L.expand_as(target_BL), share)
    for target_L, hidden_L in zip(target_BL, hidden_BL, strict=True):
        hidden = set(time_L[hidden_L].tolist())
        assert hidden <= set(time_L[target_L].tolist())
        assert hidden_L.tolist() == [moment in hidden for moment in time_L.tolist()]
        assert bool(hidden) == bool(target_L.any())


def test_a_share_is_hidden_or_the_last_target_alone() -> None:
    torch.manual_seed(0)
    target_BL = torch.ones(20_000, 40, dtype=torch.bool)
    target_BL[:, -1] = False
    hidden_BL = draw_hidden(target_BL, torch.arange(40).expand_as(target_BL), 0.2)
    last_alone_B = hidden_BL[:, 38] & (hidden_BL.sum(1) == 1)
    assert float(last_alone_B.double().mean()) == pytest.approx(1 / 11, abs=0.01)
    assert float(hidden_BL[~last_alone_B, :39].double().mean()) == pytest.approx(0.2, abs=0.01)


def test_cut_rows_without_positions() -> None:
    _, _, encoded = made(spec("bert4rec"), world.random_sequences(6, users=2))
    nothing = torch.empty(0, dtype=torch.long)
    cut, behind_N = cut_rows(all_rows(encoded), nothing, nothing, 20)
    assert len(cut.title_BL) == len(behind_N) == 0
