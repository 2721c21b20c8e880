"""The model against the paper's equations, computed slowly and one position at a time."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from intentrec.model.blocks import Encoder
from intentrec.model.clock import ago_buckets, causal_mask, seen
from intentrec.model.features import Batch, Encoded
from intentrec.model.intentrec import IntentRec
from intentrec.model.loss import LossSettings
from intentrec.model.oracle import true_next
from intentrec.model.titles import titles_of
from intentrec.model.vocabulary import FIRST
from tests.model import world

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def part(batch: Batch, row: int, begin: int, end: int) -> Batch:
    """Interactions begin..end (inclusive) of one row, as a row of its own."""
    return batch.map(lambda value: value[row : row + 1, begin : end + 1])


def plain(encoder: Encoder, x_BLI: Tensor, batch: Batch) -> Tensor:
    """An encoder under a full causal mask."""
    return encoder(x_BLI, batch, seen(ago_buckets(batch.time_BL), causal_mask(batch)))


def input_features(model: IntentRec, batch: Batch) -> Tensor:
    return model.features(model.titles(batch.title_BL, batch.tokens), batch)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("windows", [("7d",), ("1d", "7d")])
def test_short_term_is_an_encoding_of_the_window_alone(seed: int, windows: tuple[str, ...]) -> None:
    """Eq. 1 with pos found by its definition, ties and interactions exactly H apart included."""
    model, _, encoded = world.model_of(world.spec(windows=windows), world.random_sequences(seed))
    batch = encoded.pad(torch.arange(len(encoded)))
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, h=h: seen.__setitem__(h, out))
        for h, module in model.short_term.items()
    ]
    model(batch)
    for hook in hooks:
        hook.remove()
    for h in windows:
        for row in range(len(encoded)):
            times = batch.time_BL[row].tolist()
            for k in range(int(encoded.lengths[row])):
                pos = next(i for i in range(k + 1) if times[k] - times[i] <= world.HOURS[h])
                alone = part(batch, row, pos, k)
                s_k = plain(model.short_term[h], input_features(model, alone), alone)[0, -1]
                torch.testing.assert_close(seen[h][row, k], s_k, **CLOSE)


def test_nothing_outside_the_window_reaches_the_short_term() -> None:
    model, _, encoded = world.model_of(world.spec(), world.random_sequences(5, users=1, longest=40))
    batch = encoded.pad(torch.tensor([0]))
    k = batch.title_BL.shape[1] - 1
    begin = int(batch.window["7d"][0, k])
    assert 0 < begin < k

    def short_term(changed: Batch) -> Tensor:
        found = []
        hook = model.short_term["7d"].register_forward_hook(lambda _m, _i, out: found.append(out[0, k]))
        model(changed)
        hook.remove()
        return found[0]

    def outside(value: Tensor) -> Tensor:
        changed = value.clone()
        changed[0, :begin] = value[0, begin:].flip(0)[:1] if value.dtype == torch.bool else value[0, -1:] * 0 + 1
        return changed

    assert torch.equal(short_term(batch), short_term(batch.map(outside)))

    def inside(value: Tensor) -> Tensor:
        changed = value.clone()
        changed[0, begin] = 1
        return changed

    assert not torch.equal(short_term(batch), short_term(batch.map(inside)))


def slow_encoder(encoder: Encoder, x_LI: Tensor, batch: Batch) -> Tensor:
    """A causal pre-norm Transformer over one row: a loop over blocks, positions, heads and keys."""
    time_LD = encoder.time.periodic(batch.periodic_BLC[0])
    if encoder.time.gap is not None:
        time_LD = time_LD + encoder.time.gap.weight[batch.gap_BL[0]]
    x_LD = encoder.reduce(x_LI) + time_LD
    seconds = batch.time_BL[0].tolist()
    for block in encoder.blocks:
        heads = block.attention.heads
        width = x_LD.shape[1] // heads
        q_LD, k_LD, v_LD = block.attention.qkv(block.norm_attention(x_LD)).chunk(3, -1)
        mixed_LD = torch.zeros_like(x_LD)
        for k in range(len(x_LD)):
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                scores = []
                for i in range(k + 1):
                    bucket = min((1 + seconds[k] - seconds[i]).bit_length() - 1, 31)
                    scores.append(q_LD[k, own] @ k_LD[i, own] / width**0.5 + encoder.ago.table[bucket, head])
                weights = torch.stack(scores).softmax(0)
                mixed_LD[k, own] = sum(weights[i] * v_LD[i, own] for i in range(k + 1))
        x_LD = x_LD + block.attention.out(mixed_LD)
        x_LD = x_LD + block.mlp(block.norm_mlp(x_LD))
    return encoder.norm(x_LD)


@pytest.mark.parametrize("variant", ["v0", "v1", "v2", "v3"])
@torch.no_grad()
def test_forward_is_the_paper_step_by_step(variant: str) -> None:
    model, _, encoded = world.model_of(world.spec(variant), world.random_sequences(7, users=3))
    batch = encoded.pad(torch.arange(3))
    output = model(batch)
    for row in range(3):
        one = part(batch, row, 0, int(encoded.lengths[row]) - 1)
        f_LF = input_features(model, one)[0]
        x_LX = f_LF
        for h, encode in model.short_term.items():
            windows = [part(batch, row, int(begin), k) for k, begin in enumerate(one.window[h][0])]
            s = [slow_encoder(encode, input_features(model, window)[0], window)[-1] for window in windows]
            x_LX = torch.cat([x_LX, torch.stack(s)], -1)
        if variant in ("v2", "v3"):
            intent_LD = slow_encoder(model.intent_encoder, x_LX, one)
            z = []
            for k, e_D in enumerate(intent_LD):
                p = [(head.weight @ e_D + head.bias).softmax(0) for head in model.heads]
                projected = [proj.weight @ p_C + proj.bias for proj, p_C in zip(model.mixture.project, p, strict=True)]
                alpha = torch.stack(
                    [model.mixture.attend.weight[i] @ v + model.mixture.attend.bias[i] for i, v in enumerate(projected)]
                ).softmax(0)
                z.append(sum(alpha[i] * v for i, v in enumerate(projected)))
                torch.testing.assert_close(output.attention_BLM[row, k], alpha, **CLOSE)
                for intent, p_C in zip(model.spec.intents, p, strict=True):
                    torch.testing.assert_close(output.intent_logit[intent.name][row, k].softmax(0), p_C, **CLOSE)
            torch.testing.assert_close(output.z_BLP[row, : len(z)], torch.stack(z), **CLOSE)
            x_LX = torch.cat([x_LX, torch.stack(z)], -1)
        e_LD = slow_encoder(model.item_encoder, x_LX, one)
        torch.testing.assert_close(output.item_BLD[row, : len(e_LD)], slow_user(model, e_LD, one), **CLOSE)
        if variant == "v1":
            for intent, head in zip(model.spec.intents, model.heads, strict=True):
                torch.testing.assert_close(output.intent_logit[intent.name][row, : len(e_LD)], head(e_LD), **CLOSE)
    assert (output.z_BLP is None) == (variant in ("v0", "v1"))
    assert set(output.intent_logit) == {intent.name for intent in model.spec.intents}


def slow_user(model: IntentRec, e_LD: Tensor, one: Batch) -> Tensor:
    """FC_item on E^item."""
    return e_LD @ model.to_item.weight.T + model.to_item.bias


@torch.no_grad()
def test_input_features_by_a_loop() -> None:
    sequences = world.random_sequences(3, users=1)
    model, encoder, encoded = world.model_of(world.spec(), sequences)
    batch = encoded.pad(torch.tensor([0]))
    f_LF = input_features(model, batch)[0]
    vocabulary, spec = encoder.vocabulary, model.spec
    row = sequences.to_pylist()[0]
    for k in range(len(row["title_id"])):

        def one(embedding: Tensor, name: str, token: str) -> Tensor:
            known = vocabulary.tokens[name]
            return embedding[FIRST + known.index(token) if token in known else 1]

        def mean(embedding: Tensor, name: str, tokens: list[str]) -> Tensor:
            zero = torch.zeros(embedding.shape[1])
            return sum((one(embedding, name, token) for token in tokens), zero) / max(1, len(tokens))

        tower = torch.cat(
            [
                one(model.titles.facts["creator"].weight, "creator", row["creator"][k]),
                mean(model.titles.facts["genres"].weight, "genres", row["genres"][k]),
                one(model.titles.facts["kind"].weight, "kind", row["kind"][k]),
            ]
        )
        title = model.titles.id[FIRST + vocabulary.titles.index(row["title_id"][k])] + model.titles.tower(tower)
        facts = [one(model.features.embed[name].weight, name, row[name][k]) for name in spec.categorical]
        facts.append(mean(model.features.embed["genres"].weight, "genres", row["genres"][k]))
        expected = torch.cat([title, *facts, batch.numeric_BLF[0, k]])
        torch.testing.assert_close(f_LF[k], expected, **CLOSE)


@pytest.mark.parametrize("windows", [("7d",), ("1h", "30d")], ids=str)
@pytest.mark.parametrize("history", [False, True], ids=["", "history"])
@pytest.mark.parametrize("variant", ["v0", "v1", "v2", "v3"])
@torch.no_grad()
def test_the_future_changes_nothing(variant: str, history: bool, windows: tuple[str, ...]) -> None:
    """Also other padding: the rows beside a row, and its own later interactions."""
    spec = replace(
        world.spec(variant, windows=windows),
        history_path=history,
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
    """Every tensor that a model answers with."""
    answer = model(batch)
    found = [answer.item_BLD, *answer.intent_logit.values(), answer.z_BLP, answer.attention_BLM, answer.bias_BLL]
    found.append(answer.loud_BLW)
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
@pytest.mark.parametrize("variant", ["v0", "v3"])
@torch.no_grad()
def test_loss_by_a_loop(variant: str, side: str) -> None:
    """Eq. 3 and 4 over rows and positions, from the table itself."""
    sequences = world.random_sequences(13, users=5)
    spec = world.spec(variant)
    spec = type(spec)(**{**vars(spec), "weight_side": side})
    model, encoder, encoded = world.model_of(spec, sequences)
    catalog = world.catalog_of(encoder, sequences)
    batch = encoded.pad(torch.arange(len(encoded)))
    output = model(batch)
    parts = model.loss(batch, catalog, LossSettings(cells=100))
    items = model.item_vectors(catalog)
    sums = {name: [0.0, 0.0] for name in ("item", *output.intent_logit)}
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
    expected = {name: total / weight for name, (total, weight) in sums.items()}
    expected["loss"] = expected["item"] + spec.intent_weight * sum(expected[i.name] for i in spec.intents)
    found = {**parts.means(), "loss": parts.loss()}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-4)


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
    weighted = torch.cat([weight_N[:1] > 0, weight_N[:-1] > 0])  # side k: the position before the target
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


def test_variants_that_are_none() -> None:
    for changed in ({"variant": "v4"}, {"variant": "v0"}, {"intents": ()}, {"windows": ()}, {"dim": 15}):
        with pytest.raises(ValueError, match=r"variant|v0|v3|multiple"):
            type(world.spec())(**{**vars(world.spec()), **changed})


def test_model_runs_where_torch_numpy_and_pyarrow_are() -> None:
    blocked = ["pyspark", "delta", "deltalake", "mlflow", "airflow", "pydantic", "pandas", "sklearn", "scipy"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); import pkgutil, importlib, intentrec.model as m; "
    )
    code += "[importlib.import_module(f'intentrec.model.{x.name}') for x in pkgutil.iter_modules(m.__path__)]"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_is_told_the_next_labels_and_nothing_else(seed: int) -> None:
    """By a loop over interactions, with ties: what ended next shares the weight; elsewhere the prediction stays."""
    _, _, encoded = world.model_of(world.spec(), world.random_sequences(seed))
    batch = encoded.pad(torch.arange(len(encoded)))
    for intent, labels in batch.label.items():
        classes = int(labels.max()) + 1
        p_BLC = torch.rand(*batch.title_BL.shape, classes)
        found_BLC = true_next(batch, intent, p_BLC)
        for row, length in enumerate(encoded.lengths.tolist()):
            for k in range(length):
                following = [j for j in range(length) if int(batch.known_BL[row, j]) == k + 1]
                told = torch.zeros(classes)
                for j in following:
                    present = labels[row, j][labels[row, j] >= 0]
                    told[present] += 1 / max(1, len(present))
                expected_C = told / told.sum() if told.sum() else p_BLC[row, k]
                torch.testing.assert_close(found_BLC[row, k], expected_C)
