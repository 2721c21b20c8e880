"""Figures that others published, and what is reached here by their protocol. One command per data set:

    python -m lab.benchmarks.published games --data DIR
    python -m lab.benchmarks.published movielens --data DIR

A run that was interrupted goes on where it stopped. What was measured before stays in the results, so that systems and
seeds can be measured one by one.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

from intentrec.config import COMPARISON, ROOT, Domain, ItemKnn, load_domain
from intentrec.evaluation.compare import learned_baselines
from intentrec.evaluation.item_knn import learn
from intentrec.evaluation.naive import popularity
from intentrec.evaluation.next_event import Events, targets_ended
from intentrec.evaluation.ranking import Scorer, naive_scorer
from intentrec.evaluation.systems import ModelSystem
from intentrec.evaluation.titles import Histories, Titles
from intentrec.inference.predictor import Predictor
from intentrec.storage.runs import code_version
from intentrec.training.distributed import set_threads
from intentrec.training.loop import fit
from intentrec.training.spec import with_variant
from lab.benchmarks.blocks import BLOCKS, Block
from lab.benchmarks.held_out import CUTOFF, VALIDATION, VALIDATION_DAYS, Split, split
from lab.benchmarks.published_report import write
from lab.leave_one_out import leave_one_out

app = typer.Typer(add_completion=False)
WORK, RESULTS = ROOT / "var" / "published", ROOT / "docs" / "results"


@app.command(help=__doc__)
def main(
    name: Annotated[str, typer.Argument(help="games or movielens")],
    data: Annotated[Path, typer.Option(help="folder of the data set")],
    system: Annotated[list[str] | None, typer.Option(help="only these, and no naive baselines")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="of the weights, the order and dropout")] = None,
    work: Annotated[Path, typer.Option(help="checkpoints and models")] = WORK,
    results: Annotated[Path, typer.Option(help="folder of published.json and published.md")] = RESULTS,
) -> None:
    """Measure a block."""
    if name not in BLOCKS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(BLOCKS)}")
    block = BLOCKS[name]
    threads = set_threads()
    parts = split(block.read(data), block.length + 1, block.stride)
    titles = Titles.of(parts.catalog["title_id"].to_pylist())
    typer.echo(f"{len(parts.before):,} users to test, {len(titles):,} titles, {len(parts.train):,} rows to train on")
    if system is None:
        for baseline, scorer in naive_baselines(parts, titles).items():
            row = {"system": baseline, "seed": 0, "metrics": judge(block, parts, titles, scorer)}
            write(results, name, row | {"commit": code_version()})
    for chosen in system or block.systems:
        for number in seed or [1]:
            folder = work / name / f"{chosen}-{number}"
            row = train(domain_of(name, block, chosen, number), parts, folder)
            scorer = ModelSystem(Predictor.load(folder / "model"), parts.catalog, CUTOFF, titles).titles
            row |= {"system": chosen, "seed": number, "threads": threads, "commit": code_version()}
            row["metrics"] = judge(block, parts, titles, scorer)
            typer.echo(f"{chosen}, seed {number}: {row['metrics'][next(iter(block.candidates))]}")
            write(results, name, row)


def domain_of(name: str, block: Block, system: str, seed: int) -> Domain:
    """The configuration of a system of a block: titles in their order are all that it knows."""
    value = load_domain(ROOT / "conf" / "streaming.yaml").model_dump(mode="json")
    value["domain"] = name
    value["calendar"]["zone"] = "UTC"
    value["sequences"]["length"] = block.length + 1
    value["sequences"]["weight"] = {"transform": "none"}
    # The heads of the baselines that have them: one label, so that there is nothing to learn from it.
    value["intents"] = [{"name": "action_type", "column": "action_type"}]
    value["model"] |= {"history_path": False, "intent_weight": 0.0, **block.model}
    value["training"] |= {"validation_days": VALIDATION_DAYS, "seed": seed, **block.training}
    for section, own in block.own.get(system, {}).items():
        value[section] |= own
    return with_variant(Domain.model_validate(value, context=COMPARISON), system, id_only=True)


def train(domain: Domain, parts: Split, folder: Path) -> dict[str, Any]:
    """Train into a folder, or go on with it, and say how it went."""
    clock = time.monotonic()
    found = fit(domain, parts.train, parts.catalog, CUTOFF, folder, typer.echo)
    return {
        "epochs": len(found.history),
        "best_epoch": found.best_epoch,
        "validation_mrr": found.metrics["val_mrr"],
        "seconds_per_epoch": float(np.median([row["seconds"] for row in found.history])),
        "seconds": sum(row["seconds"] for row in found.history),
        "seconds_this_time": time.monotonic() - clock,
        "settings": {"model": domain.model.model_dump(mode="json"), "training": domain.training.model_dump()},
    }


def judge(block: Block, parts: Split, titles: Titles, scorer: Scorer) -> dict[str, dict[str, float]]:
    """Metrics by what the held-out title competes with."""
    return {
        against: leave_one_out(parts.before, parts.held_out, titles, {"it": scorer}, candidates)["it"].metrics
        for against, candidates in block.candidates.items()
    }


def naive_baselines(parts: Split, titles: Titles) -> Mapping[str, Scorer]:
    """Systems that learn from the same targets as the models, by counting."""
    learned = learn(training_rows(parts.train), titles, learned_baselines(ItemKnn()))
    engaged = [Histories.of(rows, titles).titles[Events.of(rows).flat] for rows in training_rows(parts.train)]
    popular_N = popularity(np.concatenate(engaged), len(titles))
    fitted = {name: baseline.scorer(titles, popular_N) for name, baseline in learned.items()}
    return {"popularity": naive_scorer("popularity_7d", titles, popular_N), **fitted}


def training_rows(train: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows with training targets only: what validates is no target."""
    return (targets_ended(rows, end=VALIDATION) for rows in train.to_batches())


if __name__ == "__main__":
    app()
