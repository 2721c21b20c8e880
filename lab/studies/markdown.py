"""The tables of a study's page as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.studies.claims import SURE
from lab.studies.tables import METRICS, REFERENCE

MARGINS = (("next_event", "next MRR"), ("week_ahead", "week NDCG@10"))
HEADS = {
    "next_event.next_mrr": "next MRR",
    "next_event.next_ndcg_at_10": "next NDCG@10",
    "week_ahead.mrr": "week MRR",
    "week_ahead.ndcg_at_10": "week NDCG@10",
    "week_ahead.ndcg_at_10_unseen": "unseen",
    "week_ahead.recall_at_10_new": "new titles",
    "week_ahead.ndcg_at_10_cold": "cold users",
    "week_ahead.coverage_at_10": "coverage",
}


def margins(lines: Sequence[Mapping[str, Any]], ours: Mapping[str, str]) -> list[str]:
    """The table of `further.margins`."""
    if not lines:
        return []
    columns = [(f"{name}.{protocol}", f"{label}: {of}") for name, label in ours.items() for protocol, of in MARGINS]
    rows = [[line["label"], *(_lift(line[key]) if key in line else "" for key, _ in columns)] for line in lines]
    about = "Lift over the system of the row, per user, [95 %], p-value (of users alone); below 0 the row is better."
    return ["## Margins", about, grid(["over", *(head for _, head in columns)], rows)]


def claims(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of `claims.outcomes`."""
    rows = [[line["claim"], line["ours"], line["theirs"], _lift(line["lift"]), line["found"]] for line in lines]
    about = (
        f"Lift of the next event's MRR. Above, below: p < {SURE:g}; level: no difference that sure. What each data set "
        "can test, and how the simulated worlds had to end, was [written before](claims.md)."
    )
    table = grid(["claim", "system", "over", "lift [95 %], p (of users)", "found"], rows)
    return ["## Claims", about, table] if rows else []


def intents(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Accuracy, skill and calibration of `further.intents`."""
    rows = [
        [
            line["label"],
            line["intent"],
            f"{line['accuracy']:.4f}",
            _percent(line["skill"]),
            _number(line["calibration_error"]),
        ]
        for line in lines
    ]
    about = "Skill: how much of the way from the better of majority and repeat-last to perfect accuracy."
    table = grid(["system", "intent", "accuracy", "skill", "calibration error"], rows)
    return ["## Intents", about, table] if rows else []


def budgets(lines: Sequence[Mapping[str, Any]], hardware: str | None) -> list[str]:
    """The comparison of `further.budgets`."""
    if not lines:
        return []
    rows = [
        [
            line["label"],
            f"{line['parameters']:,}",
            *(_number(line[key], 4) for key in ("at_equal_epochs", "at_equal_time", "best")),
            f"{line['best_epoch']:.1f}",
            _number(line["seconds_to_best"], 0),
        ]
        for line in lines
    ]
    first = lines[0]
    time = "equal time" if first["seconds"] is None else f"{first['seconds']:.0f} s"
    head = ["system", "parameters", f"after {first['epochs']} epochs", f"after {time}", "converged"]
    about = (
        "MRR on the validation days, the best so far, mean over seeds: with as many epochs and as much time as the "
        "system has that stopped first, and at its own best. The curves show the same by epoch and by time, without "
        "the bounds. "
    )
    about += (
        "No epoch was timed yet."
        if hardware is None
        else f"What an epoch takes was timed for all side by side ({hardware}, one core); N/A: trained since then."
    )
    return ["## Equal budgets", about, grid([*head, "best epoch", "seconds to it"], rows)]


def alignment(lines: Sequence[Mapping[str, Any]], intents: Sequence[str]) -> list[str]:
    """The two tables of `further.alignment`: primary intents, contradictions."""
    if not lines:
        return []
    head = ["system", *(f"attention {intent}" for intent in intents), *(f"primary {intent}" for intent in intents)]
    head += ["primary came true", "any came true"]
    told = any("true_intent_in_cluster" in line for line in lines)
    head += ["true intent in primary", "in cluster"] if told else []
    weights = []
    for line in lines:
        spread = [
            f"{_number(line.get(f'attention_{intent}'))} ± {_number(line.get(f'attention_{intent}_spread'))}"
            for intent in intents
        ]
        cells = [*spread, *(_percent(line.get(f"primary_{intent}")) for intent in intents)]
        cells += [_percent(line[key]) for key in ("came_true_of_primary", "came_true_of_any")]
        cells += [_number(line.get(f"true_intent_in_{key}")) for key in ("primary", "cluster")] if told else []
        weights.append([line["label"], *cells])
    kinds = [kind for kind in (*intents, "any") if any(f"contradicted_{kind}" in line for line in lines)]
    disagree = [
        [
            line["label"],
            *(
                f"{_percent(line.get(f'contradicted_{kind}'))}: {_number(line.get(f'next_mrr_contradicted_{kind}'))} / "
                f"{_number(line.get(f'next_mrr_agreed_{kind}'))}"
                for kind in kinds
            ),
        ]
        for line in lines
    ]
    truth = (
        " True intent: adjusted mutual information of the simulated session's latent intent with the primary intent "
        "and with the cluster of the embedding (0 is chance)."
        if told
        else ""
    )
    return [
        "## Primary intents",
        "Attention weights over the judged events ± their spread, how often each intent is the primary one, and how "
        "often the most probable label of the primary intent, and of one drawn blindly, came true." + truth,
        grid(head, weights),
        "## Contradictions",
        "How often the first recommended title contradicts the most probable label of an intent: next MRR then / "
        "otherwise.",
        grid(["system", *kinds], disagree),
    ]


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _number(value: float | None, digits: int = 3) -> str:
    return "N/A" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "N/A" if value is None else f"{value:.1%}"


def paper_table(lines: Sequence[Mapping[str, Any]], number: str, intents: Sequence[str]) -> str:
    """A table of the paper, or of the naive baselines."""
    if not lines:
        return "Nothing measured yet."
    columns = [f"{protocol}.{metric}" for protocol, metric in METRICS]
    head = ["system", *(HEADS[column] for column in columns), *(f"{intent} accuracy" for intent in intents)]
    head += [f"lift over {REFERENCE[number]} [95 %], p (of users)"] if number else []
    rows = []
    for line in lines:
        cells = [line["label"], *(_cell(line[column]) for column in columns)]
        cells += [_cell(line[f"intent.{intent}"]) + _relative(line.get(f"lift.{intent}")) for intent in intents]
        rows.append(cells + ([_lift_over(REFERENCE[number], line)] if number else []))
    return grid(head, rows)


def _cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "N/A"
    return f"{value['mean']:.4f}" + (f" ± {value['std']:.4f}" if value["std"] else "")


def _relative(value: float | None) -> str:
    return "" if value is None else f" ({value:+.1%})"


def _lift_over(reference: str, line: Mapping[str, Any]) -> str:
    if "lift" in line:
        return _lift(line["lift"])
    return "reference" if line["system"] == reference else "N/A"


def _lift(value: Mapping[str, float]) -> str:
    interval = f"[{value['lower']:+.1%}, {value['upper']:+.1%}]"
    return f"{value['estimate']:+.1%} {interval}, {value['p_value']:.2g} ({value['p_users']:.2g})"
