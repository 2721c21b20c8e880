"""The rank of the held-out title among its candidates: by hand, by plain loops, and against chance."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from intentrec.evaluation.candidates import Histories, Prefixes, Titles
from intentrec.evaluation.systems import ScoreSlices
from lab.leave_one_out import Sampled, everything, leave_one_out, unseen
from tests.evaluation.rows import sequences

TITLES = Titles.of("abcdefgh")


@dataclass(frozen=True)
class Scored:
    """A system that gives the same scores to everyone."""

    scores_N: np.ndarray

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        return lambda start, end: np.tile(self.scores_N, (end - start, 1))


class RandomScores:
    """A system with random scores of `count` titles."""

    def __init__(self, count: int) -> None:
        self.rng, self.count = np.random.default_rng(4), count

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        return lambda start, end: self.rng.random((end - start, self.count))


def fixed(order: str) -> Scored:
    """A system that ranks titles in this order for everyone."""
    return Scored(np.array([-order.index(title) for title in TITLES.ids.to_pylist()], float))


def test_ranks_by_hand() -> None:
    rows = pa.Table.from_batches([sequences({"u": list("ab"), "v": list("c"), "w": list("h")})])
    held_out = pa.array(["e", "b", "z"])
    systems = {"alphabet": fixed("abcdefgh")}
    full = leave_one_out(rows, held_out, TITLES, systems, everything)["alphabet"]
    assert full.per_user["mrr"] == pytest.approx([1 / 5, 1 / 2, 0])  # z is no candidate
    assert full.per_user["ndcg_at_10"] == pytest.approx([1 / np.log2(6), 1 / np.log2(3), 0])
    assert full.metrics["recall_at_10"] == pytest.approx(2 / 3)
    assert full.users.to_pylist() == ["u", "v", "w"]
    fresh = leave_one_out(rows, held_out, TITLES, systems, unseen)["alphabet"]
    assert fresh.per_user["mrr"] == pytest.approx([1 / 3, 1 / 2, 0])


def test_a_held_out_title_of_the_history_is_a_candidate() -> None:
    rows = pa.Table.from_batches([sequences({"u": list("ab")})])
    found = leave_one_out(rows, pa.array(["b"]), TITLES, {"it": fixed("abcdefgh")}, unseen)["it"]
    assert found.per_user["mrr"] == [1.0]  # a is seen and out


def test_sampled_titles_are_other_unseen_ones_and_the_same_in_any_order() -> None:
    batch = sequences({f"u{i}": list("ab") for i in range(40)})
    histories = Histories.of(batch, TITLES)
    held_out = TITLES.index(pa.array(["c"] * 40))
    users = batch.column(batch.schema.get_field_index("user_id"))
    mask = Sampled(3, seed=1)(histories, held_out, users, len(TITLES))
    assert (mask.sum(1) == 4).all()
    assert mask[:, TITLES.index(pa.array(["c"]))].all()
    assert not mask[:, TITLES.index(pa.array(["a", "b"]))].any()
    backwards = Sampled(3, seed=1)(histories, held_out, users[::-1], len(TITLES))
    np.testing.assert_array_equal(mask, backwards[::-1])
    assert (mask != Sampled(3, seed=2)(histories, held_out, users, len(TITLES))).any()
    assert (Sampled(99)(histories, held_out, users, len(TITLES)).sum(1) == 6).all()  # all that there are


def test_random_scores_hit_as_often_as_chance() -> None:
    titles = Titles.of([f"t{i}" for i in range(400)])
    n = 3000
    rows = pa.Table.from_batches([sequences({f"u{i}": [f"t{i % 400}"] for i in range(n)})])
    held_out = pa.array([f"t{(7 * i + 1) % 400}" for i in range(n)])
    systems = {"coin": RandomScores(len(titles))}
    found = leave_one_out(rows, held_out, titles, systems, Sampled(100))["coin"].metrics
    assert found["recall_at_10"] == pytest.approx(10 / 101, abs=4 * (0.1 * 0.9 / n) ** 0.5)


def test_rows_and_held_out_titles_must_match() -> None:
    rows = pa.Table.from_batches([sequences({"u": ["a"]})])
    for wrong in (rows, rows.slice(0, 0)):
        with pytest.raises(ValueError, match="one held-out title per row"):
            leave_one_out(wrong, pa.array(["a", "b"])[: 2 * len(wrong)], TITLES, {}, everything)
