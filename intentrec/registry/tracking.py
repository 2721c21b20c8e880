"""A training's run in MLflow: its inputs, its results, and the model itself as code, safetensors and JSON.

MLflow is imported late: the import takes seconds, which a job that finds nothing to do should not spend.
"""

import hashlib
import logging
import os
import tempfile
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intentrec.config import Domain, Profile
from intentrec.errors import PipelineError
from intentrec.inference.packaging import copy_code, requirements
from intentrec.inference.signature import signature

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERVING = Path(__file__).parents[1] / "inference" / "pyfunc.py"
NOTE = "mlflow.note.content"  # a run's description
CARD = "card.md"  # artifact of a training's run
# Characters that every store of MLflow keeps. PostgreSQL refuses a longer description; MLflow cuts a longer parameter.
DESCRIPTION, PARAMETER = 5_000, 6_000


@dataclass(frozen=True)
class Record:
    """What is logged of one training.

    Attributes:
        name: of the MLflow run.
        began: when the training began.
        card: the run's description, Markdown; shortened where it is too long.
        tags: of the run.
        params: by name.
        history: metrics per epoch.
        metrics: by name, which holds no text from outside; NaN (an empty slice) is not logged.
        inputs: version by table.
        warehouse: root of these tables.
        files: the model's artifacts by name.
        extra: other files or folders that the run keeps, by name.
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
    """A finished MLflow run, and its model as models:/m-..."""

    run_id: str
    model_uri: str
    metrics: Mapping[str, float]


def client_of(profile: Profile) -> "MlflowClient":
    """MLflow's client of the profile's server or database. From here on mlflow's own functions use the same store."""
    # Progress bars of two or three files would fill the jobs' logs.
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
    """Create MLflow's database if there is none: all of it, or nothing.

    It is created under another name and then linked, because MLflow cannot open a half-made database.
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
    """Id of the domain's experiment, created on first use with its own artifact location.

    Raises:
        PipelineError: it is deleted in MLflow, which keeps its name.
    """
    client = client_of(profile)
    found = client.get_experiment_by_name(domain.model_name)
    if found is not None and found.lifecycle_stage != "active":
        raise PipelineError(
            f"the experiment {found.name} is deleted in MLflow, so no training can be logged: restore it "
            f"(mlflow experiments restore --experiment-id {found.experiment_id}), or delete it for good (mlflow gc)"
        )
    if found is not None:
        return found.experiment_id
    return client.create_experiment(domain.model_name, f"{profile.mlflow_artifacts}/{domain.domain}")


def finished_run(profile: Profile, domain: Domain, fingerprint: str) -> LoggedRun | None:
    """The finished MLflow run with this fingerprint of inputs, or None."""
    client = client_of(profile)
    wanted = f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment(profile, domain)], wanted, max_results=1)
    if not found:
        return None
    return LoggedRun(found[0].info.run_id, found[0].data.tags["model_uri"], found[0].data.metrics)


def log_training(profile: Profile, domain: Domain, record: Record) -> LoggedRun:
    """Log a training as an MLflow run, which is finished only when everything was written.

    Unfinished MLflow runs with the same fingerprint are deleted first.
    """
    import mlflow
    from mlflow.tracking.context.registry import resolve_tags

    client = client_of(profile)
    experiment_id = experiment(profile, domain)
    for stale in client.search_runs([experiment_id], f"tags.fingerprint = '{record.tags['fingerprint']}'"):
        if stale.info.status != "FINISHED":
            client.delete_run(stale.info.run_id)
    metrics = {name: value for name, value in record.metrics.items() if value == value}
    began = int(record.began.timestamp() * 1000)
    tags = resolve_tags({**record.tags, NOTE: described(record.card)})
    run_id = client.create_run(experiment_id, began, tags, record.name).info.run_id
    with mlflow.start_run(run_id):
        mlflow.log_params({name: fitting(value) for name, value in record.params.items()})
        _log_curves(client, run_id, record.history)
        mlflow.log_metrics(metrics)
        _log_inputs(record)
        for name, path in record.extra.items():
            if path.is_dir():
                mlflow.log_artifacts(str(path), name)
            else:
                mlflow.log_artifact(str(path))
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            # MLflow warns that it cannot infer the signature; the signature is given.
            warnings.simplefilter("ignore", UserWarning)
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(SERVING),
                artifacts={name: str(path) for name, path in record.files.items()},
                signature=signature(),
                pip_requirements=requirements(),
                code_paths=[str(copy_code(Path(folder)))],
            )
        mlflow.set_tag("model_uri", info.model_uri)
    return LoggedRun(run_id, info.model_uri, metrics)


def read_text(run_id: str, name: str) -> str:
    """A text artifact of an MLflow run, by its name."""
    from mlflow.artifacts import load_text

    return load_text(f"runs:/{run_id}/{name}")


def fetch(run_id: str, name: str, folder: Path) -> Path:
    """Copy an artifact (file or folder) of an MLflow run into `folder`, and return its path there.

    The store is the one that `client_of` opened last.
    """
    import mlflow
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    uri = f"{mlflow.get_run(run_id).info.artifact_uri}/{name}"  # with a runs:/ URI MLflow hides why a copy failed
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))


def described(card: str) -> str:
    """The card as a description: its lines up to what every store keeps, and where the whole of it is."""
    if len(card) <= DESCRIPTION:
        return card
    note = f"\n\n(Shortened here. The whole card is the artifact `{CARD}` of the training's MLflow run.)\n"
    room = DESCRIPTION - len(note)
    return (card[:room].rpartition("\n")[0] or card[:room]) + note


def fitting(value: Any) -> str:
    """A parameter's text. If it is longer than the store keeps, its end becomes a hash, so that a change shows."""
    text = str(value)
    if len(text) <= PARAMETER:
        return text
    mark = f"... sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    return text[: PARAMETER - len(mark)] + mark


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
    """Log dataset inputs, and the same versions as tags: MLflow drops version 0 of a dataset."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    for table, version in record.inputs.items():
        source = DeltaDatasetSource(path=f"{record.warehouse}/{table}", delta_table_version=version)
        dataset = MetaDataset(source, name=table)  # type: ignore[abstract]
        mlflow.log_input(dataset, context="training")
        mlflow.set_tag(f"version.{table}", str(version))
