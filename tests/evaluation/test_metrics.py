"""Metrics against scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from intentrec.evaluation.metrics import calibration_error, pair_ranks, per_event, per_user, top_masks


def loop_rank(scores: list[float], wanted: int) -> float:
    """Place in a list sorted by score, ties in column order."""
    if wanted < 0 or scores[wanted] == -math.inf:
        return math.inf
    return 1 + sorted(range(len(scores)), key=lambda j: (-scores[j], j)).index(wanted)


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    rows, titles = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    values = st.sampled_from([0.0, 0.5, 1.0, 2.0, -math.inf])
    cells = draw(st.lists(st.lists(values, min_size=titles, max_size=titles), min_size=rows, max_size=rows))
    return np.array(cells)


@given(tables(), st.data())
@settings(max_examples=60)
def test_ranks_equal_a_sorted_list(scores: np.ndarray, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(scores) - 1), max_size=10)), dtype=np.int64)
    wanted = np.array([data.draw(st.integers(-1, scores.shape[1] - 1)) for _ in rows], dtype=np.int64)
    assert pair_ranks(scores, rows, wanted).tolist() == [
        loop_rank(scores[r].tolist(), t) for r, t in zip(rows, wanted, strict=True)
    ]


@given(tables(), st.integers(0, 14))
@settings(max_examples=60)
def test_top_is_what_ranks_within_k(scores: np.ndarray, k: int) -> None:
    mask = top_masks(scores, (20, k))[k]
    for row, chosen in zip(scores.tolist(), mask, strict=True):
        assert chosen.tolist() == [loop_rank(row, j) <= k for j in range(len(row))]


@pytest.mark.parametrize("k", [10, 20])
def test_ndcg_equals_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((30, 50))
    relevant = rng.random((30, 50)) < 0.15
    relevant[:, 0] = True
    users, titles = np.nonzero(relevant)
    found = per_user(users, pair_ranks(scores, users, titles), len(scores))
    wanted = [ndcg_score([relevant[u].astype(int)], [scores[u]], k=k) for u in range(len(scores))]
    np.testing.assert_allclose(found[f"ndcg_at_{k}"], wanted)


def test_several_relevant_titles_by_hand() -> None:
    users = np.array([0, 0, 0, 1, 3])
    ranks = np.array([1.0, 11.0, math.inf, 12.0, 2.0])
    found = per_user(users, ranks, 4)
    assert found["mrr"].tolist() == [1.0, 1 / 12, 0.0, 0.5]
    assert found["recall_at_10"].tolist() == [1 / 3, 0.0, 0.0, 1.0]
    assert found["recall_at_20"].tolist() == [2 / 3, 1.0, 0.0, 1.0]
    assert found["hit_at_10"].tolist() == [1.0, 0.0, 0.0, 1.0]
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found["ndcg_at_10"] == pytest.approx([1 / ideal, 0.0, 0.0, 1 / math.log2(3)])


def test_one_relevant_title_by_hand() -> None:
    found = per_event(np.array([1.0, 3.0, 15.0, math.inf]))
    assert found["mrr"].tolist() == [1.0, 1 / 3, 1 / 15, 0.0]
    assert found["recall_at_10"].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert found["recall_at_20"].tolist() == [1.0, 1.0, 1.0, 0.0]
    assert found["ndcg_at_10"].tolist() == [1.0, 0.5, 0.0, 0.0]


def test_calibration_error_by_hand() -> None:
    """Bin .2 to .3: mean .25 against .5; bin .9 to 1: .95 against 1, and 1.0 belongs to it."""
    probability, truth = np.array([0.22, 0.28, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    assert calibration_error(probability, truth) == pytest.approx((2 * 0.25 + 2 * 0.05) / 4)
