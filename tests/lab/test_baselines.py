"""Every baseline: no future, no padding, tied titles, no facts if it is id-only, and it learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from intentrec.config import ROOT, Domain, load_domain
from intentrec.errors import PipelineError
from intentrec.inference.predictor import Predictor
from intentrec.model.features import Batch, Items, TargetPositions
from intentrec.model.loss import LossSettings
from intentrec.model.network import Network
from intentrec.model.scores import Logits, ranks
from intentrec.model.spec import ModelSpec
from intentrec.model.titles import titles_of
from intentrec.model.vocabulary import FIRST, Vocabulary
from intentrec.training.checkpoint import model_from, read_model, save_model
from intentrec.training.loop import fit
from intentrec.training.settings import model_spec, with_variant
from lab.baselines import BASELINES, build
from tests.lab.baseline_models import CAUSAL, CLOSE, all_rows, made, spec
from tests.model import world
from tests.model.world import NO_TITLE_FACTS
from tests.registry.world import domain_of

forms = pytest.mark.parametrize("id_only", [True, False], ids=["id-only", "facts"])
baselines = pytest.mark.parametrize("variant", BASELINES)


def outputs(model: Network, batch: Batch) -> list[Tensor]:
    """Every tensor of a baseline's output."""
    output = model(batch)
    assert output.z_BLP is None
    assert output.attention_BLM is None
    assert list(output.intent_logit) == [intent.name for intent in model.spec.intents]
    return [output.item_BLD, *output.intent_logit.values()]


@forms
@baselines
@torch.no_grad()
def test_the_future_and_the_padding_change_nothing(variant: str, id_only: bool) -> None:
    model, _, encoded = made(spec(variant, id_only), world.random_sequences(11, users=4, longest=20))
    batch = all_rows(encoded)
    row = int(encoded.lengths.argmax())
    before = outputs(model, batch)
    for cut in (1, 3, 7):
        later = batch.map(lambda value, cut=cut: torch.cat([value[:, :cut], value[:, cut:] * 0 + 1], 1))
        later = replace(later, valid_BL=batch.valid_BL)
        alone = batch.map(lambda value, cut=cut: value[row : row + 1, :cut])
        for ours, changed, short in zip(before, outputs(model, later), outputs(model, alone), strict=True):
            torch.testing.assert_close(changed[row, :cut], ours[row, :cut], **CLOSE)
            torch.testing.assert_close(short[0], ours[row, :cut], **CLOSE)


@forms
@baselines
@torch.no_grad()
def test_only_baselines_with_facts_depend_on_facts_and_time(variant: str, id_only: bool) -> None:
    model, _, encoded = made(spec(variant, id_only), world.random_sequences(12, users=3))
    batch = all_rows(encoded)
    facts = replace(
        batch,
        tokens={name: value.flip(0) for name, value in batch.tokens.items()},
        numeric_BLF=batch.numeric_BLF + 1,
    )
    moments = replace(
        batch,
        time_BL=batch.time_BL * 3,
        periodic_BLC=batch.periodic_BLC.flip(-1),
        gap_BL=(batch.gap_BL + 3).clamp(max=31),
    )
    expected = model(batch).item_BLD[batch.valid_BL]
    for changed in (facts, moments):
        same = torch.allclose(model(changed).item_BLD[batch.valid_BL], expected, atol=1e-6)
        assert same == id_only


@baselines
@torch.no_grad()
def test_titles_are_tied_and_later_ones_have_the_tower(variant: str) -> None:
    """One vector per title at the input and at the output; a title released after training differs by its facts."""
    sequences = world.random_sequences(3)
    model, encoder, _ = made(spec(variant), sequences)
    items = encoder.items(titles_of(world.catalog(40)))
    vectors = model.item_vectors(items)
    own = vectors[:, : model.spec.dim]
    later = items.title_I == 1
    assert int(later.sum()) == 40 - len(encoder.vocabulary.titles)
    assert len(vectors[later].unique(dim=0)) > 3
    assert not vectors[later, model.spec.dim :].any(), "a bias of its own"
    torch.testing.assert_close(own - model.titles.id[items.title_I] * ~later[:, None], tower(model, items), **CLOSE)
    batch = encoder.encode(sequences).pad(torch.tensor([0]))
    ids = titles_of(world.catalog(40))["title_id"].to_pylist()
    place = ids.index(sequences["title_id"][0].as_py()[0])
    torch.testing.assert_close(model.titles(batch.title_BL, batch.tokens)[0, 0], own[place], **CLOSE)


