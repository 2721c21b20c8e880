"""The page that a reviewer decides on, as Markdown: pure, from the gate's record and what was read beside it.

Whatever comes from outside (titles, labels, settings, users' names for things) is shown as a code span, in which
Markdown and HTML mean nothing.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from intentrec.config import Gate
from intentrec.evaluation.gate import CHALLENGER, CHAMPION, Decision, guardrails
from intentrec.registry.changes import Change
from intentrec.registry.versions import Version
from intentrec.reports.examples import Example

SHOWN = ("ndcg_at_10", "recall_at_10", "mrr", "coverage_at_10", "next_mrr")
SLICES = {"new titles": "recall_at_10_new", "cold users": "ndcg_at_10_cold"}
LONGEST = 60  # characters of a text from outside
INTENT_SYSTEMS = {
    CHALLENGER: "challenger",
    CHAMPION: "champion",
    "majority": "majority",
    "repeat_last_intent": "repeat last",
}


def review_page(
    version: Version,
    gate: Gate,
    record: Mapping[str, Any],
    data: Sequence[Change],
    settings: Sequence[Change],
    examples: Sequence[Example],
    simulated: bool,
) -> str:
    """Markdown.

    Args:
        version: under review.
        gate: the domain's rule.
        record: the gate's decision about it, as gate.json holds it.
        data: dates, table versions, row counts of the champion's and the version's training.
        settings: settings that differ.
        examples: some users.
        simulated: whether the domain's data is.
    """
    decision = Decision.from_dict(record)
    advice = "promote" if decision.promote else "keep the champion"
    baseline = f"against the champion, version {record['champion']}" if record.get("champion") else "without a champion"
    parts = [
        f"# {version.name}, version {version.number}, trained for {version.trained_for}",
        "**Simulated data.** The service, its users and every number below are simulated." if simulated else "",
        f"The gate, {baseline}, recommends to **{advice}**:",
        "\n".join(f"- {reason}" for reason in decision.reasons),
        "Approve: this version becomes champion and publishes this week. Reject: nothing is published by it. "
        "Either is recorded on the version with your name, the time and your reason.",
        "## Week ahead, with bootstrap intervals of the means",
        _systems(decision, gate, record.get("means", {})),
        "## Slices",
        _slices(decision),
        "## Intents",
        _intents(record.get("intents", {})),
        "## Guardrails",
        _guardrails(decision, gate),
        "## What changed since the champion",
        _changes(data, "data"),
        _changes(settings, "setting") if settings else "No setting differs from a champion's.",
        "## Example users",
        "Drawn at random; a pseudonym means nothing outside this page.",
        _examples(examples),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def quoted(text: str) -> str:
    """Any text as a code span that fits into a table's cell: one line, at most LONGEST, no control characters."""
    visible = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    line = " ".join(visible.split())
    line = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    return "`" + (line.replace("`", "'").replace("\\", "/").replace("|", r"\|") or " ") + "`"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def _percent(value: float) -> str:
    return f"{value:+.1%}" if math.isfinite(value) else "∞"


def _systems(decision: Decision, gate: Gate, means: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    metrics = list(dict.fromkeys([gate.metric, *SHOWN]))
    rows = []
    for row in decision.rows:
        cells = []
        for metric in metrics:
            bounds = means.get(row.system, {}).get(metric)
            interval = f" [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""
            cells.append(_number(row.metrics.get(metric)) + interval)
        lift = decision.lift.get(row.system)
        over = "" if lift is None else f"{_percent(lift.estimate)} [{_percent(lift.lower)}, {_percent(lift.upper)}]"
        rows.append([row.label, *cells, over])
    users = decision.rows[0].metrics.get("users", 0)
    note = f"{users:,.0f} users, {gate.confidence:.0%} intervals; lift is the challenger's over the system of the row."
    return note + "\n\n" + table(["system", *metrics, f"lift in {gate.metric}"], rows)


def _slices(decision: Decision) -> str:
    header = ["system", *(f"{name} ({metric})" for name, metric in SLICES.items())]
    rows = [[row.label, *(_number(row.metrics.get(metric)) for metric in SLICES.values())] for row in decision.rows]
    cold = decision.rows[0].metrics.get("users_cold", 0)
    return f"{cold:,.0f} users are cold.\n\n" + table(header, rows)


def _intents(measured: Mapping[str, Mapping[str, float]]) -> str:
    """Accuracy per intent beside champion and naive baselines, then per class, the most lost against the champion first."""
    ours = measured.get(CHALLENGER, {})
    systems = [name for name in INTENT_SYSTEMS if name in measured]
    whole = [name for name in ours if name.endswith("_accuracy")]
    if not whole:
        return "Not measured."
    rows = [
        [quoted(name.removeprefix("intent_").removesuffix("_accuracy"))]
        + [_number(measured[system].get(name)) for system in systems]
        for name in whole
    ]
    parts = [table(["accuracy", *(INTENT_SYSTEMS[system] for system in systems)], rows)]
    theirs = measured.get(CHAMPION, {})
    classes = sorted(
        ((name, value, theirs.get(name)) for name, value in ours.items() if "_accuracy_of_" in name),
        key=lambda each: (each[1] - each[2] if each[2] is not None else 0.0, each[0]),
    )
    rows = [
        [quoted(intent.removeprefix("intent_")), quoted(label), _number(value), _number(before)]
        for name, value, before in classes
        for intent, label in [name.split("_accuracy_of_", 1)]
    ]
    return "\n\n".join([*parts, table(["intent", "class", "share found", "champion's"], rows)])


def _guardrails(decision: Decision, gate: Gate) -> str:
    metrics = {row.system: row.metrics for row in decision.rows}
    if not gate.guardrails:
        return "The domain file names none."
    if CHAMPION not in metrics:
        return "There is no champion to compare with."
    found = guardrails(metrics[CHALLENGER], metrics[CHAMPION], gate)
    return "\n".join(f"- {'' if holds else '**broken** '}{sentence}" for holds, sentence in found)


def _changes(found: Sequence[Change], what: str) -> str:
    rows = [[quoted(change.what), quoted(change.champion), quoted(change.challenger)] for change in found]
    return table([what, "champion", "challenger"], rows)


def _examples(found: Sequence[Example]) -> str:
    if not found:
        return "There is no snapshot to show users of."
    rows = []
    for user in found:
        intents = ", ".join(
            f"{quoted(name)} {quoted(label)} {probability:.0%}" for name, (label, probability) in user.intents.items()
        )
        lists = (", ".join(map(quoted, titles)) for titles in (user.last, user.recommended))
        last, recommended = lists
        rows.append([user.pseudonym, last, intents, quoted(user.primary), recommended])
    return table(["user", "last titles", "predicted intents", "weighs most", "first recommendations"], rows)
