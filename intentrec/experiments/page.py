"""`docs/results/NAME.json`, `.md` and its plot: the tables, where they come from, and how they were made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intentrec.experiments.run import Data
from intentrec.experiments.study import Study
from intentrec.experiments.systems import System, systems
from intentrec.experiments.tables import METRICS, REFERENCE, Measured, floors, table
from intentrec.runs import code_version

TITLES = {
    "1": "Table 1: rivals. Relative to TransAct",
    "2": "Table 2: architecture, and controls. Relative to V1",
    "3": "Table 3: one intent at a time. Relative to V0",
}
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


def write(name: str, study: Study, data: Data, measured: Mapping[str, Measured], folder: Path) -> None:
    """Write what there is so far; unfinished systems are named as such."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "img").mkdir(exist_ok=True)
    known = systems(study)
    intents = [intent.name for intent in study.base().intents]
    content = {
        "title": study.title,
        "simulated": study.simulated is not None,
        "command": f"make experiments DATASET={name}",
        "code": code_version(),
        "data": data.content,
        "judged": [str(data.evidence.cut), str(data.evidence.end)],
        "study": study.model_dump(mode="json"),
        "tuned": {system: measured[system].results[0]["tuned"] for system in known if system in measured},
        "seconds": sum(
            result["seconds"]["all"] for each in measured.values() for result in each.results if "seed" in result
        ),
        "missing": [system for system in known if len(_results(measured, system)) < len(study.seeds)],
        "tables": {number: table(number, _of(known, number), measured, intents) for number in TITLES},
        "floors": floors(measured, intents),
        "curves": {
            system: [
                [[row["val_mrr"], row["seconds"]] for row in result["history"]] for result in measured[system].results
            ]
            for system in known
            if system in measured
        },
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.md").write_text(_text(name, content, intents, known), encoding="utf-8")
    _curves(content["curves"], known, folder / "img" / f"{name}_curves.png")


def _results(measured: Mapping[str, Measured], system: str) -> Sequence[Mapping[str, Any]]:
    return measured[system].results if system in measured else []


def _of(known: Mapping[str, System], number: str) -> list[str]:
    return [name for name, system in known.items() if number in system.tables]


def _text(name: str, content: Mapping[str, Any], intents: Sequence[str], known: Mapping[str, System]) -> str:
    study = content["study"]
    simulated = "**Simulated data**, not a real service. " if content["simulated"] else ""
    head = [
        f"# {content['title']}",
        f"{simulated}Made by `{content['command']}`, code `{content['code']}`. Judged on [{content['judged'][0]}, "
        f"{content['judged'][1]}), which no system saw; {len(study['seeds'])} seeds; every system had "
        f"{study['search']['trials']} trials of the same search on validation days and up to {study['epochs']} epochs. "
        f"{content['seconds'] / 3600:.1f} hours of training and judging on 2 cores.",
        "Mean over seeds ± standard deviation. Lift: relative, of the next event's MRR (the paper's item-ID accuracy), "
        "averaged per user; interval and p-value (Student's t) over users.",
    ]
    if content["missing"]:
        labels = ", ".join(known[system].label for system in content["missing"])
        head.append(f"**Unfinished**: seeds are missing of {labels}.")
    parts = [*head]
    for number, title in TITLES.items():
        parts += [f"## {title}", _table(content["tables"][number], number, intents)]
    parts += ["## Floors", _table(content["floors"], "", intents)]
    parts += [
        "## Learning curves",
        f"Validation MRR by epoch and by training time, mean over seeds.\n\n![curves](img/{name}_curves.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _table(lines: Sequence[Mapping[str, Any]], number: str, intents: Sequence[str]) -> str:
    if not lines:
        return "Nothing measured yet."
    columns = [f"{protocol}.{metric}" for protocol, metric in METRICS]
    head = ["system", *(HEADS[column] for column in columns), *(f"{intent} accuracy" for intent in intents)]
    head += [f"lift over {REFERENCE[number]} [95 %], p"] if number else []
    rows = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for line in lines:
        cells = [line["label"], *(_cell(line[column]) for column in columns)]
        cells += [_cell(line[f"intent.{intent}"]) + _relative(line.get(f"lift.{intent}")) for intent in intents]
        cells += [_lift(line.get("lift"))] if number else []
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "N/A"
    return f"{value['mean']:.4f}" + (f" ± {value['std']:.4f}" if value["std"] else "")


def _relative(value: float | None) -> str:
    return "" if value is None else f" ({value:+.1%})"


def _lift(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "reference"
    return f"{value['estimate']:+.1%} [{value['lower']:+.1%}, {value['upper']:+.1%}], {value['p_value']:.2g}"


def _curves(curves: Mapping[str, Sequence[Sequence[Sequence[float]]]], known: Mapping[str, System], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    for number, (system, seeds) in enumerate(curves.items()):
        shortest = min(len(seed) for seed in seeds)
        value = [sum(seed[i][0] for seed in seeds) / len(seeds) for i in range(shortest)]
        seconds = [sum(row[1] for seed in seeds for row in seed[: i + 1]) / len(seeds) for i in range(shortest)]
        style = {"label": known[system].label, "linestyle": ("-", "--", ":")[number // 10]}
        by_epoch.plot(range(1, shortest + 1), value, **style)
        by_time.plot(seconds, value, **style)
    by_epoch.set(xlabel="epoch", ylabel="MRR on the validation days")
    by_time.set(xlabel="seconds of training")
    by_time.legend(frameon=False, fontsize=7, loc="lower right")
    for axes in (by_epoch, by_time):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
