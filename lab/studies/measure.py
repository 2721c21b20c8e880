"""One training of one system, judged on the held-out week. Finished parts are files and are never made again.

A study's folder of runs holds, per system and seed, `SYSTEM-SEED.json` (metrics, curve, settings, commit) and one
Parquet file per protocol with the values per user that significance is tested on. MLflow keeps the same files. A result
is valid while study, data and settings stay the same.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from intentrec.config import Domain, fingerprint
from intentrec.evaluation.compare import protocols
from intentrec.evaluation.metrics import Result
from intentrec.inference.predictor import Predictor
from intentrec.registry import tracking
from intentrec.storage.runs import code_version
from intentrec.training.data import open_sequences, read_catalog, read_title_facts
from intentrec.training.distributed import hardware_name
from intentrec.training.loop import FitResult, fit
from intentrec.training.settings import settings
from lab.studies.data import Data
from lab.studies.intents import against_truth, aligned_on, figures
from lab.studies.study import Study, System, domain_of

Say: TypeAlias = Callable[[str], None]

PROTOCOLS = ("week_ahead", "next_event")
PER_USER = {"week_ahead": ("mrr", "ndcg_at_10"), "next_event": ("mrr", "ndcg_at_10")}
DRAWN = "v4"  # the system whose clusters and attention are drawn, with the first seed
TIMING = "timing.json"
TIMED_EPOCHS = 2  # the faster one counts: the first may warm something up, and other work only adds time


def train_once(domain: Domain, data: Data, folder: Path, say: Say) -> FitResult:
    """Fit on what was known before the judged week."""
    run, inputs = data.run, data.inputs
    sequences = open_sequences(run.warehouse, inputs.sequences, inputs.cutoff, domain.training.weeks)
    catalog = read_catalog(run.warehouse, inputs.catalog, inputs.cutoff)
    title_facts = read_title_facts(run.warehouse, inputs.title_facts, inputs.cutoff, domain.training.weeks)
    return fit(domain, sequences, catalog, title_facts, inputs.cutoff, folder, say)


def measure(study: Study, data: Data, system: System, tuned: Mapping[str, float], seed: int, out: Path) -> bool:
    """Train and judge into the folder `out`, unless the result exists; whether there was anything to do."""
    domain = domain_of(study, system, tuned, seed)
    mark = {
        **data.facts.mark(study),
        "system": system.name,
        "seed": seed,
        "tuned": dict(tuned),
        "settings": settings(domain),
    }
    path = out / f"{system.name}-{seed}.json"
    if stored(path, mark):
        return False
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = train_once(domain, data, Path(folder), lambda line: None)
        trained = time.monotonic() - began
        predictor = Predictor.load(found.directory)
    results = protocols(data.evidence, domain, {system.name: predictor}, naive_baselines=False)
    if system.name == DRAWN and seed == study.seeds[0]:
        figures(data.evidence, domain, predictor, out)
    about = {
        **mark,
        "label": system.label,
        "alignment": _alignment(study, data, domain, predictor) if predictor.spec.hierarchical else {},
        "parameters": sum(parameter.numel() for parameter in predictor.model.parameters()),
        "best_epoch": found.best_epoch,
        "history": found.history,
        "seconds": {"training": trained, "all": time.monotonic() - began},
        "hardware": hardware_name(),
        "code": code_version(),
    }
    write(path, about, {name: each[system.name] for name, each in zip(PROTOCOLS, results, strict=True)})
    _log(data, path)
    return True


def _alignment(study: Study, data: Data, domain: Domain, predictor: Predictor) -> dict[str, float | None]:
    found = aligned_on(data.evidence, domain, predictor)
    truth = Path(data.run.profile.work) / "truth" / data.run.domain.domain
    return _finite(found.metrics() | (against_truth(found, truth) if study.simulated is not None else {}))


def _log(data: Data, path: Path) -> None:
    """An MLflow run with the metrics and the files of a result."""
    about = json.loads(path.read_text(encoding="utf-8"))
    metrics = {
        f"{protocol}.{name}": value
        for protocol, each in about["metrics"].items()
        for name, value in each.items()
        if value is not None and "_accuracy_of_" not in name  # a label is no name of a metric; the file has these
    }
    experiment = tracking.experiment(data.run.profile, data.run.domain)
    with mlflow.start_run(experiment_id=experiment, run_name=path.stem):
        mlflow.log_params({"system": about["system"], "seed": about["seed"], **about["tuned"]})
        mlflow.log_metrics(metrics)
        for file in (path, *sorted(path.parent.glob(f"{path.stem}.*.parquet"))):
            mlflow.log_artifact(str(file))


def time_epochs(
    study: Study, data: Data, known: Mapping[str, System], results: Mapping[str, Any], out: Path, say: Say
) -> None:
    """Time an epoch, its validation included, of every system with results, one after another on this machine.

    All are timed again whenever one is, because seconds of different days or machines give no ratio.

    Args:
        study: gives the settings.
        data: to train on.
        known: all systems by name.
        results: by name of a trained system, the stored result of one seed.
        out: folder of the study's runs.
        say: receives a line per system.
    """
    found = {}
    for name, result in results.items():
        domain = domain_of(study, known[name], result["tuned"], result["seed"])
        few = domain.training.model_copy(update={"epochs": TIMED_EPOCHS, "patience": TIMED_EPOCHS, "refit": False})
        short = domain.model_copy(update={"training": few})
        with tempfile.TemporaryDirectory() as folder:
            history = train_once(short, data, Path(folder), lambda line: None).history
        found[name] = {"settings": result["settings"], "seconds": min(row["seconds"] for row in history)}
        say(f"{name}: {found[name]['seconds']:.1f} s an epoch")
    mark = data.facts.mark(study)
    save(out / TIMING, {**mark, "hardware": hardware_name(), "code": code_version(), "systems": found})


def stored(path: Path, mark: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of the file, if it exists and has exactly this mark."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if all(content.get(key) == value for key, value in mark.items()) else None


def write(path: Path, about: Mapping[str, Any], results: Mapping[str, Result]) -> None:
    """Write a result: first the values per user, then the JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for key, each in results.items():
        kept = {name: each.per_user[name].astype(np.float32) for name in PER_USER[key] if name in each.per_user}
        if kept:
            pq.write_table(pa.table(kept), path.with_suffix(f".{key}.parquet"), compression="zstd")
    save(
        path,
        {
            **about,
            "users": {key: fingerprint(each.users.to_pylist()) for key, each in results.items()},
            "metrics": {key: _finite(each.metrics) for key, each in results.items()},
        },
    )


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Values that were not measured become null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in metrics.items()}
