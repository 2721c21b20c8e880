"""Naive baselines, the week ahead and the next event, by hand."""

import math
import random
from collections import Counter
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from intentrec.config import Intent
from intentrec.evaluation.candidates import Histories, Prefixes, Titles
from intentrec.evaluation.naive_baselines import (
    HISTORY_RULES,
    HistoryBaseline,
    label_counts,
    majority,
    most_frequent,
    popularity,
    repeat_last,
)
from intentrec.evaluation.next_event import next_event
from intentrec.evaluation.systems import IntentProbabilities, ScoreSlices, System
from intentrec.evaluation.targets import Targets, targets_ended
from intentrec.evaluation.week_ahead import week_ahead
from tests.evaluation.rows import sequences
from tests.model import world

TITLES = Titles.of("abcdef")


def order(scores: np.ndarray) -> str:
    """Titles best first."""
    return "".join(TITLES.ids.to_pylist()[j] for j in np.argsort(-scores, kind="stable"))


def popular(text: str) -> np.ndarray:
    return popularity(TITLES.index(pa.array(list(text))), len(TITLES))


def baseline(name: str, popular_N: np.ndarray) -> HistoryBaseline:
    """A naive baseline over all titles."""
    return HistoryBaseline(HISTORY_RULES[name], TITLES, popular_N)


class Heads:
    """Label probabilities that do not depend on the prefixes."""

    def __init__(self, **heads: tuple[list[str], list[list[float]]]) -> None:
        self.heads = {name: IntentProbabilities(labels, np.array(p)) for name, (labels, p) in heads.items()}

    def intent_probabilities(self, prefixes: Prefixes) -> dict[str, IntentProbabilities]:
        return self.heads


def targets(**wanted: str) -> pa.Table:
    """Engaged titles per user; a capital letter is a new title."""
    pairs = [(user, title) for user, titles in wanted.items() for title in titles]
    return pa.table(
        {
            "user_id": [user for user, _ in pairs],
            "title_id": [title.lower() for _, title in pairs],
            "release_age_days": [3.0 if title.isupper() else 100.0 for _, title in pairs],
        }
    )


def test_titles_are_in_hash_order_and_found_again() -> None:
    assert sorted(TITLES.ids.to_pylist()) == list("abcdef") != TITLES.ids.to_pylist()
    assert Titles.of("fedcba").ids == TITLES.ids
    assert TITLES.index(TITLES.ids).tolist() == list(range(6))
    assert TITLES.index(pa.array(["z"])).tolist() == [-1]


def test_naive_baselines_order_titles() -> None:
    by_popularity = popular("aaabbcddddz")
    assert order(by_popularity)[:4] == "dabc"
    histories = Histories.of(sequences({"u": list("abbcbz")}), TITLES)
    assert order(repeat_last(histories, by_popularity)[0])[:4] == "bcad"
    twice = Histories.of(sequences({"u": list("cacbb")}), TITLES)
    assert order(most_frequent(twice, by_popularity)[0])[:4] == "bcad"


def test_majority_takes_the_first_of_equals() -> None:
    assert majority(Counter(b=2, a=2, c=1)) == "a"
    assert majority(Counter()) is None


def test_week_ahead_by_hand() -> None:
    snapshot = sequences({"u": list("ab"), "v": list("cdefab"), "idle": ["a"]})
    wanted = targets(u="bE", v="cz", stranger="a")
    systems = {"repeat_last": baseline("repeat_last", popular("ef"))}
    found = week_ahead([snapshot], wanted, TITLES, systems)["repeat_last"]
    assert found.users.to_pylist() == ["u", "v"]  # idle engaged nothing, the stranger has no snapshot
    ideal = 1 + 1 / math.log2(3)
    # u: b is last (rank 1), e is the most popular or second of the rest; v: c is its oldest (rank 6), z is unknown.
    e_rank = 2 + list(order(popular("ef"))).index("e") + 1
    ndcg_u = (1 + 1 / math.log2(1 + e_rank)) / ideal
    ndcg_v = (1 / math.log2(7)) / ideal
    assert found.per_user["ndcg_at_10"] == pytest.approx([ndcg_u, ndcg_v])
    assert found.metrics["ndcg_at_10"] == pytest.approx((ndcg_u + ndcg_v) / 2)
    assert found.metrics["recall_at_10"] == pytest.approx((1 + 0.5) / 2)
    assert found.metrics["reachable"] == 3 / 4
    assert found.metrics["recall_at_10_new"] == 1.0
    assert found.metrics["ndcg_at_10_cold"] == pytest.approx(ndcg_u)
    assert found.metrics["coverage_at_10"] == 1.0
    assert [found.metrics[name] for name in ("users", "users_cold", "users_unserved")] == [2, 1, 1]


