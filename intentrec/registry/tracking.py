"""A training run in MLflow: what went in, what came out, and the model itself as code, safetensors and JSON.

MLflow is imported late: it costs seconds, and a job that finds nothing to do should not pay them.
"""

import logging
import os
import re
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intentrec.config import Domain, Profile

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVING = Path(__file__).parents[1] / "inference" / "pyfunc.py"
NOTE = "mlflow.note.content"  # a run's description


@dataclass(frozen=True)
class Record:
    """Everything that one training run logs.

    `began` is when training began, and `card` the run's description. `metrics` may be NaN where a slice was empty;
    those are left out. `files` are the model's artifacts by name; `extra` are folders or files that the run keeps
    beside it, under these names.
    """

    name: str
    began: datetime
    card: str
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    metrics: Mapping[str, float]
    inputs: Mapping[str, int]
    warehouse: str
    files: Mapping[str, Path]
    extra: Mapping[str, Path]


@dataclass(frozen=True)
class LoggedRun:
    """A finished MLflow run and its model, as models:/m-..."""

    run_id: str
    model_uri: str
    metrics: Mapping[str, float]


def client_of(profile: Profile) -> "MlflowClient":
    """MLflow's client of the profile's server or database; mlflow's own functions use the same from here on."""
    # Its bars count the two or three files of a model, and end up in the jobs' logs line by line.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for noisy in ("alembic", "mlflow.store.db.utils", "mlflow.utils.requirements_utils"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if profile.mlflow.startswith("sqlite:///"):
        _make_database(Path(profile.mlflow.removeprefix("sqlite:///")))
    mlflow.set_tracking_uri(profile.mlflow)
    mlflow.set_registry_uri(profile.mlflow)
    return mlflow.MlflowClient()


def _make_database(path: Path) -> None:
    """Make MLflow's database where there is none: all of it, or nothing.

    It is made beside its place, because MLflow cannot open one whose maker was killed between two tables.
    """
    if path.exists():
        return
    import mlflow

    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")  # MLflow remembers what it opened by name
    try:
        mlflow.MlflowClient(f"sqlite:///{half}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another process was first
            os.link(half, path)
    finally:
        half.unlink(missing_ok=True)


def experiment(profile: Profile, domain: Domain) -> str:
    """Id of the domain's experiment, made on first use with its own artifact location."""
    client = client_of(profile)
    found = client.get_experiment_by_name(domain.model_name)
    if found is not None:
        return found.experiment_id
    return client.create_experiment(domain.model_name, f"{profile.mlflow_artifacts}/{domain.domain}")


def finished_run(profile: Profile, domain: Domain, fingerprint: str) -> LoggedRun | None:
    """The finished run with exactly these inputs, if there is one."""
    client = client_of(profile)
    wanted = f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment(profile, domain)], wanted, max_results=1)
    if not found:
        return None
    return LoggedRun(found[0].info.run_id, found[0].data.tags["model_uri"], found[0].data.metrics)


def log_training(profile: Profile, domain: Domain, record: Record) -> LoggedRun:
    """Log a run. It is finished only when everything was written; what an interrupted one left is deleted first."""
    import mlflow
    from mlflow.tracking.context.registry import resolve_tags

    client = client_of(profile)
    experiment_id = experiment(profile, domain)
    for stale in client.search_runs([experiment_id], f"tags.fingerprint = '{record.tags['fingerprint']}'"):
        if stale.info.status != "FINISHED":
            client.delete_run(stale.info.run_id)
    names = metric_names(record.metrics)
    metrics = {names[name]: value for name, value in record.metrics.items() if value == value}
    began = int(record.began.timestamp() * 1000)
    tags = resolve_tags({**record.tags, NOTE: record.card})
    run_id = client.create_run(experiment_id, began, tags, record.name).info.run_id
    with mlflow.start_run(run_id):
        mlflow.log_params(dict(record.params))
        _log_curves(client, run_id, record.history)
        mlflow.log_metrics(metrics)
        _log_inputs(record)
        for name, path in record.extra.items():
            if path.is_dir():
                mlflow.log_artifacts(str(path), name)
            else:
                mlflow.log_artifact(str(path))
        with warnings.catch_warnings():
            # MLflow asks for type hints or an example to infer the signature from; the signature is given.
            warnings.simplefilter("ignore", UserWarning)
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(SERVING),
                artifacts={name: str(path) for name, path in record.files.items()},
                signature=signature(),
                pip_requirements=requirements(),
            )
        mlflow.set_tag("model_uri", info.model_uri)
    return LoggedRun(run_id, info.model_uri, metrics)


