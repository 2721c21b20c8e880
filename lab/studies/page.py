"""`lab/results/NAME.json`, `.md` and its plot: the tables, where they come from, and how they were made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from intentrec.reports.cluster_plots import SHOWN
from intentrec.storage.runs import code_version
from lab.studies import analyses, claims, markdown, outcomes, timing
from lab.studies.run import DRAWN, Data
from lab.studies.study import Study
from lab.studies.systems import System, systems
from lab.studies.tables import FEW, Measured, naive_baselines, table

TITLES = {
    "1": "Table 1: baselines. Relative to TransAct",
    "2": "Table 2: architecture, and controls. Relative to V1",
    "3": "Table 3: one intent at a time. Relative to V0",
}


def write(name: str, study: Study, data: Data, measured: Mapping[str, Measured], folder: Path) -> None:
    """Write what there is so far; unfinished systems are named as such."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "img").mkdir(exist_ok=True)
    known = systems(study)
    intents = [intent.name for intent in study.base().intents]
    paces, timed_on = timing.read(study, data, measured, folder / "runs" / name)
    content: dict[str, Any] = {
        "title": study.title,
        "simulated": study.simulated is not None,
        "command": f"make experiments DATASET={name}",
        "code": code_version(),
        "data": data.content,
        "judged": [str(data.evidence.cut), str(data.evidence.end)],
        "study": study.model_dump(mode="json"),
        "tuned": {system: measured[system].results[0]["tuned"] for system in known if system in measured},
        "hours": analyses.hours(measured),
        "week_ahead_users": _judged(measured, data),
        "trained_by": analyses.codes(measured),
        "missing": [system for system in known if len(_results(measured, system)) < len(study.seeds)],
        "tables": {number: table(number, _of(known, number), measured, intents) for number in TITLES},
        "naive_baselines": naive_baselines(measured, intents),
        "claims": claims.outcomes(measured, intents),
        "margins": analyses.margins(measured),
        "intents": analyses.intents(measured, intents),
        "budgets": analyses.budgets(measured, paces),
        "timed_on": timed_on,
        "alignment": analyses.alignment(measured),
        "curves": {
            system: {
                "seconds": paces.get(system),
                "val_mrr": [[row["val_mrr"] for row in result["history"]] for result in measured[system].results],
            }
            for system in known
            if system in measured
        },
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.md").write_text(_text(name, content, intents, known, folder), encoding="utf-8")
    _curves(content["curves"], known, folder / "img" / f"{name}_curves.png")
    outcomes.write(folder)


def _judged(measured: Mapping[str, Measured], data: Data) -> dict[str, float]:
    """Users the week ahead is judged of, and all that have a target in it."""
    judged = next(iter(measured.values())).results[0]["metrics"]["week_ahead"]["users"] if measured else 0
    return {"judged": judged, "all": pc.count_distinct(data.evidence.targets["user_id"]).as_py()}


def _results(measured: Mapping[str, Measured], system: str) -> Sequence[Mapping[str, Any]]:
    return measured[system].results if system in measured else []


def _of(known: Mapping[str, System], number: str) -> list[str]:
    return [name for name, system in known.items() if number in system.tables]


def _text(
    name: str, content: Mapping[str, Any], intents: Sequence[str], known: Mapping[str, System], folder: Path
) -> str:
    study = content["study"]
    simulated = "**Simulated data**, not a real service. " if content["simulated"] else ""
    head = [
        f"# {content['title']}",
        f"{simulated}Made by `{content['command']}`, code `{content['code']}`. Judged on [{content['judged'][0]}, "
        f"{content['judged'][1]}), which no system saw; {len(study['seeds'])} seeds; every system had "
        f"{study['search']['trials']} trials of the same search on validation days and up to {study['epochs']} epochs. "
        "Training and judging with these seeds took "
        f"{' and '.join(f'{hours:.1f} hours on {name}' for name, hours in content['hours'].items())}, one core each; "
        f"the searches came on top. By the code of {', '.join(f'`{code}`' for code in content['trained_by'])}.",
        "Mean over seeds ± standard deviation. Lift: relative, of the next event's MRR (the paper's item-ID accuracy), "
        "averaged per user; interval and p-value over users and seeds: whether other users and other trainings would "
        "say the same. In brackets the p-value over users alone (the paper's paired t-test), of these very models. "
        "Every trained system, baselines included, gets the same facts of titles and interactions. Only the lines that "
        "say so learned the validation days: what is refit is to be compared with item_knn that did the same. The "
        "bound that is told the next intents is told them in the next event only. The week ahead is judged of the "
        f"{content['week_ahead_users']['judged']:,.0f} users who were also there in the week before, of "
        f"{content['week_ahead_users']['all']:,} who have a target in it; of cold users there is no mean where they "
        f"are fewer than {FEW}.",
    ]
    if content["missing"]:
        labels = ", ".join(known[system].label for system in content["missing"])
        head.append(f"**Unfinished**: seeds are missing of {labels}.")
    parts = [*head, *markdown.claims(content["claims"])]
    for number, title in TITLES.items():
        parts += [f"## {title}", markdown.paper_table(content["tables"][number], number, intents)]
    parts += ["## Naive baselines", markdown.paper_table(content["naive_baselines"], "", intents)]
    ours = {name: known[name].label for name in analyses.OURS if name in content["curves"]}
    parts += markdown.margins(content["margins"], ours)
    parts += [*markdown.intents(content["intents"]), *markdown.budgets(content["budgets"], content["timed_on"])]
    parts += [f"![curves](img/{name}_curves.png)", *markdown.alignment(content["alignment"], intents)]
    for figure, about in (
        (
            "intent_clusters",
            f"Figure 6: users by intent embedding, up to {SHOWN:,} of them; clusters named by what their users do more "
            "than others",
        ),
        ("attention", "Figure 7: attention weights of users, and by cluster"),
    ):
        if DRAWN in content["curves"] and (folder / "img" / f"{name}_{figure}.png").exists():
            parts.append(f"{about} ({known[DRAWN].label}, first seed).\n\n![{figure}](img/{name}_{figure}.png)")
    return "\n\n".join(parts) + "\n"


def _curves(curves: Mapping[str, Mapping[str, Any]], known: Mapping[str, System], path: Path) -> None:
    """Without the bounds, beside which nothing else could be told apart."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = {name: curve for name, curve in curves.items() if known[name].model.get("variant") != "v3oracle"}
    figure = Figure(figsize=(15, 5), layout="constrained")
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    for number, (system, curve) in enumerate(shown.items()):
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