def test_only_unseen_titles_are_relevant_and_ranked_if_the_domain_says_so() -> None:
    snapshot = sequences({"u": list("ab"), "v": list("ab")})
    systems = {"repeat_last": baseline("repeat_last", popular("ccd"))}
    found = week_ahead([snapshot], targets(u="bc", v="a"), TITLES, systems, seen_titles=False)["repeat_last"]
    assert found.users.to_pylist() == ["u"]  # v engaged nothing unseen
    assert found.metrics["mrr"] == 1.0
    assert found.metrics["coverage_at_10"] == 4 / 6  # a and b were seen by everyone
    both = week_ahead([snapshot], targets(u="bc", v="a"), TITLES, systems)["repeat_last"]
    assert both.metrics["ndcg_at_10_unseen"] == found.metrics["ndcg_at_10"]


def test_results_do_not_depend_on_how_users_are_cut_into_batches() -> None:
    snapshot = sequences({f"u{i}": list("abcdef"[i % 5 :]) for i in range(9)})
    wanted = targets(**{f"u{i}": "abcdef"[: 1 + i % 3] for i in range(9)})
    systems = {"most_frequent": baseline("most_frequent", popular("ab"))}
    whole = week_ahead([snapshot], wanted, TITLES, systems)["most_frequent"]
    cut = week_ahead([snapshot.slice(0, 4), snapshot.slice(4)], wanted, TITLES, systems)["most_frequent"]
    assert whole.metrics == pytest.approx(cut.metrics, nan_ok=True)
    assert whole.users == cut.users


def test_week_ahead_without_users_is_an_error() -> None:
    with pytest.raises(ValueError, match="no user of the snapshot"):
        week_ahead([sequences({"u": ["a"]})], targets(v="a"), TITLES, {})


def test_events_are_new_targets_with_a_prefix() -> None:
    batch = sequences({"u": list("abcd"), "v": list("ab")}, n_new=3, targets={"u": [True, True, False, True]})
    events = Targets.of(batch)
    found = list(zip(events.rows, events.ends, events.flat, events.last, strict=True))
    assert found == [(0, 1, 1, 0), (0, 3, 3, 2), (1, 1, 5, 4)]


def test_the_lines_of_a_basket_are_not_in_each_others_prefixes() -> None:
    """b and c ended together: both are predicted after a; the first basket, a alone, has no prefix."""
    hours = [world.START + timedelta(hours=h) for h in (0, 1, 1, 2)]
    events = Targets.of(sequences({"u": list("abcd")}, n_new=4, end_ts={"u": hours}))
    assert list(zip(events.ends, events.flat, events.last, strict=True)) == [(1, 1, 0), (1, 2, 0), (3, 3, 2)]


INTENTS = [
    Intent(name="action_type", column="action_type"),
    Intent(name="genre", column="genres"),
    Intent(name="age", column="release_age_days", bins=[7, 30], labels=["week", "month", "older"]),
]


class ByAction:
    """Given y it ranks a above b, given z it ranks d first."""

    lead_intent = "action_type"

    def title_scores_given(self, prefixes: Prefixes, label_E: pa.Array) -> ScoreSlices:
        ranked = {"y": ["a", "b"], "z": ["d"]}
        titles = TITLES.ids.to_pylist()
        score_EN = np.zeros((len(label_E), len(titles)))
        for e, label in enumerate(label_E.to_pylist()):
            for place, title in enumerate(ranked[label]):
                score_EN[e, titles.index(title)] = 9 - place
        return lambda start, end: score_EN[start:end]


class InOrder:
    """It ranks d, a, b, in this order, whatever came before."""

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        score_N = np.array(["bad".find(title) for title in TITLES.ids.to_pylist()], float)
        return lambda start, end: np.tile(score_N, (end - start, 1))