def read_text(run_id: str, name: str) -> str:
    """A text that a run keeps."""
    from mlflow.artifacts import load_text

    return load_text(f"runs:/{run_id}/{name}")


def fetch(run_id: str, name: str, folder: Path) -> Path:
    """Copy a file or folder that a run of the store last given by `client_of` keeps to `folder`; its path there."""
    import mlflow
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    uri = f"{mlflow.get_run(run_id).info.artifact_uri}/{name}"  # asked by run, MLflow hides why a copy failed
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))


def metric_names(names: Iterable[str]) -> dict[str, str]:
    """What a metric is called in MLflow, by its own name.

    What MLflow refuses, such as the & in 'Sci-Fi & Fantasy', becomes an underscore; of several that would then have the
    same name, the second one ends in _2.
    """
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w.\-]+", "_", name)
        others = (f"{plain}_{number}" for number in count(2))
        found[name] = next(each for each in chain([plain], others) if each not in found.values())
    return found


def _log_curves(client: "MlflowClient", run_id: str, history: Sequence[Mapping[str, float]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(f"epoch_{name}", float(value), now, step)
        for step, entry in enumerate(history, start=1)
        for name, value in entry.items()
        if name != "epoch" and isinstance(value, int | float) and value == value
    ]
    for start in range(0, len(points), 1000):
        client.log_batch(run_id, metrics=points[start : start + 1000])


def _log_inputs(record: Record) -> None:
    """Dataset inputs and, because version 0 is dropped there, the same versions as tags."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    for table, version in record.inputs.items():
        source = DeltaDatasetSource(path=f"{record.warehouse}/{table}", delta_table_version=version)
        dataset = MetaDataset(source, name=table)  # type: ignore[abstract]
        mlflow.log_input(dataset, context="training")
        mlflow.set_tag(f"version.{table}", str(version))


def requirements() -> list[str]:
    """What the model needs beside this package, at the installed versions."""
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "pyarrow", "safetensors", "torch", "deltalake")]


def signature() -> Any:
    """Explicit signature: rows of `sequences` in, a prediction per row out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array, Map

    def texts(name: str) -> ColSpec:
        return ColSpec(Array(DataType.string), name)

    def numbers(name: str, of: DataType) -> ColSpec:
        return ColSpec(Array(of), name)

    inputs = Schema(
        [
            ColSpec(DataType.datetime, "as_of"),
            ColSpec(DataType.string, "user_id"),
            ColSpec(DataType.string, "account_id"),
            ColSpec(DataType.integer, "n_new"),
            *(texts(name) for name in ("title_id", "action_type", "kind", "creator", "language", "surface", "device")),
            # Arrays of arrays: MLflow's check rebuilds them as one numpy array, which fails for unequal lengths.
            ColSpec(AnyType(), "genres"),
            *(numbers(name, DataType.datetime) for name in ("start_ts", "end_ts")),
            *(numbers(name, DataType.double) for name in ("duration_s", "release_age_days")),
            numbers("is_target", DataType.boolean),
            numbers("weight", DataType.float),
            ColSpec(Map(Array(DataType.integer)), "window_start"),
        ]
    )
    outputs = Schema(
        [
            ColSpec(DataType.string, "user_id"),
            ColSpec(DataType.string, "account_id"),
            numbers("intent_embedding", DataType.float),
            ColSpec(Map(DataType.float), "attention"),
            ColSpec(DataType.string, "primary_intent"),
            ColSpec(Map(Array(DataType.string)), "top_labels"),
            ColSpec(Map(Array(DataType.float)), "top_probabilities"),
            numbers("user_vector", DataType.float),
            ColSpec(Map(DataType.float), "logit_bias"),
            texts("title_ids"),
            numbers("scores", DataType.float),
            ColSpec(DataType.integer, "cluster"),
        ]
    )
    params = ParamSchema(
        [
            ParamSpec("top_k", DataType.long, 20),
            ParamSpec("seen_titles", DataType.boolean, True),
            ParamSpec("catalog", DataType.string, ""),
            ParamSpec("catalog_version", DataType.long, -1),
        ]
    )
    return ModelSignature(inputs, outputs, params)
