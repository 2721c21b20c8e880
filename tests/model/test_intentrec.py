"""The model against the paper's equations, by plain loops over rows and positions (`reference`) and by definitions."""

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import Tensor

from intentrec import config
from intentrec.model.build import build
from intentrec.model.features import Batch, Encoded
from intentrec.model.intentrec import IntentRec
from intentrec.model.loss import LossSettings
from intentrec.model.network import register
from intentrec.model.spec import VARIANTS, IntentSpec, ModelSpec, Variant
from intentrec.model.titles import titles_of
from tests.model import world
from tests.model.reference import Reference

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
LOOPS = {"rtol": 1e-3, "atol": 1e-4}
SPECS = {
    "v0": replace(world.spec("v0"), history_path=True),
    "v1": world.spec("v1"),
    "v2": replace(world.spec("v2"), history_path=True),
    "v3": world.spec("v3"),
    "v3 with history": replace(world.spec("v3"), history_path=True),
    "v1 with compatibility": replace(world.spec("v1"), compatibility=True),
    "v3 with both": replace(world.spec("v3"), history_path=True, compatibility=True),
    "v0 with counts": replace(world.spec("v0"), decayed_counts=True),
    "v3 with all": replace(world.spec("v3"), history_path=True, decayed_counts=True, compatibility=True),
    "v0 with title state": replace(world.spec("v0"), title_state=True),
    "v4": replace(world.spec("v4"), history_path=True, decayed_counts=True, title_state=True, compatibility=True),
    "two windows, one layer": replace(world.spec("v3", windows=("1h", "1d")), layers=1),
    **{f"only {intent.name}": world.spec("v3", intents=(intent,)) for intent in world.INTENTS},
    "few inputs": replace(world.spec("v2"), categorical=(), multi_label=(), numeric=(), item_features=("genres",)),
}


def part(batch: Batch, row: int, begin: int, end: int) -> Batch:
    """Interactions begin..end (inclusive) of one row, as a row of its own."""
    return batch.map(lambda value: value[row : row + 1, begin : end + 1])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@torch.no_grad()
def test_every_position_of_every_row(spec: ModelSpec) -> None:
    """Rows with titles and labels that the vocabulary lacks among them."""
    model, encoder, _ = world.model_of(spec, world.random_sequences(5, users=3, titles=12))
    rows = world.random_sequences(6, users=5, titles=40)
    encoded = encoder.encode(rows)
    output = model(encoded.pad(torch.arange(len(encoded))))
    reference = Reference(model, encoder.vocabulary)
    for b, row in enumerate(rows.to_pylist()):
        n = len(row["title_id"])
        expected = reference.forward(row)
        np.testing.assert_allclose(output.item_BLD[b, :n], np.stack(expected["item"]), **LOOPS)
        for name, logit_BLC in output.intent_logit.items():
            np.testing.assert_allclose(logit_BLC[b, :n], np.stack(expected["intents"][name]), **LOOPS)
        assert (output.bias_BLL is None) == (expected["bias"] is None)
        if output.bias_BLL is not None:
            np.testing.assert_allclose(output.bias_BLL[b, :n, :n], np.array(expected["bias"]), **LOOPS)
            assert not output.bias_BLL[b, :n, n:].any()
        assert (output.z_BLP is None) == (expected["z"] is None)
        if output.z_BLP is not None:
            np.testing.assert_allclose(output.z_BLP[b, :n], np.stack(expected["z"]), **LOOPS)
            np.testing.assert_allclose(output.attention_BLM[b, :n], np.stack(expected["attention"]), **LOOPS)


def short_term(model: IntentRec, encoded: Encoded, h: str) -> Tensor:
    """S of a window for all rows."""
    found: list[Tensor] = []
    handle = model.short_term[h].register_forward_hook(lambda _module, _args, output: found.append(output))
    with torch.no_grad():
        model(encoded.pad(torch.arange(len(encoded))))
    handle.remove()
    return found[0]


@pytest.mark.parametrize("h", ["1h", "1d", "7d"])
def test_short_term_interest_depends_on_its_window_only(h: str) -> None:
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


def test_short_term_interest_ignores_the_gap_before_its_window() -> None:
    rng = np.random.default_rng(1)
    ends = [world.START + timedelta(days=d) for d in (0, 3, 20, 20.5)]
    found = [world.interaction(rng, i, end) for i, end in enumerate(ends)]
    moved = [{**each, "end_ts": each["end_ts"] + timedelta(hours=7 * (i < 2))} for i, each in enumerate(found)]
    rows = [world.row(user, ends[-1].date(), 1, each) for user, each in (("u", found), ("v", moved))]
    model, _, encoded = world.model_of(world.spec(windows=("1d",)), world.table(rows))
    s = short_term(model, encoded, "1d")
    assert torch.equal(s[0, 2:], s[1, 2:])
    assert not torch.allclose(s[0, 1], s[1, 1])


