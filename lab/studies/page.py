"""`NAME.json`, `NAME.md` and its picture in lab/results, and `outcomes.md` over all studies."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from intentrec.reports import templates
from intentrec.reports.markdown import table
from intentrec.reports.plots import SHOWN
from lab.studies.study import System
from lab.studies.summary import METRICS, MIN_COLD_USERS, REFERENCE, SIGNIFICANCE, verdict

Line: TypeAlias = Mapping[str, Any]
Lift: TypeAlias = Mapping[str, float]
Outcomes: TypeAlias = dict[tuple[str, ...], dict[str, tuple[str, Lift]]]  # row -> study -> verdict and lift

HEADERS = {
    "next_event.next_mrr": "next MRR",
    "next_event.next_mrr_given_intent": "given the true class",
    "next_event.next_mrr_repeat": "repeat",
    "next_event.next_mrr_explore": "explore",
    "week_ahead.ndcg_at_10": "week NDCG@10",
    "week_ahead.ndcg_at_10_unseen": "unseen",
    "week_ahead.recall_at_10_new": "new titles",
    "week_ahead.ndcg_at_10_cold": "cold users",
    "week_ahead.coverage_at_10": "coverage",
}
FIGURES = {
    "intent_clusters": f"Figure 6: up to {SHOWN:,} users by intent embedding; names say what a cluster does more often",
    "attention": "Figure 7: attention weights of users, and by cluster",
}
PROTOCOLS = {"next_event": "next MRR", "week_ahead": "week NDCG@10"}


def write(name: str, summary: Line, known: Mapping[str, System], folder: Path) -> None:
    """Write the summary and the page of a study, and the page over all studies.

    Args:
        name: of the study.
        summary: as `summary_of` made it.
        known: the study's systems.
        folder: of results. Figures 6 and 7 are shown if they stand in its `img`.
    """
    (folder / "img").mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=1, sort_keys=True) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    found = {f"{name}_{figure}.png": about for figure, about in FIGURES.items()}
    figures = {file: about for file, about in found.items() if (folder / "img" / file).exists()}
    (folder / f"{name}.md").write_text(page_of(name, summary, known, figures), encoding="utf-8")
    _curves(summary["curves"], known, folder / "img" / f"{name}_curves.png")
    write_outcomes(folder)


def page_of(name: str, summary: Line, known: Mapping[str, System], figures: Mapping[str, str]) -> str:
    """The page of a study as Markdown."""
    intents = list(dict.fromkeys(line["intent"] for line in summary["intents"]))
    values: dict[str, Any] = {
        **summary,
        "name": name,
        "few": MIN_COLD_USERS,
        "sure": f"{SIGNIFICANCE:g}",
        "figures": figures,
        "missing_labels": [known[system].label for system in summary["missing"]],
        "claims_table": _claims(summary["claims"]),
        "systems_table": systems_table(summary["table"], intents, lifts=True),
        "naive_table": systems_table(summary["naive_baselines"], intents, lifts=False),
        "margins_table": _margins(summary["margins"]),
        "intents_table": _intents(summary["intents"]),
        "budgets_table": budgets_table(summary["budgets"]),
        "primary_table": _primary(summary["alignment"], intents),
        "contradictions_table": _contradictions(summary["alignment"], intents),
    }
    return templates.render("study.md.jinja", "lab.studies", **values).rstrip("\n") + "\n"


def systems_table(lines: Sequence[Line], intents: Sequence[str], lifts: bool) -> str:
    """Metrics by system, with the lift over V0 if `lifts`."""
    if not lines:
        return "Nothing measured yet."
    columns = [f"{protocol}.{metric}" for protocol, metric in METRICS]
    headers = ["system", *(HEADERS[column] for column in columns), *(f"{intent} accuracy" for intent in intents)]
    headers += [f"lift over {REFERENCE.upper()} [95 %], p (over users)"] if lifts else []
    rows = []
    for line in lines:
        cells = [line["label"], *(_cell(line[column]) for column in columns)]
        cells += [_cell(line[f"intent.{intent}"]) + _relative(line.get(f"lift.{intent}")) for intent in intents]
        rows.append(cells + ([_lift_over(line)] if lifts else []))
    return table(headers, rows, "lr")


def budgets_table(lines: Sequence[Line]) -> str:
    """Validation MRR at equal epochs, at equal time, and at its best."""
    if not lines:
        return ""
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
    headers = ["system", "parameters", f"after {first['epochs']} epochs", f"after {time}", "converged"]
    return table([*headers, "best epoch", "seconds to it"], rows, "lr")


def _claims(lines: Sequence[Line]) -> str:
    rows = [[line["claim"], line["over"], _lift(line["lift"]), line["found"]] for line in lines]
    return table(["claim", "V4 over", "lift [95 %], p (over users)", "found"], rows, "llrl")


def _margins(lines: Sequence[Line]) -> str:
    rows = [[line["label"], *(_lift(line[key]) if key in line else "" for key in PROTOCOLS)] for line in lines]
    return table(["V4 over", *PROTOCOLS.values()], rows, "lr")


def _intents(lines: Sequence[Line]) -> str:
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
    return table(["system", "intent", "accuracy", "skill", "calibration error"], rows, "llr")


def _primary(lines: Sequence[Line], intents: Sequence[str]) -> str:
    headers = ["system", *(f"attention {intent}" for intent in intents), *(f"primary {intent}" for intent in intents)]
    headers += ["primary came true", "any came true"]
    truth = any("true_intent_in_cluster" in line for line in lines)
    headers += ["true intent in primary", "in cluster"] if truth else []
    rows = []
    for line in lines:
        weights = [
            f"{_number(line.get(f'attention_{intent}'))} ± {_number(line.get(f'attention_{intent}_spread'))}"
            for intent in intents
        ]
        cells = [*weights, *(_percent(line.get(f"primary_{intent}")) for intent in intents)]
        cells += [_percent(line[key]) for key in ("correct_of_primary", "correct_of_any")]
        cells += [_number(line.get(f"true_intent_in_{key}")) for key in ("primary", "cluster")] if truth else []
        rows.append([line["label"], *cells])
    return table(headers, rows, "lr")


def _contradictions(lines: Sequence[Line], intents: Sequence[str]) -> str:
    kinds = [kind for kind in (*intents, "any") if any(f"contradicted_{kind}" in line for line in lines)]
    rows = [
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
    return table(["system", *kinds], rows, "lr")


def _curves(curves: Mapping[str, Line], known: Mapping[str, System], path: Path) -> None:
    """Draw validation MRR by epoch and by time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(15, 5), layout="constrained")
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    for number, (system, curve) in enumerate(curves.items()):
        seeds = curve["val_mrr"]
        epochs = range(1, min(len(seed) for seed in seeds) + 1)
        value = [sum(seed[epoch - 1] for seed in seeds) / len(seeds) for epoch in epochs]
        style = {"label": known[system].label, "linestyle": ("-", "--", ":")[number // 10]}
        by_epoch.plot(epochs, value, **style)
        if curve["seconds"] is not None:
            by_time.plot([epoch * curve["seconds"] for epoch in epochs], value, **style)
    by_epoch.set(xlabel="epoch", ylabel="MRR on the validation days")
    by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_time.set(xlabel="seconds of training")
    figure.legend(*by_epoch.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    for axes in (by_epoch, by_time):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def write_outcomes(folder: Path) -> None:
    """Gather the `NAME.json` of all studies in `folder` into `outcomes.md`."""
    content = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    studies = {name: study for name, study in content.items() if "claims" in study}
    claims: Outcomes = {}
    ahead: Outcomes = {}
    for name, study in studies.items():
        for line in study["claims"]:
            claims.setdefault((line["claim"], line["over"]), {})[name] = line["found"], line["lift"]
        for line in study["margins"]:
            if lift := line.get("week_ahead"):
                ahead.setdefault((line["label"],), {})[name] = verdict(lift), lift
    by_claim = dict(sorted(claims.items(), key=lambda item: item[0][0]))
    tables = {
        "claims": _outcome_table(["claim", "V4 over"], by_claim, studies),
        "ahead": _outcome_table(["V4 over"], ahead, studies),
    }
    values = {"sure": f"{SIGNIFICANCE:g}", "counted": _counted(claims, studies), **tables}
    text = templates.render("outcomes.md.jinja", "lab.studies", **values)
    (folder / "outcomes.md").write_text(text + "\n", encoding="utf-8")


def _counted(claims: Outcomes, studies: Mapping[str, Line]) -> dict[str, int]:
    """How many comparisons are significant, by this rule and by others."""
    of_claims = [lift for row in claims.values() for _, lift in row.values()]
    beside = [lift for study in studies.values() for line in study["margins"] for lift in line.values()]
    of_margins = [lift for lift in beside if isinstance(lift, dict)]
    adjusted = _adjusted([lift["p_value"] for lift in of_claims])
    return {
        "claims": len(of_claims),
        "sure": sum(lift["p_value"] < SIGNIFICANCE for lift in of_claims),
        "adjusted": int(sum(adjusted < SIGNIFICANCE)),
        "at_5": int(sum(adjusted < 0.05)),
        "turned_claims": _significant_over_users_only(of_claims),
        "turned_margins": _significant_over_users_only(of_margins),
        "margins": len(of_margins),
    }


def _significant_over_users_only(lifts: Sequence[Lift]) -> int:
    return sum(lift["p_users"] < SIGNIFICANCE <= lift["p_value"] for lift in lifts)


def _adjusted(p_values: Sequence[float]) -> NDArray:
    return stats.false_discovery_control(p_values) if p_values else np.zeros(0)


def _outcome_table(headers: list[str], outcomes: Outcomes, studies: Mapping[str, Line]) -> str:
    names = [f"[{name}]({name}.md){' (simulated)' if study['simulated'] else ''}" for name, study in studies.items()]
    places = [(key, name) for key, row in outcomes.items() for name in row]
    p_values = [outcomes[key][name][1]["p_value"] for key, name in places]
    together = dict(zip(places, _adjusted(p_values).tolist(), strict=True))

    def cell(key: tuple[str, ...], name: str) -> str:
        if (key, name) not in together:
            return ""
        outcome, lift = outcomes[key][name]
        return f"{outcome} {lift['estimate']:+.1%}, {lift['p_value']:.2g} ({together[key, name]:.2g})"

    rows = [[*key, *(cell(key, name) for name in studies)] for key in outcomes]
    return table([*headers, *names], rows, "l" * len(headers) + "r")


def _cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "N/A"
    return f"{value['mean']:.4f}" + (f" ± {value['std']:.4f}" if value["std"] else "")


def _relative(value: float | None) -> str:
    return "" if value is None else f" ({value:+.1%})"


def _lift_over(line: Line) -> str:
    if "lift" in line:
        return _lift(line["lift"])
    return "reference" if line["system"] == REFERENCE else "N/A"


def _lift(value: Lift) -> str:
    interval = f"[{value['lower']:+.1%}, {value['upper']:+.1%}]"
    return f"{value['estimate']:+.1%} {interval}, {value['p_value']:.2g} ({value['p_users']:.2g})"


def _number(value: float | None, digits: int = 3) -> str:
    return "N/A" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "N/A" if value is None else f"{value:.1%}"
