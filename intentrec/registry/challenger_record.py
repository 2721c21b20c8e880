"""What the MLflow run of a training keeps: tags, parameters, metrics and files."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intentrec.config import Domain
from intentrec.evaluation.gate import CHALLENGER
from intentrec.inference.scorer import CLUSTERS
from intentrec.registry.tracking import Record
from intentrec.storage.runs import Run, code_version
from intentrec.training.inputs import Inputs

if TYPE_CHECKING:
    from intentrec.registry.challenger import TrainedChallenger

PLOTS, CARD, HISTORY, CONFIG = "plots", "card.md", "history.json", "config.yaml"  # files beside the model
CATALOG_FILE = "catalog.parquet"  # file of the model: the titles known when it was trained


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


def record(run: Run, config: Path, trained: "TrainedChallenger", card: str) -> Record:
    """What MLflow logs of a training; writes the files that it keeps into the training's folder.

    Args:
        run: the attempt.
        config: the domain file.
        trained: the training, whose folder holds the pictures, the clusters and the catalogue.
        card: the model card.
    """
    work, inputs, ours = trained.work, trained.inputs, trained.fits[CHALLENGER]
    (work / CARD).write_text(card, encoding="utf-8")
    histories = {name: found.history for name, found in trained.fits.items()}
    (work / HISTORY).write_text(json.dumps(histories), encoding="utf-8")
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
        inputs={"sequences": inputs.sequences, "catalog": inputs.catalog},
        warehouse=run.warehouse,
        files={"model": ours.directory, CLUSTERS: work / CLUSTERS, CATALOG_FILE: work / CATALOG_FILE},
        extra={name: work / name for name in (PLOTS, CARD, HISTORY, CONFIG)} | others,
    )


def _metrics(trained: "TrainedChallenger") -> dict[str, float]:
    """The challenger's metrics by name, its validation metrics as `val_...`, and the other systems' as `SYSTEM_...`."""
    found = dict(trained.results[CHALLENGER].metrics)
    found |= {name: value for name, value in trained.fits[CHALLENGER].metrics.items() if name.startswith("val_")}
    for system, result in trained.results.items():
        if system != CHALLENGER:
            found |= {f"{system}_{name}": value for name, value in result.metrics.items() if "_of_" not in name}
    return found


def _params(domain: Domain) -> dict[str, Any]:
    """Sections of the domain file that shape a model, one parameter per key."""
    sections = {"model": domain.model, "training": domain.training, "sequences": domain.sequences}
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str) else json.dumps(value)
        for section, content in sections.items()
        for key, value in content.model_dump(mode="json").items()
    }
