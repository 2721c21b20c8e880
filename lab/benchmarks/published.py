"""Published figures, and what this project reaches by their protocol. One command per data set:

    python -m lab.benchmarks.published games --data DIR
    python -m lab.benchmarks.published movielens --data DIR

After an interruption the command continues. Earlier measurements stay in the results, so systems and seeds can be
measured one by one.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any, TypeAlias

import numpy as np
import pyarrow as pa
import typer

import lab.baselines  # noqa: F401 - registers them
from intentrec.config import COMPARISON, ROOT, Domain, ItemKnn, home, load_domain
from intentrec.evaluation.candidates import Histories, Titles
from intentrec.evaluation.model_system import ModelSystem
from intentrec.evaluation.naive_baselines import (
    HistoryBaseline,
    learn_neighbours,
    neighbour_methods,
    popularity,
    popularity_7d,
)
from intentrec.evaluation.systems import TitleScorer
from intentrec.evaluation.targets import Targets, targets_ended
from intentrec.inference.predictor import Predictor
from intentrec.reports.markdown import table
from intentrec.storage.runs import code_version
from intentrec.training.distributed import set_threads
from intentrec.training.loop import fit
from intentrec.training.settings import with_variant
from lab.benchmarks.held_out import CUTOFF, VALIDATION, VALIDATION_DAYS, Split, split
from lab.benchmarks.published_sets import SETS, PublishedSet
from lab.benchmarks.report import RESULTS, publish, stored
from lab.benchmarks.rows import NO_TITLE_FACTS
from lab.leave_one_out import leave_one_out

app = typer.Typer(add_completion=False)
WORK = home() / "lab" / "published"

Rows: TypeAlias = list[dict[str, Any]]


@app.command(help=__doc__)
def main(
    name: Annotated[str, typer.Argument(help="games or movielens")],
    data: Annotated[Path, typer.Option(help="folder of the data set")],
    system: Annotated[list[str] | None, typer.Option(help="only these, and no naive baselines")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="of the weights, the order and dropout")] = None,
    work: Annotated[Path, typer.Option(help="checkpoints and models")] = WORK,
    results: Annotated[Path, typer.Option(help="folder of benchmarks.json and benchmarks.md")] = RESULTS,
) -> None:
    """Measure one data set."""
    if name not in SETS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(SETS)}")
    published = SETS[name]
    threads = set_threads()
    parts = split(published.read(data), published.length + 1, published.stride)
    titles = Titles.of(parts.catalog["title_id"].to_pylist())
    typer.echo(f"{len(parts.before):,} users to test, {len(titles):,} titles, {len(parts.train):,} rows to train on")
    if system is None:
        for baseline, scorer in naive_baselines(parts, titles).items():
            row = {"system": baseline, "seed": 0, "metrics": judge(published, parts, titles, scorer)}
            write(results, name, row | {"commit": code_version()})
    for chosen in system or published.systems:
        for number in seed or [1]:
            folder = work / name / f"{chosen}-{number}"
            row = train(domain_of(name, published, chosen, number), parts, folder)
            scorer = ModelSystem(Predictor.load(folder / "model"), parts.catalog, NO_TITLE_FACTS, CUTOFF, titles)
            row |= {"system": chosen, "seed": number, "threads": threads, "commit": code_version()}
            metrics = judge(published, parts, titles, scorer)
            typer.echo(f"{chosen}, seed {number}: {metrics[next(iter(published.candidates))]}")
            write(results, name, {**row, "metrics": metrics})


def domain_of(name: str, published: PublishedSet, system: str, seed: int) -> Domain:
    """The configuration of a system: it knows titles and their order, nothing else."""
    value = load_domain(ROOT / "conf" / "streaming.yaml").model_dump(mode="json")
    value["domain"] = name
    value["calendar"]["zone"] = "UTC"
    value["sequences"]["length"] = published.length + 1
    value["sequences"]["weight"] = {"transform": "none"}
    # Baselines with intent heads get one label, so that there is nothing to learn from it.
    value["intents"] = [{"name": "action_type", "column": "action_type"}]
    value["model"] |= {"history_path": False, "intent_weight": 0.0, **published.model}
    value["training"] |= {"validation_days": VALIDATION_DAYS, "seed": seed, **published.training}
    for section, own in published.own.get(system, {}).items():
        value[section] |= own
    return with_variant(Domain.model_validate(value, context=COMPARISON), system, id_only=True)


def train(domain: Domain, parts: Split, folder: Path) -> dict[str, Any]:
    """Train into a folder, or continue there; how the training went."""
    clock = time.monotonic()
    found = fit(domain, parts.train, parts.catalog, NO_TITLE_FACTS, CUTOFF, folder, typer.echo)
    return {
        "epochs": len(found.history),
        "best_epoch": found.best_epoch,
        "validation_mrr": found.metrics["val_mrr"],
        "seconds_per_epoch": float(np.median([row["seconds"] for row in found.history])),
        "seconds": sum(row["seconds"] for row in found.history),
        "seconds_this_time": time.monotonic() - clock,
        "settings": {"model": domain.model.model_dump(mode="json"), "training": domain.training.model_dump()},
    }


def judge(published: PublishedSet, parts: Split, titles: Titles, scorer: TitleScorer) -> dict[str, dict[str, float]]:
    """Metrics, by the candidates that the held-out title is ranked among."""
    return {
        against: leave_one_out(parts.before, parts.held_out, titles, {"it": scorer}, candidates)["it"].metrics
        for against, candidates in published.candidates.items()
    }


def naive_baselines(parts: Split, titles: Titles) -> Mapping[str, TitleScorer]:
    """Systems that learn from the same targets as the models, by counting."""
    learned = learn_neighbours(training_rows(parts.train), titles, neighbour_methods(ItemKnn()))
    engaged = [Histories.of(rows, titles).titles[Targets.of(rows).flat] for rows in training_rows(parts.train)]
    popular_N = popularity(np.concatenate(engaged), len(titles))
    fitted = {name: baseline.over(titles, popular_N) for name, baseline in learned.items()}
    return {"popularity": HistoryBaseline(popularity_7d, titles, popular_N), **fitted}


def training_rows(train: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows with training targets only: what validates is no target."""
    return (targets_ended(rows, end=VALIDATION) for rows in train.to_batches())


