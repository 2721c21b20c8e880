"""Counts by a slow loop, factors by numpy's own decomposition, and no leak from the validation days."""

import math
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from intentrec.config import Domain
from intentrec.inference.predictor import Predictor
from intentrec.model.features import Encoded
from intentrec.model.vocabulary import FIRST
from intentrec.training import cooccurrence as module
from intentrec.training.cooccurrence import cooccurrence, factors, mutual_information, neighbours
from intentrec.training.loop import fit
from intentrec.training.prepare import load, prepare
from tests.model import world
from tests.model.world import NO_TITLE_FACTS
from tests.registry.world import domain_of

WEEKS, TITLES = 3, 24
CUTOFF = (world.START + timedelta(weeks=WEEKS)).date()


@pytest.fixture(scope="module")
def sequences() -> pa.Table:
    return world.learnable_weeks(5, 30, WEEKS, TITLES)


def prepared(streaming: Domain, sequences: pa.Table, folder: Path):  # type: ignore[no-untyped-def]
    domain = domain_of(streaming, training={"title_start": "covisitation"})
    prepare(domain, sequences, world.catalog(TITLES + 5), NO_TITLE_FACTS, CUTOFF, folder)
    return load(folder)


def slow(encoded: Encoded, titles: int) -> np.ndarray:
    """Every target with each of the 20 interactions before it, 0.9 for each step away."""
    found = np.zeros((titles, titles))
    ends = encoded.offsets.tolist()
    for begin, end in pairwise(ends):
        row = (encoded.flat.title_BL[begin:end] - FIRST).tolist()
        target = encoded.flat.target_BL[begin:end].tolist()
        for k in range(len(row)):
            for i in range(max(0, k - 20), k):
                if target[k] and row[i] >= 0 and row[k] >= 0:
                    found[row[i], row[k]] += 0.9 ** (k - i - 1)
                    found[row[k], row[i]] += 0.9 ** (k - i - 1)
    return found


@pytest.mark.parametrize("rows", [5_000, 7])
def test_counts_and_factors(
    streaming: Domain, sequences: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    data = prepared(streaming, sequences, tmp_path)
    titles = len(data.count_I)
    counts = slow(data.train, titles)
    np.testing.assert_allclose(cooccurrence(data.train, titles).toarray(), counts)
    information = np.zeros_like(counts)
    for i, j in zip(*counts.nonzero(), strict=True):
        information[i, j] = max(0.0, math.log(counts[i, j] * counts.sum() / (counts[i].sum() * counts[j].sum())))
    np.testing.assert_allclose(mutual_information(cooccurrence(data.train, titles)).toarray(), information)
    u, s, _ = np.linalg.svd(information)
    best = (u[:, :8] * s[:8]) @ u[:, :8].T
    ours = factors(cooccurrence(data.train, titles), 8, seed=1).double().numpy()
    scale = titles / (s[:8] * (u[:, :8] ** 2)).sum()
    np.testing.assert_allclose(ours @ ours.T, best * scale, atol=1e-4)
    assert (ours**2).sum(1).mean() == pytest.approx(1)


def test_a_title_that_was_never_engaged_begins_at_zero(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    data = prepared(streaming, sequences, tmp_path)
    assert data.start_ID.shape == (TITLES + 5, 16)
    never = [i for i, title in enumerate(data.vocabulary.titles) if title >= world.title(TITLES)]
    assert len(never) == 5
    assert float(data.start_ID[never].abs().max()) < 1e-6
    assert float(data.start_ID.abs().sum()) > 1


def test_the_nearest_titles(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    data = prepared(streaming, sequences, tmp_path)
    titles = len(data.count_I)
    counts = slow(data.train, titles)
    found = data.neighbours
    kept = found.title_IK.shape[1]
    for i in range(titles):
        similarity = {j: counts[i, j] / math.sqrt(counts[i].sum() * counts[j].sum()) for j in counts[i].nonzero()[0]}
        best = sorted((j for j in similarity if j != i), key=lambda j: (-round(similarity[j], 9), j))[:kept]
        n = len(best)
        assert found.title_IK[i, :n].tolist() == best
        assert found.similarity_IK[i, :n].tolist() == pytest.approx([similarity[j] for j in best], rel=1e-6)
        assert found.cooccurrence_IK[i, :n].tolist() == pytest.approx([counts[i, j] for j in best], rel=1e-6)
        assert (found.title_IK[i, n:] == -1).all()
    assert (found.title_IK >= 0).any()


def test_validation_targets_say_nothing(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    """Other titles on the validation days, and the embeddings begin at the same place."""
    begin = world.START + timedelta(weeks=WEEKS) - timedelta(days=streaming.training.validation_days)
    changed = sequences.to_pylist()
    for row in changed:
        late = [end >= begin for end in row["end_ts"]]
        row["title_id"] = [world.title(3) if is_late else t for is_late, t in zip(late, row["title_id"], strict=True)]
    other = world.table(changed)
    assert other != sequences
    one, two = (prepared(streaming, rows, tmp_path / str(i)) for i, rows in enumerate((sequences, other)))
    assert one.vocabulary.titles == two.vocabulary.titles
    torch.testing.assert_close(one.start_ID, two.start_ID)
    torch.testing.assert_close(vars(one.neighbours), vars(two.neighbours))


def test_training_begins_there(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    """With a learning rate of next to nothing the embeddings stay where they began, up to the little chance."""
    domain = domain_of(
        streaming, training={"title_start": "covisitation", "learning_rate": 1e-9, "epochs": 1, "tokens": 4096}
    )
    found = fit(domain, sequences, world.catalog(TITLES + 5), NO_TITLE_FACTS, CUTOFF, tmp_path / "fit")
    ids = Predictor.load(found.directory).model.titles.id[FIRST:]
    start = prepared(streaming, sequences, tmp_path / "data").start_ID
    cosine = torch.nn.functional.cosine_similarity(ids.detach(), start, dim=1)
    assert float(cosine.median()) > 0.95


def test_few_titles_or_none_that_co_occur(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    data = prepared(streaming, sequences, tmp_path)
    alone = data.train.with_targets(torch.zeros_like(data.train.flat.target_BL))
    assert not factors(cooccurrence(alone, len(data.count_I)), 8, seed=1).any()
    assert factors(cooccurrence(data.train, len(data.count_I)), 64, seed=1).shape == (len(data.count_I), 64)
    assert (neighbours(cooccurrence(alone, len(data.count_I)), 3).title_IK == -1).all()