@pytest.mark.parametrize("windows", [("7d",), ("1h", "30d")], ids=str)
@pytest.mark.parametrize("history", [False, True], ids=["", "history"])
@pytest.mark.parametrize("variant", ["v0", "v1", "v2", "v3"])
@torch.no_grad()
def test_the_future_changes_nothing(variant: str, history: bool, windows: tuple[str, ...]) -> None:
    """Also other padding: the rows beside a row, and its own later interactions."""
    spec = replace(
        world.spec(variant, windows=windows),
        history_path=history,
        decayed_counts=history,
        title_state=history,
        next_session=history and variant != "v0",
        compatibility=history and variant != "v0",
        neighbours=2 * history,
    )
    model, _, encoded = world.model_of(spec, world.random_sequences(11, users=4, longest=20))
    batch = encoded.pad(torch.arange(4))
    for cut in (1, 3, 7):
        row = int(encoded.lengths.argmax())
        changed = batch.map(lambda value, cut=cut, row=row: torch.cat([value[:, :cut], value[:, cut:] * 0 + 1], 1))
        for before, after in zip(outputs(model, batch), outputs(model, changed), strict=True):
            torch.testing.assert_close(after[:, :cut], before[:, :cut], rtol=0, atol=1e-6)
        for before, alone in zip(outputs(model, batch), outputs(model, part(batch, row, 0, cut - 1)), strict=True):
            torch.testing.assert_close(alone[0], before[row, :cut, : alone.shape[-1]], **CLOSE)


def outputs(model: IntentRec, batch: Batch) -> list[Tensor]:
    """Every tensor of a model's output."""
    output = model(batch)
    found = [output.item_BLD, *output.intent_logit.values(), output.z_BLP, output.attention_BLM, output.bias_BLL]
    found.append(output.neighbour_weight_BLW)
    return [value for value in found if value is not None]


@torch.no_grad()
def test_input_titles_and_output_titles_are_tied() -> None:
    """One vector per title on both sides, and a title released after training has the tower's alone."""
    sequences = world.random_sequences(3)
    model, encoder, _ = world.model_of(world.spec(), sequences)
    later = world.catalog(40)
    items = encoder.items(titles_of(later))
    vectors = model.item_vectors(items)
    tower = vectors - model.titles.id[items.title_I]
    unseen = items.title_I == 1
    assert int(unseen.sum()) == 40 - len(encoder.vocabulary.titles)
    new = model.item_vectors(replace(items, title_I=torch.ones_like(items.title_I)))
    torch.testing.assert_close(vectors[unseen], new[unseen])
    torch.testing.assert_close(new[~unseen], tower[~unseen], **CLOSE)
    assert vectors[unseen].unique(dim=0).shape[0] > 3, "facts tell new titles apart"
    batch = encoder.encode(sequences).pad(torch.tensor([0]))
    as_input = model.titles(batch.title_BL, batch.tokens)[0, 0]
    ids = titles_of(later)["title_id"].to_pylist()
    torch.testing.assert_close(as_input, vectors[ids.index(sequences["title_id"][0].as_py()[0])])


@pytest.mark.parametrize("side", ["k", "k+1"])
@pytest.mark.parametrize(("variant", "next_session"), [("v0", False), ("v3", False), ("v3", True)])
@torch.no_grad()
def test_loss_by_a_loop(variant: str, next_session: bool, side: str) -> None:
    """Eq. 3 and 4 over rows and positions, from the table itself."""
    sequences = world.random_sequences(13, users=5)
    spec = world.spec(variant)
    spec = type(spec)(**{**vars(spec), "weight_side": side, "next_session": next_session})
    model, encoder, encoded = world.model_of(spec, sequences)
    catalog = world.catalog_of(encoder, sequences)
    batch = encoded.pad(torch.arange(len(encoded)))
    output = model(batch)
    parts = model.loss(batch, catalog, LossSettings(cells=100))
    items = model.item_vectors(catalog)
    following = [f"next_session_{intent.name}" for intent in spec.intents if next_session]
    sums = {name: [0.0, 0.0] for name in ("item", *output.intent_logit, *following)}
    found_sessions = 0
    for b, row in enumerate(sequences.to_pylist()):
        length = len(row["title_id"])
        for j in range(length - row["n_new"], length):
            k = sum(end < row["end_ts"][j] for end in row["end_ts"]) - 1
            if not row["is_target"][j] or k < 0:
                continue
            weight = row["weight"][k if side == "k" else j]
            log_p = (items @ output.item_BLD[b, k]).log_softmax(0)
            add(sums["item"], weight, [-float(log_p[encoder.vocabulary.titles.index(row["title_id"][j])])])
            for intent in spec.intents:
                log_p = output.intent_logit[intent.name][b, k].log_softmax(0)
                true = true_labels(row, j, intent.column)
                classes = encoder.vocabulary.labels(intent)
                add(sums[intent.name], weight, [-float(log_p[classes.index(label)]) for label in true])
                before = before_session(row, j) if next_session else None
                if before is not None:
                    log_p = of_next_session(model, output.intent_BLD[b, before], row, before, j, intent, classes)
                    losses = [-float(log_p[classes.index(label)]) for label in true]
                    add(sums[f"next_session_{intent.name}"], weight, losses)
                    found_sessions += 1
    assert bool(found_sessions) == next_session
    expected = {name: total / weight for name, (total, weight) in sums.items()}
    of_intents = [value for name, value in expected.items() if name != "item"]
    expected["loss"] = expected["item"] + spec.intent_weight * sum(of_intents)
    found = {**parts.means(), "loss": parts.loss()}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-4)


