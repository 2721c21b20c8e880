"""Make this week's challenger: train, compare for the record, log, register. Nothing is done twice for one input."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intentrec.config import Domain, Training
from intentrec.errors import PipelineError
from intentrec.evaluation.compare import compare
from intentrec.evaluation.evidence import read_evidence, require_evidence
from intentrec.evaluation.metrics import Result
from intentrec.inference import clusters
from intentrec.inference.predictor import Predictor
from intentrec.inference.scorer import CLUSTERS
from intentrec.model.titles import latest_rows
from intentrec.registry import tracking
from intentrec.registry.versions import Registry, Version
from intentrec.reports.cluster_plots import draw_profiles
from intentrec.reports.model_card import model_card
from intentrec.reports.plots import draw
from intentrec.sources.simulated import simulated
from intentrec.storage.runs import Run, code_version
from intentrec.training.data import open_sequences, read_catalog
from intentrec.training.distributed import set_threads
from intentrec.training.inputs import Inputs
from intentrec.training.loop import FitResult, fit
from intentrec.training.spec import with_variant

PLAIN = "v0"  # trained on the same data, to stand beside the challenger in every table


def make_challenger(run: Run, config: Path) -> Version:
    """Train for the run's end and register the result, or find it where it was done before.

    Raises:
        Skip: nothing to train on before T - 7d, or nothing to judge on after it.
        PipelineError: the domain's variant predicts no intent embedding, so it could not be published.
    """
    if run.domain.model.variant in ("v0", "v1"):
        raise PipelineError(
            f"{config}: model.variant: {run.domain.model.variant} has no intent embedding (Eq. 2) to publish; "
            "choose v2 or v3 (v0 is trained beside it for comparison)"
        )
    inputs = Inputs.of(run)
    registry = Registry(run.profile, run.domain)
    week = Path(run.profile.work) / "training" / run.domain.domain / str(inputs.trained_for)
    work = week / inputs.fingerprint
    with _alone(work, run):
        logged = tracking.finished_run(run.profile, run.domain, inputs.fingerprint)
        if logged is not None:
            run.say(f"these inputs were trained before (run {logged.run_id}): nothing is trained again")
        else:
            logged = _train(run, config, inputs, work)
        shutil.rmtree(work, ignore_errors=True)  # one that was killed just before this left it
        _sweep(week)
        version = registry.register(
            logged.model_uri, logged.run_id, tags_of(run, inputs), tracking.read_text(logged.run_id, "card.md")
        )
    tracking.fetch(logged.run_id, "plots", run.report_dir)
    run.say(f"version {version.number} of {version.name}, run {version.run_id}")
    return version


@contextmanager
def _alone(work: Path, run: Run) -> Iterator[None]:
    """Wait until no other process trains from the same inputs: two would write over each other's files.

    The lock is the system's, so it goes with a process that is killed.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            run.say("waiting: another run trains from these inputs")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep(week: Path) -> None:
    """Remove what killed trainings of this week left: its inputs were others then. One at work holds its lock."""
    for folder in [path for path in week.iterdir() if path.is_dir()]:
        with folder.with_suffix(".lock").open("w") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


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


def _train(run: Run, config: Path, inputs: Inputs, work: Path) -> tracking.LoggedRun:
    require_evidence(run)
    domain, root, cutoff = run.domain, run.warehouse, inputs.cutoff
    sequences = open_sequences(root, inputs.sequences, cutoff, domain.training.weeks)
    catalog = latest_rows(read_catalog(root, inputs.catalog, cutoff))
    set_threads(run.profile.threads)
    work.mkdir(parents=True, exist_ok=True)
    fits = {}
    for name, chosen in (("challenger", domain), (PLAIN, with_variant(domain, PLAIN))):
        fits[name] = fit(chosen, sequences, catalog, cutoff, work / name, run.say)
    predictors = {name: Predictor.load(found.directory) for name, found in fits.items()}
    run.counts |= {"train.rows": sequences.count_rows(), "train.epochs": len(fits["challenger"].history)}
    run.say("comparing on the week that neither model has seen")
    evidence = read_evidence(run)
    results = compare(evidence, domain, predictors)
    draw(
        {name: found.history for name, found in fits.items()},
        results,
        list(predictors["challenger"].labels),
        work / "plots",
    )
    _clusters(predictors["challenger"], evidence.before, catalog, domain, work / CLUSTERS, work / "plots")
    pq.write_table(catalog, work / "catalog.parquet")
    facts = _facts(inputs, sequences, fits["challenger"], domain.training)
    rows = {"rows.sequences": sequences.count_rows(), "rows.catalog": len(catalog)}
    card = model_card(domain, inputs.trained_for, cutoff, results, facts, simulated(run.profile, domain))
    (work / "card.md").write_text(card, encoding="utf-8")
    return tracking.log_training(run.profile, domain, _record(run, config, inputs, work, fits, results, rows))


