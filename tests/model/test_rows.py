"""From rows as Python dicts to predictions, against the plain loops of `slow`: encoding, clock and history included."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import Tensor

from intentrec.model.features import Encoded
from intentrec.model.intentrec import IntentRec
from intentrec.model.spec import ModelSpec
from tests.model import world
from tests.model.slow import Slow

SPECS = {
    "v0": replace(world.spec("v0"), history_path=True),
    "v1": world.spec("v1"),
    "v2": replace(world.spec("v2"), history_path=True),
    "v3": world.spec("v3"),
    "v3 with history": replace(world.spec("v3"), history_path=True),
    "v1 with compatibility": replace(world.spec("v1"), compatibility=True),
    "v3 with both": replace(world.spec("v3"), history_path=True, compatibility=True),
    "two windows, one layer": replace(world.spec("v3", windows=("1h", "1d")), layers=1),
    **{f"only {intent.name}": world.spec("v3", intents=(intent,)) for intent in world.INTENTS},
    "few inputs": replace(world.spec("v2"), categorical=(), multi_label=(), numeric=(), item_features=("genres",)),
}
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@torch.no_grad()
def test_every_position_of_every_row(spec: ModelSpec) -> None:
    """Rows with titles and labels that the vocabulary lacks among them."""
    model, encoder, _ = world.model_of(spec, world.random_sequences(5, users=3, titles=12))
    rows = world.random_sequences(6, users=5, titles=40)
    encoded = encoder.encode(rows)
    output = model(encoded.pad(torch.arange(len(encoded))))
    slow = Slow(model, encoder.vocabulary)
    for b, row in enumerate(rows.to_pylist()):
        n = len(row["title_id"])
        expected = slow.forward(row)
        np.testing.assert_allclose(output.item_BLD[b, :n], np.stack(expected["item"]), **CLOSE)
        for name, logit_BLC in output.intent_logit.items():
            np.testing.assert_allclose(logit_BLC[b, :n], np.stack(expected["intents"][name]), **CLOSE)
        assert (output.bias_BLL is None) == (expected["bias"] is None)
        if output.bias_BLL is not None:
            np.testing.assert_allclose(output.bias_BLL[b, :n, :n], np.array(expected["bias"]), **CLOSE)
            assert not output.bias_BLL[b, :n, n:].any()
        assert (output.z_BLP is None) == (expected["z"] is None)
        if output.z_BLP is not None:
            np.testing.assert_allclose(output.z_BLP[b, :n], np.stack(expected["z"]), **CLOSE)
            np.testing.assert_allclose(output.attention_BLM[b, :n], np.stack(expected["attention"]), **CLOSE)


def short_term(model: IntentRec, encoded: Encoded, h: str) -> Tensor:
    """S of a window for all rows."""
    found: list[Tensor] = []
    handle = model.short_term[h].register_forward_hook(lambda _module, _args, output: found.append(output))
    with torch.no_grad():
        model(encoded.pad(torch.arange(len(encoded))))
    handle.remove()
    return found[0]


@pytest.mark.parametrize("h", ["1h", "1d", "7d"])
def test_short_term_moves_with_its_window_and_nothing_else(h: str) -> None:
    """Change one interaction: S_k moves if and only if T_k - T_i <= H and i <= k (ties and gaps of exactly H too)."""
    rows = world.random_sequences(11, users=30).to_pylist()
    model, encoder, encoded = world.model_of(world.spec(windows=(h,)), world.table(rows))
    before = short_term(model, encoded, h)
    count = {True: 0, False: 0}
    for i in range(max(len(row["title_id"]) for row in rows)):
        changed = world.table(rows).to_pylist()
        for row in changed:
            if i < len(row["title_id"]):
                row["title_id"][i] = "t000" if row["title_id"][i] != "t000" else "t001"
                row["duration_s"][i] = 1.0
        after = short_term(model, encoder.encode(world.table(changed)), h)
        moved = (after - before).abs().amax(-1) > 1e-6
        for b, row in enumerate(rows):
            for k in range(len(row["title_id"])):
                inside = i <= k and (row["end_ts"][k] - row["end_ts"][i]).total_seconds() <= world.HOURS[h]
                assert bool(moved[b, k]) == inside, (b, k, i)
                count[inside] += i < k
    assert min(count.values()) > 20, "both cases occur"


def test_short_term_does_not_know_what_time_passed_before_its_window() -> None:
    rng = np.random.default_rng(1)
    ends = [world.START + timedelta(days=d) for d in (0, 3, 20, 20.5)]
    found = [world.interaction(rng, i, end) for i, end in enumerate(ends)]
    moved = [{**each, "end_ts": each["end_ts"] + timedelta(hours=7 * (i < 2))} for i, each in enumerate(found)]
    rows = [world.row(user, ends[-1].date(), 1, each) for user, each in (("u", found), ("v", moved))]
    model, _, encoded = world.model_of(world.spec(windows=("1d",)), world.table(rows))
    s = short_term(model, encoded, "1d")
    assert torch.equal(s[0, 2:], s[1, 2:])
    assert not torch.allclose(s[0, 1], s[1, 1])
