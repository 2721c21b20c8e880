"""The gate's rule: from metrics and lifts to a decision with its reasons. It reads no table and no registry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from intentrec.config import Gate
from intentrec.errors import PipelineError
from intentrec.evaluation.significance import Lift

CHALLENGER, CHAMPION = "challenger", "champion"


@dataclass(frozen=True)
class Row:
    """One line of the gate's table: a system, its name in the table, and its metrics (NaN: not measured)."""

    system: str
    label: str
    metrics: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As a flat JSON object; what was not measured is null."""
        metrics = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return {"system": self.system, "label": self.label, **metrics}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Row":
        """The inverse of `to_dict`."""
        metrics = {
            name: math.nan if item is None else item for name, item in value.items() if name not in ("system", "label")
        }
        return cls(value["system"], value["label"], metrics)


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, and why.

    Attributes:
        promote: the decision.
        reasons: every reason against promotion; where there is none, every reason for it.
        rows: the gate's table, the challenger first.
        lift: relative lift of the challenger over each other system of the table.
    """

    promote: bool
    reasons: tuple[str, ...]
    rows: tuple[Row, ...]
    lift: Mapping[str, Lift] = field(default_factory=dict)

    @property
    def recommendation(self) -> str:
        """The decision in words."""
        return recommendation(self.promote, [row for row in self.rows if row.system == CHAMPION])

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object, as gate.json keeps it."""
        return {
            "decision": "promote" if self.promote else "keep",
            "reasons": list(self.reasons),
            "rows": [row.to_dict() for row in self.rows],
            "lift": {name: lift.to_dict() for name, lift in self.lift.items()},
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Decision":
        """The inverse of `to_dict`; other keys are ignored."""
        return cls(
            value["decision"] == "promote",
            tuple(value["reasons"]),
            tuple(Row.from_dict(row) for row in value["rows"]),
            {name: Lift(**lift) for name, lift in value["lift"].items()},
        )


def recommendation(promote: bool, champion: object) -> str:
    """A decision in words. What is kept is the champion, if there is one (`champion` is neither None nor empty)."""
    if promote:
        return "promote"
    return "keep the champion" if champion else "do not promote (there is no champion)"


def judge(
    rows: list[Row], lift: Mapping[str, Lift], gate: Gate, trained_for: date, champion_trained_for: date | None
) -> Decision:
    """Decide by the domain's rule.

    Every check is made, so the reasons are complete. A champion that was trained for a later date may have learned from
    the week it would be judged on, and stays.

    Args:
        rows: the challenger, the naive baselines, and the champion if there is one.
        lift: of the challenger over each of the others.
        gate: the rule's settings.
        trained_for: date of the challenger.
        champion_trained_for: date of the champion, None where there is none.

    Raises:
        PipelineError: the configuration names a metric or a baseline that was not measured.
    """
    table = {row.system: row.metrics for row in rows}
    ours = _metric(table[CHALLENGER], gate.metric, "gate.metric")
    against: list[str] = []
    support: list[str] = []
    for baseline in gate.naive_baselines:
        theirs = _metric(table[baseline], gate.metric, "gate.metric")
        beats = "beats" if ours > theirs else "does not beat"
        (support if ours > theirs else against).append(
            f"{gate.metric} {ours:.4f} {beats} the baseline {baseline} ({theirs:.4f})"
        )
    if champion_trained_for is None:
        support.append("there is no champion yet: the naive baselines decide")
    elif champion_trained_for > trained_for:
        against.append(f"the champion was trained for {champion_trained_for}, later than {trained_for}: it stays")
    else:
        ok, reason = _lift_reason(lift[CHAMPION], gate)
        (support if ok else against).append(reason)
        for ok, reason in guardrails(table[CHALLENGER], table[CHAMPION], gate):
            (support if ok else against).append(reason)
    return Decision(not against, tuple(against or support), tuple(rows), dict(lift))


def leader(decision: Decision, gate: Gate) -> str | None:
    """The naive baseline that is better than whatever publishes after this decision, None if none is.

    Only `gate.naive_baselines` count. The challenger publishes if it is promoted, else the champion if there is one.
    Where a person decides, the champion publishes until then. A baseline without a value leads nobody.
    """
    table = {row.system: row.metrics[gate.metric] for row in decision.rows}
    publishes = CHALLENGER if decision.promote and gate.promotion == "automatic" else CHAMPION
    measured = {name: table[name] for name in gate.naive_baselines if not math.isnan(table[name])}
    best = max(measured, key=lambda name: measured[name], default=None)
    if best is None or measured[best] <= table.get(publishes, -math.inf):
        return None
    return best


def _metric(metrics: Mapping[str, float], name: str, key: str) -> float:
    if name not in metrics:
        raise PipelineError(f"{key}: {name} is not measured; choose one of {', '.join(sorted(metrics))}")
    return metrics[name]


def _lift_reason(lift: Lift, gate: Gate) -> tuple[bool, str]:
    clears = lift.lower > gate.threshold
    return clears, (
        f"lift over the champion in {gate.metric} is {lift.estimate:+.1%}, {lift.confidence:.0%} interval "
        f"[{lift.lower:+.1%}, {lift.upper:+.1%}] over {lift.users:,} users: the lower bound "
        f"{'clears' if clears else 'does not clear'} the threshold {gate.threshold:+.1%}"
    )


def guardrails(ours: Mapping[str, float], theirs: Mapping[str, float], gate: Gate) -> list[tuple[bool, str]]:
    """Whether each guardrail holds, each with a sentence that says so.

    A guardrail breaks where the challenger loses more than allowed, or has no value where the champion has one.
    """
    found = []
    for name, loss in gate.guardrails.items():
        mine = _metric(ours, name, "gate.guardrails")
        champions = theirs.get(name, math.nan)
        if math.isnan(champions):
            found.append((True, f"guardrail {name} holds: the champion has no value to lose"))
            continue
        least = champions * (1.0 - loss)
        holds = mine >= least  # false for NaN
        found.append(
            (holds, f"guardrail {name} {'holds' if holds else 'breaks'}: {mine:.4f}, at least {least:.4f} is required")
        )
    return found