def write(folder: Path, name: str, row: dict[str, Any]) -> None:
    """Add a measurement of the data set `name`, in place of an earlier one of the same system and seed."""
    results: dict[str, Rows] = stored("published", folder)
    kept = [old for old in results.get(name, []) if (old["system"], old["seed"]) != (row["system"], row["seed"])]
    rows = sorted([*kept, row], key=lambda each: (each["system"], each["seed"]))
    publish("published", {**results, name: rows}, folder)


def values(results: dict[str, Rows]) -> dict[str, Any]:
    """What the page shows of the results."""
    blocks = []
    for name, rows in sorted(results.items()):
        published, systems = SETS[name], _by_system(rows)
        tables = [_table(published, systems, against) for against in published.candidates]
        about = {"title": published.title, "protocol": published.protocol, "tables": tables}
        blocks.append({**about, "verdict": _verdict(published, systems)})
    return {"blocks": blocks}


def _by_system(rows: Rows) -> dict[str, Rows]:
    systems: dict[str, Rows] = {}
    for row in rows:
        systems.setdefault(row["system"], []).append(row)
    return systems


def _table(published: PublishedSet, systems: dict[str, Rows], against: str) -> str:
    """One line per system, the best first; above them the published figures, if these are their candidates."""
    names = list(published.published)
    lines = []
    if against == next(iter(published.candidates)):
        lines.append(["published", "", *(f"**{value:.4f}**" for value in published.published.values()), "", ""])
    for system in sorted(systems, key=lambda each: -_mean(systems[each], against, names[0])):
        rows = systems[system]
        trained = [row for row in rows if "epochs" in row]
        cells = [_spread([row["metrics"][against][name] for row in rows]) for name in names]
        seconds = f"{mean(row['seconds_per_epoch'] for row in trained):.1f}" if trained else ""
        lines.append([system, str(len(rows)), *cells, " / ".join(str(row["epochs"]) for row in trained), seconds])
    return table([against, "seeds", *names, "epochs", "seconds per epoch"], lines, "lr")


def _verdict(published: PublishedSet, systems: dict[str, Rows]) -> str:
    """Whether the published figures were reached, with the differences."""
    against = next(iter(published.candidates))
    trained = {name: rows for name, rows in systems.items() if "epochs" in rows[0]}
    if published.system != "best":
        trained = {name: rows for name, rows in trained.items() if name == published.system}
    if not trained:
        return "Not measured yet."
    chosen = max(
        trained, key=lambda system: [_mean(trained[system], against, metric) for metric in published.published]
    )
    words = []
    for name, value in published.published.items():
        found = _mean(trained[chosen], against, name)
        reached = "reached" if found >= value else "missed"
        words.append(f"{name} {found:.4f} against {value:.4f}: {reached}, {found - value:+.4f}")
    of = f", the best of {len(trained)}" if published.system == "best" else ""
    return f"{chosen}{of}: {'; '.join(words)}."


def _mean(rows: Rows, against: str, metric: str) -> float:
    return mean(row["metrics"][against][metric] for row in rows)


def _spread(values: list[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    app()
