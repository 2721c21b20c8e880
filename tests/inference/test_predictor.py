"""Predictions against the model itself and against plain loops."""

from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.inference.predictor import PREDICTIONS, ItemIndex, Predictor
from intentrec.model.scores import Logits, ranks, top
from intentrec.model.titles import titles_of
from intentrec.model.vocabulary import FIRST
from intentrec.training.checkpoint import read_model
from intentrec.training.loop import fit
from intentrec.training.settings import with_variant
from tests.model import world
from tests.model.world import NO_TITLE_FACTS
from tests.registry.world import domain_of
from tests.training.next_events import score_positions

WEEKS = 3
CUTOFF = (world.START + timedelta(weeks=WEEKS)).date()
TITLES, LATER = 24, 30  # titles 24 to 29 come after training


@pytest.fixture(scope="module")
def directory(streaming: Domain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sequences = world.learnable_weeks(5, 40, WEEKS, TITLES)
    folder = tmp_path_factory.mktemp("fit")
    return fit(
        domain_of(streaming), sequences, world.catalog(TITLES), NO_TITLE_FACTS, CUTOFF, folder, lambda line: None
    ).directory


@pytest.fixture(scope="module")
def predictor(directory: Path) -> Predictor:
    return Predictor.load(directory)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Other users, of different lengths, some of whose titles the model never saw."""
    return world.random_sequences(9, users=30, titles=LATER, longest=20)


@pytest.fixture(scope="module")
def items(predictor: Predictor) -> ItemIndex:
    return predictor.items(world.catalog(LATER), NO_TITLE_FACTS, CUTOFF)


@torch.no_grad()
def test_predictions_are_the_model_row_by_row(predictor: Predictor, rows: pa.Table, items: ItemIndex) -> None:
    """User vector, logit biases, scores, order, labels, attention; dot product and logit biases are the logit."""
    found = predictor.predict(rows, items, 5, top_labels=2)
    assert found.schema.equals(PREDICTIONS)
    vectors = dict(zip(items.title_ids.to_pylist(), items.vectors, strict=True))
    published = {row["title_id"]: row["vector"] for row in predictor.item_vectors(items).to_pylist()}
    assert published.keys() == vectors.keys()
    for i, answer in enumerate(found.to_pylist()):
        one = rows.slice(i, 1)
        assert answer["user_id"] == one["user_id"][0].as_py()
        assert answer["account_id"] == one["account_id"][0].as_py()
        output = predictor.model(predictor.encoder.encode(one).pad(torch.tensor([0])))
        user = output.item_BLD[0, -1]
        assert answer["user_vector"] == pytest.approx(user.tolist(), abs=1e-5)
        logit_bias = dict(answer["logit_bias"])
        last = {title: k for k, title in enumerate(one["title_id"][0].as_py())}
        bias_L = output.bias_BLL[0, -1]
        kept = {title: float(bias_L[k]) for title, k in last.items() if title in vectors and bias_L[k]}
        for title, value in near(predictor, one["title_id"][0].as_py(), output.neighbour_weight_BLW[0, -1].tolist()):
            if title in vectors:
                kept[title] = kept.get(title, 0.0) + value
        assert logit_bias == pytest.approx(kept, abs=1e-5)
        logits = {title: float(vector @ user) + logit_bias.get(title, 0.0) for title, vector in vectors.items()}
        assert answer["scores"] == pytest.approx(sorted(logits.values(), reverse=True)[:5], abs=1e-5)
        for title, score in zip(answer["title_ids"], answer["scores"], strict=True):
            dot = np.dot(answer["user_vector"], published[title])
            assert dot + logit_bias.get(title, 0.0) == pytest.approx(score, abs=1e-5)
            assert logits[title] == pytest.approx(score, abs=1e-5)
        attention = dict(answer["attention"])
        assert list(attention) == list(predictor.labels)
        assert list(attention.values()) == pytest.approx(output.attention_BLM[0, -1].tolist(), abs=1e-5)
        assert answer["primary_intent"] == max(attention, key=lambda name: attention[name])
        assert answer["intent_embedding"] == pytest.approx(output.z_BLP[0, -1].tolist(), abs=1e-5)
        for name, labels in dict(answer["top_labels"]).items():
            p = output.intent_logit[name][0, -1].softmax(-1)
            by_label = sorted(zip(p.tolist(), predictor.labels[name], strict=True), key=lambda pair: -pair[0])[:2]
            assert labels == [label for _, label in by_label]
            assert dict(answer["top_probabilities"])[name] == pytest.approx([p for p, _ in by_label], abs=1e-5)


def near(predictor: Predictor, history: list[str], weights: list[float]) -> list[tuple[str, float]]:
    """Logit biases of the neighbours of the last interactions."""
    known, path = predictor.vocabulary.titles, predictor.model.neighbours
    found = []
    for title, weight in zip(history[::-1], weights, strict=False):
        if title in known:
            row = FIRST + known.index(title)
            near = zip(path.title_VK[row].tolist(), path.similarity_VK[row].tolist(), strict=True)
            found += [(known[number], weight * similarity) for number, similarity in near if number >= 0]
    return found


def test_seen_titles_are_left_out_on_request(predictor: Predictor, rows: pa.Table, items: ItemIndex) -> None:
    everything = predictor.predict(rows, items, LATER).to_pylist()
    unseen = predictor.predict(rows, items, LATER, lists="new").to_pylist()
    for row, all_of_them, left in zip(rows.to_pylist(), everything, unseen, strict=True):
        assert len(all_of_them["title_ids"]) == LATER
        assert left["title_ids"] == [title for title in all_of_them["title_ids"] if title not in row["title_id"]]
        assert len(left["scores"]) == len(left["title_ids"]) == LATER - len(set(row["title_id"]))


@pytest.mark.parametrize("top_k", [1, 4, LATER])
def test_known_and_new_titles_fill_a_list_each(
    predictor: Predictor, rows: pa.Table, items: ItemIndex, top_k: int
) -> None:
    everything = predictor.predict(rows, items, LATER).to_pylist()
    both = predictor.predict(rows, items, top_k, lists="known_and_new").to_pylist()
    for row, all_of_them, found in zip(rows.to_pylist(), everything, both, strict=True):
        ranked, seen = all_of_them["title_ids"], set(row["title_id"])
        known = [title for title in ranked if title in seen][:top_k]
        new = [title for title in ranked if title not in seen][:top_k]
        assert found["title_ids"] == sorted(known + new, key=ranked.index)
        assert found["scores"] == pytest.approx([all_of_them["scores"][ranked.index(t)] for t in found["title_ids"]])


def test_only_titles_on_offer_are_recommended(predictor: Predictor, rows: pa.Table) -> None:
    """The service day in Los Angeles begins at 11:00 UTC: what opens an hour later is not offered yet."""
    catalog = world.catalog(LATER).to_pylist()
    opening = world.START + timedelta(weeks=WEEKS)
    for item in catalog:
        i = int(item["title_id"][1:])
        item["available_from"] = opening + timedelta(hours=1) if i % 3 == 1 else opening
        item["available_to"] = opening if i % 3 == 2 else opening + timedelta(seconds=1)
    table = pa.Table.from_pylist(catalog, schema=world.catalog(1).schema)
    items = predictor.items(table, NO_TITLE_FACTS, CUTOFF)
    offered = {world.title(i) for i in range(0, LATER, 3)}
    assert len(items.title_ids) == LATER
    assert set(items.only_eligible().title_ids.to_pylist()) == offered
    for answer in predictor.predict(rows, items, LATER).to_pylist():
        assert set(answer["title_ids"]) == offered
    assert set(predictor.item_vectors(items)["title_id"].to_pylist()) == offered
    none = predictor.items(table, NO_TITLE_FACTS, date(2020, 1, 1))
    assert predictor.predict(rows, none, 5, lists="new")["title_ids"].to_pylist() == [[]] * len(rows)


def test_titles_released_after_training_are_ranked_by_their_facts(
    predictor: Predictor, rows: pa.Table, items: ItemIndex
) -> None:
    """They have no id embedding, their vectors differ by facts, and some user gets one."""
    ids = items.title_ids.to_pylist()
    new = [i for i, title in enumerate(ids) if title not in predictor.vocabulary.titles]
    assert len(new) == LATER - TITLES
    twin = predictor.items(
        pa.Table.from_pylist(
            [
                {**row, "title_id": f"x{row['title_id']}", "item_id": f"x{row['item_id']}"}
                for row in world.catalog(LATER).to_pylist()
            ],
            schema=world.catalog(1).schema,
        ),
        NO_TITLE_FACTS,
        CUTOFF,
    )
    twins = [twin.title_ids.to_pylist().index(f"x{ids[i]}") for i in new]
    torch.testing.assert_close(twin.vectors[twins], items.vectors[new])
    assert len(items.vectors[new].unique(dim=0)) > 1
    top_ten = predictor.predict(rows, items, 10)["title_ids"].to_pylist()
    assert {ids[i] for i in new} & {title for titles in top_ten for title in titles}


def test_equal_titles_are_not_recommended_in_the_order_of_their_ids(predictor: Predictor, rows: pa.Table) -> None:
    """Six titles that nobody has seen yet and of which the same is known have the same score for everybody."""
    known = world.catalog(TITLES).to_pylist()
    equal = [{**known[0], "item_id": f"new{i}", "title_id": f"new{i}"} for i in range(6)]
    items = predictor.items(
        pa.Table.from_pylist([*known, *equal], schema=world.catalog(1).schema), NO_TITLE_FACTS, CUTOFF
    )
    served = predictor.predict(rows, items, TITLES + 6)["title_ids"].to_pylist()
    new = [[title for title in titles if title.startswith("new")] for titles in served]
    by_hash = sorted(new[0], key=lambda title: blake2b(title.encode()).hexdigest())
    assert new == [by_hash] * len(rows)
    assert by_hash != sorted(by_hash)


@torch.no_grad()
def test_next_events_by_a_loop(predictor: Predictor, rows: pa.Table) -> None:
    """Each target from its own prefix alone, against the whole index, which lacks some of the titles."""
    items = predictor.items(world.catalog(LATER - 3), NO_TITLE_FACTS, CUTOFF)
    ids = items.title_ids.to_pylist()
    found = score_positions(predictor, rows, items)
    expected = []
    for i, row in enumerate(rows.to_pylist()):
        length = len(row["title_id"])
        for j in range(length - row["n_new"], length):
            known = sum(end < row["end_ts"][j] for end in row["end_ts"])
            if row["is_target"][j] and known:
                expected.append((i, j, known, row))
    assert found.position.tolist() == [j for _, j, _, _ in expected]
    assert found.n_titles == LATER - 3
    assert np.isinf(found.rank).any()
    assert any(known < j for _, j, known, _ in expected), "there are ties"
    for n, (i, at, known, row) in enumerate(expected):
        title = row["title_id"][at]
        assert found.user_id[n].as_py() == row["user_id"]
        assert found.title_id[n].as_py() == title
        assert found.end_ts[n].as_py() == row["end_ts"][at]
        assert found.weight[n] == pytest.approx(row["weight"][at])
        assert found.seen[n] == (title in row["title_id"][:at])
        batch = predictor.encoder.encode(rows.slice(i, 1)).pad(torch.tensor([0]))
        output = predictor.model(batch.map(lambda value, known=known: value[:, :known]))
        logits = (items.vectors @ output.item_BLD[0, -1]).tolist()
        for j, bias in enumerate(output.bias_BLL[0, -1].tolist()):
            if row["title_id"][j] in ids:
                logits[ids.index(row["title_id"][j])] += bias
        for near_title, value in near(predictor, row["title_id"][:known], output.neighbour_weight_BLW[0, -1].tolist()):
            if near_title in ids:
                logits[ids.index(near_title)] += value
        if title in ids:
            own = logits[ids.index(title)]
            better = sum(logit > own + 1e-5 for logit in logits)
            tied = sum(abs(logit - own) <= 1e-5 for logit in logits)
            assert better + 1 <= found.rank[n] <= better + tied
        else:
            assert np.isinf(found.rank[n])
        for intent in predictor.spec.intents:
            p = output.intent_logit[intent.name][0, -1].softmax(-1)
            assert found.probabilities[intent.name][n].tolist() == pytest.approx(p.tolist(), abs=1e-5)
        hot = {name: {predictor.labels[name][c] for c in np.flatnonzero(found.truth[name][n])} for name in found.truth}
        assert hot["genre"] == set(row["genres"][at])
        assert hot["action_type"] == {row["action_type"][at]} & set(predictor.labels["action_type"])
        assert bool(hot["age"]) == (row["release_age_days"][at] >= 0)


def test_ties_share_their_mean_rank() -> None:
    h = torch.tensor([[1.0], [1.0], [0.0]])
    items = torch.tensor([[3.0], [1.0], [1.0], [1.0], [0.0]])
    assert ranks(Logits(h, None), items, torch.tensor([0, 2, 4]), chunk=2).tolist() == [1.0, 3.0, 3.0]
    assert ranks(Logits(h[:0], None), items, torch.tensor([], dtype=torch.long), chunk=2).tolist() == []


def test_top_breaks_ties_in_column_order() -> None:
    score, column = top(torch.tensor([[1.0, 5.0, 5.0, 0.0], [2.0, 2.0, 2.0, 9.0]]), 3)
    assert score.tolist() == [[5.0, 5.0, 1.0], [9.0, 2.0, 2.0]]
    assert column[0].tolist() == [1, 2, 0]
    assert column[1].tolist() == [3, 0, 1]
    equal = torch.zeros(2, 100)
    equal[1, 60:] = 1.0
    assert top(equal, 10)[1].tolist() == [list(range(10)), list(range(60, 70))]
    assert top(equal, 50)[1].tolist() == [list(range(50)), [*range(60, 100), *range(10)]]
    assert top(torch.ones(1, 2), 5)[0].shape == (1, 2)


def test_rows_do_not_depend_on_their_order_or_batch(predictor: Predictor, rows: pa.Table, items: ItemIndex) -> None:
    whole = predictor.predict(rows, items, 3, lists="new")
    back = predictor.predict(rows.take(list(reversed(range(len(rows))))), items, 3, lists="new")
    assert back["user_id"].to_pylist() == whole["user_id"].to_pylist()[::-1]
    ours = np.array(whole["user_vector"].to_pylist())
    np.testing.assert_allclose(np.array(back["user_vector"].to_pylist())[::-1], ours, atol=1e-5)
    assert len(predictor.predict(rows.slice(0, 0), items, 3, lists="new")) == 0


def test_files_in_memory_are_the_same_model(
    predictor: Predictor, directory: Path, rows: pa.Table, items: ItemIndex, tmp_path: Path
) -> None:
    other = Predictor(read_model(directory))
    batch = rows.combine_chunks().to_batches()[0]
    again = other.predict(batch, other.items(world.catalog(LATER), NO_TITLE_FACTS, CUTOFF), 5, lists="new")
    assert again.equals(predictor.predict(rows, items, 5, lists="new"))
    with pytest.raises(PipelineError, match=r"model\.json.* missing"):
        Predictor.load(tmp_path)


def test_variants_without_a_mixture_have_no_embedding(streaming: Domain, rows: pa.Table, tmp_path: Path) -> None:
    sequences = world.learnable_weeks(5, 20, WEEKS, TITLES)
    for variant, heads in (("v0", 0), ("v1", 4)):
        domain = with_variant(domain_of(streaming, training={"epochs": 1}), variant)
        folder = tmp_path / variant
        plain = Predictor.load(
            fit(domain, sequences, world.catalog(TITLES), NO_TITLE_FACTS, CUTOFF, folder, lambda line: None).directory
        )
        items = plain.items(world.catalog(TITLES), NO_TITLE_FACTS, CUTOFF)
        answer = plain.predict(rows, items, 2).to_pylist()[0]
        assert answer["intent_embedding"] == []
        assert answer["attention"] == []
        assert answer["primary_intent"] == ""
        assert len(answer["top_labels"]) == heads
        assert len(score_positions(plain, rows, items).probabilities) == heads


def test_index_holds_every_title_of_the_catalogue(items: ItemIndex) -> None:
    assert sorted(items.title_ids.to_pylist()) == titles_of(world.catalog(LATER))["title_id"].to_pylist()
    assert items.vectors.shape[0] == LATER
    assert items.eligible.all()