def tower(model: Network, items) -> Tensor:  # type: ignore[no-untyped-def]
    return model.item_vectors(replace(items, title_I=torch.ones_like(items.title_I)))[:, : model.spec.dim]


@pytest.mark.parametrize("variant", CAUSAL)
@torch.no_grad()
def test_loss_by_a_loop(variant: str) -> None:
    sequences = world.random_sequences(13, users=5)
    model, encoder, encoded = made(spec(variant), sequences)
    catalog = world.catalog_of(encoder, sequences)
    batch, items = all_rows(encoded), model.item_vectors(catalog)
    output = model(batch)
    parts = model.loss(batch, catalog, LossSettings())
    total = weights = 0.0
    for b, row in enumerate(sequences.to_pylist()):
        length = len(row["title_id"])
        for j in range(length - row["n_new"], length):
            k = sum(end < row["end_ts"][j] for end in row["end_ts"]) - 1
            if row["is_target"][j] and k >= 0:
                log_p = (items @ output.item_BLD[b, k]).log_softmax(0)
                truth = encoder.vocabulary.titles.index(row["title_id"][j])
                total -= row["weight"][k] * float(log_p[truth])
                weights += row["weight"][k]
    assert float(parts.sums["item"]) == pytest.approx(total, rel=1e-4)
    assert float(parts.weights["item"]) == pytest.approx(weights, rel=1e-5)
    assert set(parts.sums) == {"item", *(intent.name for intent in model.spec.intents)}


@forms
@baselines
def test_a_walk_through_the_catalogue_is_learned(variant: str, id_only: bool) -> None:
    """Nine times of ten the next title is one or two further, by user: ids alone tell."""
    sequences = world.learnable_weeks(5, 40, 2)
    chosen = spec(variant, id_only, length=50, layers=1, dropout=0.0, mask_share=0.3)
    model, encoder, encoded = made(chosen, sequences)
    catalog, batch = world.catalog_of(encoder, sequences), all_rows(encoded)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    torch.manual_seed(0)
    targets = batch.targets()
    targets = targets.part(targets.k_N > 3)  # earlier ones do not show how long the user's steps are
    found = 0.0
    for step in range(60 if variant != "bert4rec" else 200):
        optimizer.zero_grad()
        model.train().loss(batch, catalog, LossSettings()).loss().backward()
        optimizer.step()
        if step % 10 == 9 and (found := share_found(model.eval(), batch, targets, catalog)) > 0.6:
            return
    pytest.fail(f"the next title was the first in {found:.0%} of the lists")


@torch.no_grad()
def share_found(model: Network, batch: Batch, targets: TargetPositions, catalog: Items) -> float:
    """Share of the targets that have the largest score."""
    h_ND = model.at(batch, targets.row_N, targets.k_N).h_ND
    found = ranks(Logits(h_ND, None), model.item_vectors(catalog), targets.of(batch.title_BL) - FIRST, 99)
    return float((found == 1).double().mean())


@forms
@baselines
@torch.no_grad()
def test_a_saved_baseline_predicts_the_same(variant: str, id_only: bool, tmp_path: Path) -> None:
    model, encoder, encoded = made(spec(variant, id_only), world.random_sequences(2))
    about = {"spec": model.spec.to_dict(), "vocabulary": encoder.vocabulary.to_dict()}
    save_model(tmp_path, model.state_dict(), about)
    again, vocabulary, _ = model_from(read_model(tmp_path))
    assert type(again) is type(model)
    assert (again.spec, vocabulary) == (model.spec, encoder.vocabulary)
    for ours, theirs in zip(outputs(model, all_rows(encoded)), outputs(again, all_rows(encoded)), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("variant", "id_only"), [("gru", True), ("sasrec", True), ("bert4rec", False)])
