"""Markov chain and item-kNN against plain loops over users."""

from collections import Counter, defaultdict
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from intentrec.evaluation.candidates import Prefixes, Titles
from intentrec.evaluation.naive_baselines import (
    MARKOV,
    NeighbourMethod,
    TitleNeighbours,
    learn_neighbours,
    popularity,
)
from tests.evaluation.rows import sequences
from tests.model import world

ITEM_KNN = NeighbourMethod(10, 0.8, 0.5)
METHODS = [MARKOV, ITEM_KNN, NeighbourMethod(3, 0.5, 0.0), NeighbourMethod(4, 1.0, 0.3)]
TITLES = Titles.of("abcdefgh")
POPULAR = popularity(TITLES.index(pa.array(list("aaabbc"))), len(TITLES))


def learned(method: NeighbourMethod, *batches: pa.RecordBatch, **limits: int) -> TitleNeighbours:
    return learn_neighbours(batches, TITLES, {"it": method}, **limits)["it"]


def best(baseline: TitleNeighbours, prefix: str, titles: Titles = TITLES) -> str:
    """Titles best first after a prefix."""
    popular_N = popularity(titles.index(pa.array(list("aaabbc"))), len(titles))
    batch = sequences({"u": list(prefix)})
    scores = baseline.over(titles, popular_N).title_scores(Prefixes.whole(batch))(0, 1)[0]
    return "".join(titles.ids.to_pylist()[j] for j in np.argsort(-scores, kind="stable"))


def by_popularity(but: str = "") -> str:
    order = np.argsort(-POPULAR, kind="stable")
    return "".join(title for title in (TITLES.ids.to_pylist()[j] for j in order) if title not in but)


def test_markov_chain_orders_by_how_often_a_title_followed_the_last_one() -> None:
    rows = sequences({"u": list("acacad"), "v": list("ae"), "w": list("hb")}, n_new=9)
    baseline = learned(MARKOV, rows)
    assert best(baseline, "bda") == "c" + "".join(t for t in by_popularity() if t in "de") + by_popularity("cde")
    assert best(baseline, "g") == by_popularity()  # nothing ever followed it


def test_only_new_targets_are_learned_but_any_interaction_may_precede_them() -> None:
    rows = sequences({"u": list("abcd")}, n_new=2, targets={"u": [True, True, False, True]})
    assert best(learned(MARKOV, rows), "b") == by_popularity()  # c is no target
    assert best(learned(MARKOV, rows), "a") == by_popularity()  # b is not new
    assert best(learned(MARKOV, rows), "c") == "d" + by_popularity("d")


def test_the_lines_of_a_basket_are_not_neighbours_of_each_other() -> None:
    """d, e and f ended together: each follows c, and none follows another."""
    hours = [world.START + timedelta(hours=h) for h in (0, 1, 2, 2, 2)]
    baseline = learned(MARKOV, sequences({"u": list("bcdef")}, n_new=5, end_ts={"u": hours}))
    assert set(best(baseline, "c")[:3]) == set("def")
    assert best(baseline, "d") == best(baseline, "e") == by_popularity()


def test_a_title_that_is_no_longer_on_offer_still_has_neighbours() -> None:
    baseline = learned(MARKOV, sequences({"u": list("hd")}, n_new=2))
    assert best(baseline, "h", Titles.of("abd")).startswith("d")


def random_rows(seed: int) -> tuple[dict[str, list[str]], dict[str, list[bool]]]:
    rng = np.random.default_rng(seed)
    histories = {f"u{i}": [str(t) for t in rng.choice(list("abcdefgz"), rng.integers(1, 16))] for i in range(20)}
    return histories, {user: [bool(x) for x in rng.random(len(titles)) < 0.8] for user, titles in histories.items()}


@pytest.mark.parametrize("method", METHODS)
def test_tables_and_scores_equal_a_plain_loop(method: NeighbourMethod) -> None:
    histories, targets = random_rows(5)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for user, titles in histories.items():
        for k in range(max(1, len(titles) - 6), len(titles)):
            for ago in range(1, min(k, method.window) + 1):
                if targets[user][k] and "z" not in (titles[k - ago], titles[k]):
                    counts[titles[k - ago]][titles[k]] += method.decay ** (ago - 1)
    exponent = method.popularity_exponent
    if exponent:
        of_row = {i: sum(found.values()) for i, found in counts.items()}
        of_column = {j: sum(found[j] for found in counts.values()) for j in "abcdefg"}
        counts = {
            i: {j: v / (of_row[i] * of_column[j]) ** exponent for j, v in found.items()} for i, found in counts.items()
        }

    rows = sequences(histories, n_new=6, targets=targets)
    baseline = learned(method, rows.slice(0, 7), rows.slice(7))
    scores = baseline.over(TITLES, POPULAR).title_scores(Prefixes.whole(rows))(0, len(rows))
    for found, titles in zip(scores, histories.values(), strict=True):
        inside = [(t, method.decay**ago) for ago, t in enumerate(titles[::-1][: method.window])]
        for j, title in enumerate(TITLES.ids.to_pylist()):
            score = sum(weight * counts.get(t, {}).get(title, 0.0) for t, weight in inside)
            assert found[j] == pytest.approx(1 + score if score else POPULAR[j], abs=2e-6)


def test_each_title_keeps_its_nearest_neighbours_also_with_little_memory() -> None:
    histories, targets = random_rows(6)
    rows = sequences(histories, n_new=20, targets=targets)
    whole = learned(MARKOV, rows, kept=2)
    assert np.diff(whole.similarity_KK.indptr).max() == 2
    everything = learned(MARKOV, rows).similarity_KK.toarray()
    for kept, found in zip(whole.similarity_KK.toarray(), everything, strict=True):
        assert sorted(kept)[-2:] == sorted(found)[-2:]
    # 8 titles have no more than 8 followers, so forgetting all but 4 x 2 in between forgets nothing.
    tight = learned(MARKOV, rows.slice(0, 9), rows.slice(9), kept=2, pairs=1)
    assert (tight.similarity_KK != whole.similarity_KK).nnz == 0


def test_without_training_rows_both_are_popularity() -> None:
    for baseline in learn_neighbours([], TITLES, {"markov": MARKOV, "item_knn": ITEM_KNN}).values():
        assert best(baseline, "abc") == by_popularity()