def test_next_event_by_hand() -> None:
    batch = sequences(
        {"u": list("abab"), "v": list("cd")},
        n_new=2,
        action_type={"u": ["x", "x", "y", "y"], "v": ["x", "z"]},
        genres={"u": [["k"], ["k"], ["k", "m"], []], "v": [["k"], ["m"]]},
        release_age_days={"u": [1.0, 7.0, 7.5, -1.0], "v": [5.0, 31.0]},
    )
    heads = Heads(
        action_type=(["x", "y"], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]),
        genre=(["k", "m"], [[0.3, 0.7], [0.9, 0.1], [0.8, 0.2]]),
        age=(["week", "month", "older"], [[0.1, 0.8, 0.1], [1.0, 0.0, 0.0], [0.1, 0.1, 0.8]]),
    )
    system = System(baseline("repeat_last", popular("d")), heads, ByAction())
    past = label_counts([batch], INTENTS)
    found = next_event([batch], TITLES, {"model": system}, INTENTS, past)
    ours = found["model"].metrics
    # Events: u's third (a after a b: rank 2), u's fourth (b after a b a: rank 2), v's second (d after c: rank 2).
    assert ours["next_mrr"] == 0.5
    assert ours["next_events"] == 3
    in_order = next_event([batch], TITLES, {"model": System(InOrder())}, INTENTS, past)["model"].metrics
    assert in_order["next_mrr_repeat"] == pytest.approx((1 / 2 + 1 / 3) / 2), "u's a and b, which u had before"
    assert in_order["next_mrr_explore"] == 1, "v's d"
    assert ours["next_mrr_given_intent"] == pytest.approx((1 + 1 / 2 + 1) / 3)  # a given y, b given y, d given z
    assert found["model"].users.to_pylist() == ["u", "v"]
    assert ours["intent_action_type_accuracy"] == pytest.approx(1 / 3)  # x for y, y for y, y for z
    assert ours["intent_action_type_accuracy_of_y"] == 0.5
    assert ours["intent_genre_accuracy"] == 0.5  # m of {k, m}; nothing known; k for m
    assert ours["intent_genre_ndcg"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert ours["intent_age_accuracy"] == 1.0  # month; unknown; older
    assert found["majority"].metrics["intent_action_type_accuracy"] == pytest.approx(2 / 3)  # y
    assert found["repeat_last_intent"].metrics["intent_action_type_accuracy"] == pytest.approx(1 / 3)
    assert found["repeat_last_intent"].metrics["intent_age_accuracy"] == 0.0


def test_all_lines_of_a_basket_have_the_same_last_intent() -> None:
    """The lines of u's second basket come after one of z, those of v's after one whose age is not known."""
    morning, noon = (world.START + timedelta(hours=hour) for hour in (8, 12))
    batch = sequences(
        {"u": list("abcd"), "v": list("abc")},
        n_new=3,
        end_ts={"u": [morning, noon, noon, noon], "v": [morning, noon, noon]},
        action_type={"u": ["z", "z", "y", "z"], "v": ["x", "x", "x"]},
        release_age_days={"u": [3.0, 3.0, 31.0, 3.0], "v": [-1.0, 3.0, 3.0]},
    )
    found = next_event([batch], TITLES, {}, INTENTS, {})["repeat_last_intent"].metrics
    assert found["intent_action_type_accuracy"] == pytest.approx(4 / 5)
    assert found["intent_age_accuracy"] == pytest.approx(2 / 5)


def test_repeat_last_intent_takes_the_label_of_the_last_target() -> None:
    """u's last target before y is x, whatever was skipped since; v had none, so that its last interaction counts."""
    batch = sequences(
        {"u": list("abcd"), "v": list("ab")},
        n_new=1,
        targets={"u": [True, False, False, True], "v": [False, True]},
        action_type={"u": ["x", "skip", "skip", "x"], "v": ["z", "z"]},
    )
    found = next_event([batch], TITLES, {}, INTENTS[:1], {})["repeat_last_intent"].metrics
    assert found["intent_action_type_accuracy"] == 1.0


def test_targets_equal_those_of_a_plain_loop() -> None:
    """Targets, what is known before each, the last of it and the last target of it; then only those of some hours."""
    dice = random.Random(8)
    for _ in range(20):
        histories = {f"u{n}": [dice.choice("abcde") for _ in range(dice.randrange(1, 9))] for n in range(3)}
        hours = {user: sorted(dice.randrange(6) for _ in each) for user, each in histories.items()}
        ended = {user: [world.START + timedelta(hours=hour) for hour in each] for user, each in hours.items()}
        is_target = {user: [dice.random() < 0.5 for _ in each] for user, each in histories.items()}
        batch = sequences(histories, n_new=4, targets=is_target, end_ts=ended)
        for first, last in ((None, None), (2, None), (None, 4), (2, 4)):
            bounds = [None if hour is None else world.START + timedelta(hours=hour) for hour in (first, last)]
            found, expected, begin = Targets.of(targets_ended(batch, *bounds)), [], 0
            for row, user in enumerate(histories):
                wanted = [
                    target and (first is None or hour >= first) and (last is None or hour < last)
                    for target, hour in zip(is_target[user], hours[user], strict=True)
                ]
                for k in range(max(0, len(wanted) - 4), len(wanted)):
                    known = [j for j in range(k) if hours[user][j] < hours[user][k]]
                    if wanted[k] and known:
                        last_target = max([j for j in known if wanted[j]], default=known[-1])
                        expected.append((row, len(known), begin + k, begin + known[-1], begin + last_target))
                begin += len(wanted)
            assert list(zip(*map(list, vars(found).values()), strict=True)) == expected


def test_next_event_per_user_is_the_mean_of_the_users_events() -> None:
    """Not the best of them: u's a and b have ranks of their own, v's d is the first."""
    batch = sequences({"u": list("abab"), "v": list("cd")}, n_new=2)
    by_popularity = popular("ddddcccaaeeb")
    ranked = order(by_popularity)
    system = System(baseline("popularity_7d", by_popularity))
    found = next_event([batch], TITLES, {"model": system}, [], {})["model"]
    ranks = {title: 1 + ranked.index(title) for title in "abd"}
    assert ranks["d"] == 1 < ranks["a"] < ranks["b"]
    assert found.per_user["mrr"].tolist() == pytest.approx([(1 / ranks["a"] + 1 / ranks["b"]) / 2, 1.0])
    gains = [1 / math.log2(1 + ranks[title]) for title in "ab"]
    assert found.per_user["ndcg_at_10"].tolist() == pytest.approx([sum(gains) / 2, 1.0])


def test_a_week_without_targets_is_an_error() -> None:
    with pytest.raises(ValueError, match="no target"):
        next_event([sequences({"u": ["a"]}, n_new=1)], TITLES, {}, INTENTS, {})