def test_a_baseline_trains_and_predicts_like_any_model(
    streaming: Domain, tmp_path: Path, variant: str, id_only: bool
) -> None:
    weeks = 3
    sequences = world.learnable_weeks(5, 40, weeks)
    cutoff = max(sequences["as_of"].to_pylist())
    # BERT4Rec hides other positions in each epoch, so its loss falls unsteadily.
    domain = with_variant(domain_of(streaming, training={"epochs": 8, "patience": 8}), variant, id_only)
    result = fit(domain, sequences, world.catalog(24), NO_TITLE_FACTS, cutoff, tmp_path, lambda line: None)
    assert result.history[-1]["train_item"] < result.history[0]["train_item"]
    predictor = Predictor.load(result.directory)
    items = predictor.items(world.catalog(30), NO_TITLE_FACTS, cutoff)
    rows = world.random_sequences(9, users=10, titles=30)
    predictions = predictor.predict(rows, items, 5).to_pylist()
    vectors = dict(zip(items.title_ids.to_pylist(), items.vectors, strict=True))
    for prediction in predictions:
        score = [float(torch.tensor(prediction["user_vector"]) @ vectors[title]) for title in prediction["title_ids"]]
        assert score == pytest.approx(prediction["scores"], abs=1e-4)
        assert score == sorted(score, reverse=True)


@baselines
def test_a_baseline_is_for_comparison_and_not_for_the_domain_file(
    streaming: Domain, tmp_path: Path, variant: str
) -> None:
    compared = with_variant(streaming, variant)
    spec = model_spec(compared)
    assert (spec.variant, spec.windows) == (variant, ())
    assert spec.history_path == (variant in ("gru", "sasrec")), "a part of the domain file"
    assert bool(spec.intents) == (variant not in ("sasrec", "bert4rec"))
    assert spec.length == streaming.sequences.length
    alone = model_spec(with_variant(streaming, variant, id_only=True))
    assert alone.id_only
    assert not alone.history_path
    assert not spec.id_only
    assert ModelSpec.from_dict(alone.to_dict()) == alone
    text = (ROOT / "conf" / "streaming.yaml").read_text()
    path = tmp_path / "streaming.yaml"
    path.write_text(text.replace("  variant: v4", f"  variant: {variant}"))
    assert path.read_text() != text
    with pytest.raises(PipelineError, match=f"model.variant: .*'{variant}' is none of v0, v1, v2, v3"):
        load_domain(path)


def test_settings_of_baselines_come_from_the_domain(streaming: Domain) -> None:
    chosen = model_spec(with_variant(domain_of(streaming, model={"mask_share": 0.4, "recent": 7}), "transact"))
    assert (chosen.mask_share, chosen.recent) == (0.4, 7)


def test_sasrec_begins_as_its_code_does() -> None:
    """Glorot's variance over the whole table: 2 / (titles + dim)."""
    vocabulary = Vocabulary(tuple(f"t{i}" for i in range(3_998)), 3_998, {}, {})
    titles = build(spec("sasrec", id_only=True, dim=64), vocabulary).titles.id[FIRST:]
    assert float(titles.var()) == pytest.approx(2 / (4_000 + 64), rel=0.02)


def test_more_interactions_than_positions_are_refused() -> None:
    sequences = world.random_sequences(11, users=4, longest=20)
    model, _, encoded = made(spec("sasrec", id_only=True, length=5), sequences)
    with pytest.raises(ValueError, match="the model has 5 positions"):
        model(all_rows(encoded))


PARTS = {"history_path": True, "decayed_counts": True, "title_state": True, "dated_facts": True}


@pytest.mark.parametrize("variant", ["gru", "sasrec"])
@torch.no_grad()
def test_baselines_may_have_the_parts_of_intentrec(variant: str) -> None:
    """Their logits are those without parts, plus what IntentRec's own tests check part by part."""
    sequences = world.random_sequences(21, users=4, longest=20)
    plain, _, _ = made(spec(variant), sequences)
    model, _, encoded = made(spec(variant, **PARTS), sequences)
    model.load_state_dict(plain.state_dict(), strict=False)
    batch = all_rows(encoded)
    before, after = plain(batch), model(batch)
    dim = model.spec.dim
    torch.testing.assert_close(after.item_BLD[..., :dim], before.item_BLD)
    torch.testing.assert_close(after.item_BLD[..., dim:], model.dated(model.encode(batch)))
    assert before.bias_BLL is None
    assert after.bias_BLL[batch.valid_BL].abs().sum() > 0
    short = model(batch.map(lambda value: value[:, :4]))
    torch.testing.assert_close(short.bias_BLL, after.bias_BLL[:, :4, :4], **CLOSE)
