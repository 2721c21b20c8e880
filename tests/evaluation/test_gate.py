"""The gate's rule, case by case."""

import math
from datetime import date

import pytest

from intentrec.config import Gate
from intentrec.errors import PipelineError
from intentrec.evaluation.gate import Decision, Row, judge, leader
from intentrec.evaluation.significance import Lift

T = date(2026, 8, 31)
GATE = Gate(threshold=0.01, guardrails={"coverage_at_10": 0.5})


def rows(
    ours: float = 0.3, coverage: float = 0.4, champion: float | None = 0.25, **naive_baselines: float
) -> list[Row]:
    values = {"popularity_7d": 0.1, "repeat_last": 0.2, "most_frequent": 0.2, "decayed_frequent": 0.2, "item_knn": 0.15}
    values |= naive_baselines
    found = [Row("challenger", "ours", {"ndcg_at_10": ours, "coverage_at_10": coverage})]
    if champion is not None:
        found.append(Row("champion", "theirs", {"ndcg_at_10": champion, "coverage_at_10": 0.6}))
    return found + [Row(name, name, {"ndcg_at_10": value}) for name, value in values.items()]


def lift(lower: float) -> dict[str, Lift]:
    return {"champion": Lift(0.2, lower, 0.4, 0.95, 0.001, 500)}


@pytest.mark.parametrize(
    ("table", "lower", "champion", "promote", "reason"),
    [
        (rows(champion=None), 0, None, True, "no champion yet"),
        (rows(champion=None, repeat_last=0.3), 0, None, False, "does not beat the baseline repeat_last (0.3000)"),
        (rows(champion=None, popularity_7d=math.inf), 0, None, False, "does not beat the baseline popularity_7d"),
        (rows(), 0.02, T, True, "lower bound clears the threshold +1.0%"),
        (rows(), 0.01, T, False, "does not clear the threshold +1.0%"),
        (rows(), -0.1, T, False, "does not clear"),
        (rows(coverage=0.29), 0.02, T, False, "guardrail coverage_at_10 breaks: 0.2900, at least 0.3000"),
        (rows(coverage=0.30), 0.02, T, True, "guardrail coverage_at_10 holds"),
        (rows(coverage=math.nan), 0.02, T, False, "guardrail coverage_at_10 breaks"),
        (rows(repeat_last=0.31), 0.02, T, False, "does not beat the baseline repeat_last"),
        (rows(most_frequent=0.31), 0.02, T, False, "does not beat the baseline most_frequent"),
        (rows(decayed_frequent=0.31), 0.02, T, False, "does not beat the baseline decayed_frequent"),
        (rows(item_knn=0.31), 0.02, T, False, "does not beat the baseline item_knn"),
        (rows(), 0.02, date(2026, 9, 7), False, "champion was trained for 2026-09-07, later than 2026-08-31"),
        (rows(), 0.02, date(2026, 8, 24), True, "clears"),
    ],
)
def test_rule(table: list[Row], lower: float, champion: date | None, promote: bool, reason: str) -> None:
    decision = judge(table, lift(lower), GATE, T, champion)
    assert decision.promote == promote
    assert any(reason in each for each in decision.reasons), decision.reasons


def test_every_reason_against_is_given() -> None:
    decision = judge(rows(ours=0.05, coverage=0.1), lift(-0.5), GATE, T, T)
    assert len(decision.reasons) == 7


def test_only_the_naive_baselines_that_the_domain_names_count() -> None:
    table = rows(champion=None, most_frequent=0.9)
    assert judge(table, {}, Gate(naive_baselines=["popularity_7d"]), T, None).promote
    assert not judge(table, {}, Gate(naive_baselines=["most_frequent"]), T, None).promote


@pytest.mark.parametrize(
    ("table", "lower", "champion", "best"),
    [
        (rows(champion=None), 0, None, None),  # the challenger is promoted
        (rows(champion=None, repeat_last=0.5, most_frequent=0.4), 0, None, "repeat_last"),
        (rows(champion=0.45, repeat_last=0.5), 0.02, T, "repeat_last"),
        (rows(champion=0.5, repeat_last=0.5), 0.02, T, None),  # the champion stays, and is as good
        (
            rows(champion=0.1, markov=0.9, most_frequent=0.25),
            -0.1,
            T,
            "most_frequent",
        ),  # markov does not count
        (rows(champion=0.1, most_frequent=math.nan), -0.1, T, "repeat_last"),
    ],
)
def test_the_leader_is_better_than_what_would_publish(
    table: list[Row], lower: float, champion: date | None, best: str | None
) -> None:
    assert leader(judge(table, lift(lower), GATE, T, champion), GATE) == best


def test_a_recommended_challenger_does_not_publish_yet() -> None:
    """A person decides about it; until then a baseline is compared with the champion."""
    reviewed = GATE.model_copy(update={"promotion": "reviewed"})
    decision = judge(rows(champion=0.15), lift(0.02), GATE, T, T)
    assert decision.promote
    assert leader(decision, GATE) is None
    assert leader(decision, reviewed) == "repeat_last"


def test_a_guardrail_holds_where_the_champion_never_measured_it() -> None:
    table = rows()
    table[1] = Row("champion", "theirs", {"ndcg_at_10": 0.25})
    assert judge(table, lift(0.02), GATE, T, T).promote


@pytest.mark.parametrize(
    ("gate", "key"),
    [
        (Gate(metric="ndcg_at_7"), "gate.metric: ndcg_at_7"),
        (Gate(guardrails={"novelty": 0.1}), "gate.guardrails: novelty"),
    ],
)
def test_an_unknown_metric_is_named_with_its_key(gate: Gate, key: str) -> None:
    with pytest.raises(PipelineError, match=key):
        judge(rows(), lift(0.02), gate, T, T)


def test_a_decision_survives_json() -> None:
    decision = judge(rows(coverage=math.nan), lift(0.02), GATE, T, T)
    again = Decision.from_dict(decision.to_dict())
    assert again.to_dict() == decision.to_dict()
    assert math.isnan(again.rows[0].metrics["coverage_at_10"])
