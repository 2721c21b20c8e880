"""A trained challenger, and what the MLflow run of its training keeps: tags, parameters, metrics and files.

Shape suffixes: U users, P width of the intent embedding, M intents.
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intentrec.config import Domain
from intentrec.contracts import SEQUENCES
from intentrec.evaluation.gate import CHALLENGER
from intentrec.evaluation.metrics import Result
from intentrec.inference.scorer import CLUSTERS, TYPICAL
from intentrec.registry.tracking import CARD, Record
from intentrec.storage.delta import arrow_schema
from intentrec.storage.runs import Run, code_version
from intentrec.training.inputs import Inputs
from intentrec.training.loop import FitResult

PLAIN = "v0"  # trained on the same data, for comparison in every table
PLOTS, HISTORY, METRICS, CONFIG = "plots", "history.json", "metrics.json", "config.yaml"  # files beside the model
CATALOG_FILE = "catalog.parquet"  # file of the model: the titles known when it was trained
TITLE_FACTS_FILE = "title_facts.parquet"  # and how popular they were then
SCHEMA_FILE = "sequences.parquet"  # file of the model, without rows: the columns that it takes


@dataclass(frozen=True)
class IntentClusters:
    """Users by the cluster of their predicted intent (Figures 6 and 7 of the paper).

    Attributes:
        users: U rows of `sequences`.
        embedding_UP: Z of each user.
        attention_UM: attention weights, in the order of the model's intents.
        cluster_U: number of each user's cluster.
    """

    users: pa.RecordBatch
    embedding_UP: NDArray[np.floating]
    attention_UM: NDArray[np.floating]
    cluster_U: NDArray[np.integer]


@dataclass(frozen=True)
class TrainedChallenger:
    """A challenger and V0, trained on the same data and compared on the week that neither has seen.

    Attributes:
        domain: its settings.
        inputs: what it was trained from.
        fits: trainings by name: `challenger` and `v0`.
        results: by system: the two models and the naive baselines.
        intents: names of the challenger's intents.
        clusters: users by predicted intent.
        facts: lines about data and training, by title.
        simulated: whether the data are simulated.
        work: folder of the model, its clusters and its catalogue.
        rows: rows read per table.
    """

    domain: Domain
    inputs: Inputs
    fits: Mapping[str, FitResult]
    results: Mapping[str, Result]
    intents: tuple[str, ...]
    clusters: IntentClusters
    facts: Mapping[str, str]
    simulated: bool
    work: Path
    rows: Mapping[str, int]


def tags_of(run: Run, inputs: Inputs) -> dict[str, str]:
    """Tags of the MLflow run and of the model version."""
    return {
        "fingerprint": inputs.fingerprint,
        "trained_for": str(inputs.trained_for),
        "cutoff": str(inputs.cutoff),
        "config_hash": run.domain.hash,
        "code_version": code_version(),
        "domain": run.domain.domain,
    }


def record(run: Run, config: Path, trained: TrainedChallenger, card: str) -> Record:
    """What MLflow logs of a training; writes the files that it keeps into the training's folder.

    Args:
        run: the attempt.
        config: the domain file.
        trained: the training, whose folder holds the pictures, the clusters and the catalogue.
        card: the model card.
    """
    work, inputs, ours = trained.work, trained.inputs, trained.fits[CHALLENGER]
    (work / CARD).write_text(card, encoding="utf-8")
    pq.write_table(arrow_schema(SEQUENCES).empty_table(), work / SCHEMA_FILE)
    histories = {name: found.history for name, found in trained.fits.items()}
    (work / HISTORY).write_text(json.dumps(histories), encoding="utf-8")
    measured = {name: _finite(result.metrics) for name, result in trained.results.items()}
    (work / METRICS).write_text(json.dumps(measured, ensure_ascii=False), encoding="utf-8")
    shutil.copy(config, work / CONFIG)
    others = {name: found.directory for name, found in trained.fits.items() if name != CHALLENGER}
    return Record(
        name=f"{run.domain.domain} {inputs.trained_for}",
        began=run.started,
        card=card,
        tags=tags_of(run, inputs) | {f"rows.{table}": str(count) for table, count in trained.rows.items()},
        params=_params(run.domain) | {"best_epoch": ours.best_epoch},
        history=ours.history,
        metrics=_metrics(trained),
        inputs={"sequences": inputs.sequences, "catalog": inputs.catalog, "title_facts": inputs.title_facts},
        warehouse=run.warehouse,
        files={
            "model": ours.directory,
            **{name: work / name for name in (CLUSTERS, TYPICAL, CATALOG_FILE, TITLE_FACTS_FILE, SCHEMA_FILE)},
        },
        extra={name: work / name for name in (PLOTS, CARD, HISTORY, METRICS, CONFIG)} | others,
    )


def _metrics(trained: TrainedChallenger) -> dict[str, float]:
    """The challenger's metrics by name, its validation metrics as `val_...`, and the other systems' as `SYSTEM_...`.

    Those per class are left out: a label is no name of a metric. The file METRICS has them.
    """
    found = {name: value for name, value in trained.fits[CHALLENGER].metrics.items() if name.startswith("val_")}
    for system, result in trained.results.items():
        before = "" if system == CHALLENGER else f"{system}_"
        found |= {f"{before}{name}": value for name, value in result.metrics.items() if "_accuracy_of_" not in name}
    return found


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """As JSON values: what was not measured is null."""
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def _params(domain: Domain) -> dict[str, Any]:
    """Sections of the domain file that shape a model, one parameter per key."""
    sections = {"model": domain.model, "training": domain.training, "sequences": domain.sequences}
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str) else json.dumps(value)
        for section, content in sections.items()
        for key, value in content.model_dump(mode="json").items()
    }
