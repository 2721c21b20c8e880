"""The model card: what a reviewer reads beside a version in the registry."""

import math
from collections.abc import Mapping, Sequence
from datetime import date

from intentrec.config import Domain
from intentrec.evaluation.metrics import Result
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES, ITEM_NAIVE_BASELINES

AHEAD = ("ndcg_at_10", "recall_at_10", "hit_at_10", "mrr", "coverage_at_10", "recall_at_10_new", "ndcg_at_10_cold")
GAP = 2 * "\N{NO-BREAK SPACE}"
NEXT = ("next_mrr", "next_ndcg_at_10", "next_recall_at_10", "next_recall_at_20")


def model_card(
    domain: Domain,
    trained_for: date,
    cutoff: date,
    results: Mapping[str, Result],
    facts: Mapping[str, str],
    simulated: bool,
) -> str:
    """Markdown. `results` has `challenger`, `v0` and the naive baselines; `facts` are lines about data and training."""
    systems = ["challenger", "v0", *ITEM_NAIVE_BASELINES]
    names = {"challenger": f"IntentRec {domain.model.variant.upper()}", "v0": "V0 (next item only)"}
    ours = results["challenger"].metrics
    parts = [
        f"# {domain.model_name}, trained for {trained_for}",
        "**Simulated data.** The service, its users and every number below are simulated." if simulated else "",
        "Predicts, for a user of the service, the intent of the next session (one distribution per intent, their "
        "attention weights and one embedding) and the next titles that follow from it. Made for weekly batch "
        "recommendation within this service. Not for decisions about a person, nor for titles or users of another one.",
        "## Data",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        f"## Week ahead: titles engaged in [{cutoff}, {trained_for}) from the snapshot before it",
        f"{_count(ours, 'users')} users, {_count(ours, 'users_cold')} of them cold; "
        f"{ours.get('reachable', math.nan):.1%} of the engaged titles were on offer when the week began, "
        "the others are misses for every system.",
        _table(results, systems, names, AHEAD),
        f"## Next event: {_count(ours, 'next_events')} targets of that week from their prefixes, full catalogue",
        _table(results, systems, names, NEXT),
        "## Intents",
        _intents(domain, results),
        "## Limits",
        "Learnt from what users did with what they were shown: titles that were rarely shown are judged by little "
        "evidence. A title released after the cut-off is known by its catalogue facts only. Embeddings and clusters "
        "are comparable within this version only.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _count(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics.get(name, 0):,.0f}"


def _cell(metrics: Mapping[str, float], name: str) -> str:
    value = metrics.get(name, math.nan)
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _table(
    results: Mapping[str, Result], systems: Sequence[str], names: Mapping[str, str], columns: Sequence[str]
) -> str:
    lines = [_line("system", *columns), "|---" * (len(columns) + 1) + "|"]
    for system in systems:
        if system in results:
            cells = (_cell(results[system].metrics, column) for column in columns)
            lines.append(_line(names.get(system, system), *cells))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    """A line of a table; MLflow's registry page sets columns without a gap, so each cell brings its own."""
    return f"| {' | '.join(cell + GAP for cell in cells)} |"


def _intents(domain: Domain, results: Mapping[str, Result]) -> str:
    """Accuracy of each intent beside its naive baselines, and per class, rarest classes included."""
    ours = results["challenger"].metrics
    lines = [_line("intent", "accuracy", "majority", "repeat last", "NDCG@20"), "|---|---|---|---|---|"]
    classes = []
    for intent in domain.intents:
        name = f"intent_{intent.name}_accuracy"
        if name not in ours:
            continue
        naive_baselines = (_cell(results[baseline].metrics, name) for baseline in INTENT_NAIVE_BASELINES)
        lines.append(_line(intent.name, _cell(ours, name), *naive_baselines, _cell(ours, f"intent_{intent.name}_ndcg")))
        per_class = {
            key.removeprefix(f"{name}_of_"): value for key, value in ours.items() if key.startswith(f"{name}_of_")
        }
        found = ", ".join(f"{label} {value:.2f}" for label, value in sorted(per_class.items(), key=lambda x: -x[1]))
        classes.append(f"- {intent.name}, share found per class: {found}")
    return "\n".join(lines) + "\n\n" + "\n".join(classes)