def _record(
    run: Run,
    config: Path,
    inputs: Inputs,
    work: Path,
    fits: Mapping[str, FitResult],
    results: Mapping[str, Result],
    rows: Mapping[str, int],
) -> tracking.Record:
    ours = results["challenger"].metrics | {f"val_{k}": v for k, v in _validation(fits["challenger"]).items()}
    others = {
        f"{system}_{name}": value
        for system, result in results.items()
        if system != "challenger"
        for name, value in result.metrics.items()
        if "_of_" not in name
    }
    histories = {name: found.history for name, found in fits.items()}
    (work / "history.json").write_text(json.dumps(histories), encoding="utf-8")
    shutil.copy(config, work / "config.yaml")
    return tracking.Record(
        name=f"{run.domain.domain} {inputs.trained_for}",
        began=run.started,
        card=(work / "card.md").read_text(encoding="utf-8"),
        tags=tags_of(run, inputs) | {name: str(count) for name, count in rows.items()},
        params=_params(run.domain) | {"best_epoch": fits["challenger"].best_epoch},
        history=fits["challenger"].history,
        metrics=ours | others,
        inputs={"sequences": inputs.sequences, "catalog": inputs.catalog},
        warehouse=run.warehouse,
        files={
            "model": fits["challenger"].directory,
            CLUSTERS: work / CLUSTERS,
            "catalog.parquet": work / "catalog.parquet",
        },
        extra={
            "plots": work / "plots",
            PLAIN: fits[PLAIN].directory,
            "card.md": work / "card.md",
            "history.json": work / "history.json",
            "config.yaml": work / "config.yaml",
        },
    )


def _validation(found: FitResult) -> dict[str, float]:
    return {name.removeprefix("val_"): value for name, value in found.metrics.items() if name.startswith("val_")}


def _params(domain: Domain) -> dict[str, Any]:
    """Sections of the domain file that shape a model, one parameter per key."""
    sections = {"model": domain.model, "training": domain.training, "sequences": domain.sequences}
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str) else json.dumps(value)
        for section, content in sections.items()
        for key, value in content.model_dump(mode="json").items()
    }


def _clusters(
    predictor: Predictor, snapshot: pa.Table, catalog: pa.Table, domain: Domain, path: Path, plots: Path
) -> None:
    """Fit the clusters on the last snapshot that the model may know, and draw them."""
    items = predictor.items(catalog, snapshot["as_of"][0].as_py())
    users = clusters.sample(snapshot).combine_chunks().to_batches()[0]
    found = predictor.predict(users, items, top_k=1, exclude_seen=False)
    embedding_UP = _wide(found["intent_embedding"].flatten(), len(found))
    centres_KP = clusters.fit(embedding_UP, domain.publishing.clusters, domain.training.seed)
    clusters.save(centres_KP, path)
    if predictor.spec.hierarchical:
        attention_UM = _wide(found["attention"].items, len(found))
        cluster_U = clusters.assign(embedding_UP, centres_KP)
        draw_profiles(users, embedding_UP, attention_UM, cluster_U, list(predictor.labels), domain.intents, plots)


def _wide(values: pa.Array, rows: int) -> NDArray:
    return values.to_numpy(zero_copy_only=False).reshape(rows, -1)


def _facts(inputs: Inputs, sequences: ds.Dataset, found: FitResult, training: Training) -> dict[str, str]:
    """What the card says about data and training."""
    weeks = sorted(
        {day for batch in sequences.to_batches(columns=["as_of"]) for day in pc.unique(batch["as_of"]).to_pylist()}
    )
    return {
        "sequences": f"version {inputs.sequences}, {sequences.count_rows():,} rows of {len(weeks)} weekly snapshots "
        f"as of {weeks[0]} to {weeks[-1]}",
        "catalogue": f"version {inputs.catalog}, snapshots before {inputs.cutoff}",
        "nothing seen from": f"{inputs.cutoff} on",
        "epochs": f"{len(found.history)}, best {found.best_epoch} (validation MRR {found.metrics['val_mrr']:.4f})",
        "validation days": f"{training.validation_days}, to choose the epoch, "
        + ("then learned in a training anew" if training.refit else "which teach nothing"),
        "inputs' fingerprint": inputs.fingerprint,
        "code": code_version(),
    }