def of_next_session(
    model: IntentRec, intent_D: Tensor, row: dict, before: int, j: int, intent: IntentSpec, classes: Sequence[str]
) -> Tensor:
    """Log-probabilities of an intent of the session of j, from the row up to `before`."""
    heads = model.next_session
    seconds = (row["end_ts"][j] - row["end_ts"][before]).total_seconds()
    hidden_D = heads.hidden(intent_D + heads.gap.weight[int(math.log2(1 + seconds))])
    number = heads.names.index(intent.name)
    logit_C = heads.heads[number](hidden_D)
    for weight, decay in zip(heads.share_MS[number], (0.5, 0.95), strict=True):
        count = [0.5 / len(classes)] * len(classes)
        for i in range(before + 1):
            for label in true_labels(row, i, intent.column):
                if label in classes:
                    count[classes.index(label)] += decay ** (before - i)
        logit_C = logit_C + weight * torch.tensor([math.log(each / sum(count)) for each in count])
    return logit_C.log_softmax(0)


def before_session(row: dict, j: int) -> int | None:
    """The last interaction before the session of j; None if there is none, or j is not the session's first target."""
    start = max((i for i in range(j + 1) if row["opens_session"][i]), default=0)
    new = range(len(row["title_id"]) - row["n_new"], len(row["title_id"]))
    for i in range(start, j):
        known = any(end < row["end_ts"][i] for end in row["end_ts"])
        if i in new and row["is_target"][i] and known and row["end_ts"][i] < row["end_ts"][j]:
            return None
    return start - 1 if start else None


def add(total: list[float], weight: float, losses: list[float]) -> None:
    if losses:
        total[0] += weight * sum(losses)
        total[1] += weight


def true_labels(row: dict, k: int, column: str) -> list[str]:
    """Labels of an interaction by the definition."""
    if column != "release_age_days":
        return row[column][k] if column == "genres" else [row[column][k]]
    age = row[column][k]
    return [] if age < 0 else ["week" if age <= 7 else "month" if age <= 30 else "older"]


def test_targets_without_weight_move_no_parameter() -> None:
    model, encoder, encoded = world.model_of(world.spec(), world.random_sequences(17))
    catalog = world.catalog_of(encoder, world.random_sequences(17))

    def gradients(rows: Encoded) -> list[Tensor]:
        batch = rows.pad(torch.arange(len(rows)))
        model.zero_grad()
        model.loss(batch, catalog, LossSettings()).loss().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    weight_N, target_N = encoded.flat.weight_BL, encoded.flat.target_BL
    begin_N = encoded.offsets[:-1].repeat_interleave(encoded.lengths)
    weighted = weight_N[(begin_N + encoded.flat.known_BL - 1).clamp(min=0)] > 0  # side k: the last known interaction
    assert (target_N & ~weighted).any()
    for ours, theirs in zip(gradients(encoded), gradients(encoded.with_targets(target_N & weighted)), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("intent", world.INTENTS, ids=lambda intent: intent.name)
def test_one_intent_at_a_time(intent) -> None:  # type: ignore[no-untyped-def]
    """Table 3: a single head takes all the attention."""
    model, _, encoded = world.model_of(world.spec(intents=(intent,)), world.random_sequences(1))
    output = model(encoded.pad(torch.arange(len(encoded))))
    assert list(output.intent_logit) == [intent.name]
    assert torch.equal(output.attention_BLM, torch.ones_like(output.attention_BLM))


def test_invalid_variants_are_refused() -> None:
    for changed in ({"variant": "v4"}, {"variant": "v0"}, {"intents": ()}, {"windows": ()}, {"dim": 15}):
        with pytest.raises(ValueError, match=r"variant|v0|v3|multiple"):
            type(world.spec())(**{**vars(world.spec()), **changed})
    assert (*VARIANTS, "v4") == config.VARIANTS, "the configuration knows the same names"


def test_a_registered_variant_is_built_by_its_builder_and_needs_a_free_name() -> None:
    class Other(IntentRec):
        pass

    variant = Variant("other", "none", windows=True)
    register(variant, Other)
    register(variant, Other)  # again, as where a module is imported anew
    spec = replace(world.spec(), variant="other", intents=())
    assert type(build(spec, world.vocabulary_of(world.random_sequences(1), world.catalog(5), spec))) is Other
    assert not spec.hierarchical
    with pytest.raises(ValueError, match="another variant 'v3'"):
        register(Variant("v3", "none"), Other)


def test_model_needs_torch_numpy_and_pyarrow_only() -> None:
    blocked = ["pyspark", "delta", "deltalake", "mlflow", "airflow", "pydantic", "pandas", "sklearn", "scipy"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); import pkgutil, importlib, intentrec.model as m; "
    )
    code += "[importlib.import_module(f'intentrec.model.{x.name}') for x in pkgutil.iter_modules(m.__path__)]"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
