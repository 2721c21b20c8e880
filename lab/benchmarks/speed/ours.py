"""This project's SASRec in the task, with the pipeline's training loop and predictor."""

from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

import lab.baselines  # noqa: F401 - registers them
from intentrec.config import ROOT, Domain, load_domain
from intentrec.inference.predictor import Predictor
from intentrec.training.distributed import set_threads
from intentrec.training.loop import fit
from intentrec.training.settings import with_variant
from lab.benchmarks import rows
from lab.benchmarks.speed import turns
from lab.benchmarks.speed.histories import HOUR, Histories, load

VALIDATING = 8  # users whose last interaction is for validation: the loop needs some, and few cost no time


def main() -> None:
    """Train, then score all users."""
    task = turns.task()
    set_threads(task.threads)
    histories = load(task.data)
    titles = [f"t{title:08d}" for title in range(task.titles)]
    catalog = rows.catalog(titles)
    names = pa.array(titles)
    train = _with_validation(histories.last(task.length + 1), task)
    as_of = (rows.START + timedelta(hours=task.length + 49)).date()
    domain = _domain(task, train)
    turn = _Turns(task.epochs)
    result = fit(
        domain,
        rows.sequences(train.offsets, names.take(pa.array(train.title_N)), train.second_N, as_of),
        catalog,
        rows.NO_TITLE_FACTS,
        as_of,
        Path(task.folder),
        turn,
    )
    last = histories.last(task.length)
    to_score = rows.sequences(last.offsets, names.take(pa.array(last.title_N)), last.second_N, as_of)
    predictor = Predictor.load(result.directory)
    for _ in range(task.scorings):
        turns.begin()
        found = predictor.predict(to_score, predictor.items(catalog, rows.NO_TITLE_FACTS, as_of), task.top_k)
        turns.end()
        assert len(found.column(found.schema.get_field_index("title_ids")).flatten()) == len(to_score) * task.top_k
    turns.about(
        version=version("intentrec"),
        torch=torch.__version__,
        parameters=sum(p.numel() for p in predictor.model.parameters()),
        loss=result.history[-1]["train_item"],
    )


class _Turns:
    """Receives the loop's lines: one before the first epoch and one after each. A turn lies between two of them."""

    def __init__(self, epochs: int) -> None:
        self._left = epochs
        self._begun = False

    def __call__(self, line: str) -> None:
        if self._begun:
            turns.end()
            self._left -= 1
        self._begun = True
        if self._left:
            turns.begin()


def _with_validation(histories: Histories, task: turns.Task) -> Histories:
    second_N = histories.second_N.copy()
    second_N[histories.offsets[1 : VALIDATING + 1] - 1] = (task.length + 48) * HOUR
    return replace(histories, second_N=second_N)


def _domain(task: turns.Task, train: Histories) -> Domain:
    """The shipped domain with the sizes of the task: SASRec on titles alone."""
    domain = load_domain(ROOT / "conf" / "streaming.yaml").model_dump(mode="json")
    domain["calendar"] |= {"zone": "UTC", "day_start": "00:00"}
    domain["sequences"] |= {"length": task.length + 1}
    domain["model"] |= {"dim": task.dim, "heads": task.heads, "layers": task.blocks, "dropout": task.dropout}
    domain["training"] |= {
        "epochs": task.epochs,
        "patience": task.epochs,
        "validation_days": 1,
        "learning_rate": task.rate,
        "weight_decay": 0.0,
        # As many sequences per step as the others have, however long they are.
        "tokens": round(task.batch * float(np.diff(train.offsets).mean())),
    }
    return with_variant(Domain.model_validate(domain), "sasrec", id_only=True)


if __name__ == "__main__":
    main()
