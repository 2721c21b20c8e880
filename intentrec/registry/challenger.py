"""Make this week's challenger: train, compare, record and register it. The same inputs are never trained twice.

The caller gives a `TrainingReport`, which draws and describes the training.

Shape suffixes: U users, P width of the intent embedding, M intents, K clusters.
"""

import shutil
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from intentrec.config import Domain, Training
from intentrec.errors import PipelineError
from intentrec.evaluation.compare import compare
from intentrec.evaluation.evidence import Evidence, read_evidence, require_evidence
from intentrec.evaluation.gate import CHALLENGER, CHAMPION
from intentrec.evaluation.measured import require_measured
from intentrec.inference import scorer
from intentrec.inference.distinctive import Typical
from intentrec.inference.predictor import Predictor
from intentrec.model.spec import variant_of
from intentrec.model.titles import latest_rows
from intentrec.registry import challenger_record, tracking
from intentrec.registry.challenger_record import PLAIN, IntentClusters, TrainedChallenger
from intentrec.registry.health import existing_champion, missing_files, require_usable
from intentrec.registry.versions import Registry, Version
from intentrec.registry.work_folder import exclusive, remove_abandoned
from intentrec.sources.delivery import simulated_before
from intentrec.storage.runs import Run, code_version, ledger
from intentrec.training.data import open_sequences, read_catalog, read_title_facts
from intentrec.training.distributed import set_threads
from intentrec.training.inputs import Inputs
from intentrec.training.loop import FitResult, fit
from intentrec.training.settings import with_variant


class TrainingReport(Protocol):
    """Draws and describes a training, for the MLflow run that keeps both."""

    def __call__(self, trained: TrainedChallenger, plots: Path) -> str:
        """Write pictures below the folder `plots`, and return the model card as Markdown."""
        ...


def make_challenger(run: Run, config: Path, report: TrainingReport) -> Version:
    """Train for the run's end and register the result, or find the version that was trained from the same inputs.

    Args:
        run: the attempt.
        config: the domain file; a copy is kept with the model.
        report: draws and describes the training.

    Raises:
        Skip: there is nothing to train on before T - 7d, or nothing to judge on after it.
        PipelineError: the domain's variant predicts no intent embedding, so it could not be published; the gate would
            not measure a metric that the domain names; or MLflow can log no training, or has lost parts of one from the
            same inputs.
    """
    if not variant_of(run.domain.model.variant).hierarchical:
        raise PipelineError(
            f"{config}: model.variant: {run.domain.model.variant} has no intent embedding (Eq. 2) to publish; "
            "choose v2 or v3 (v0 is trained beside it for comparison)"
        )
    require_measured(run.domain, config)
    inputs = Inputs.of(run)
    registry = Registry(run.profile, run.domain)
    week = Path(run.profile.work) / "training" / run.domain.domain / str(inputs.trained_for)
    work = week / inputs.fingerprint
    with exclusive(work, run):
        logged = _trained_before(run, registry, inputs)
        if logged is not None:
            run.say(f"these inputs were trained before (run {logged.run_id}): nothing is trained again")
        else:
            trained = _train(run, inputs, work)
            card = report(trained, work / challenger_record.PLOTS)
            record = challenger_record.record(run, config, trained, card)
            logged = tracking.log_training(run.profile, run.domain, record)
        shutil.rmtree(work, ignore_errors=True)
        remove_abandoned(week)
        tags, card = challenger_record.tags_of(run, inputs), tracking.read_text(logged.run_id, tracking.CARD)
        version = registry.register(logged.model_uri, logged.run_id, tags, card)
    tracking.fetch(logged.run_id, challenger_record.PLOTS, run.report_dir)
    run.say(f"version {version.number} of {version.name}, run {version.run_id}")
    return version


def _trained_before(run: Run, registry: Registry, inputs: Inputs) -> tracking.LoggedRun | None:
    """The finished training from these inputs, None if there is none.

    Raises:
        PipelineError: MLflow can log no training, or has lost parts of this one.
    """
    logged = tracking.finished_run(run.profile, run.domain, inputs.fingerprint)
    version = registry.by_fingerprint(inputs.fingerprint)
    if version is not None:
        require_usable(registry, version, CHALLENGER)
    elif logged is not None and (missing := missing_files(logged.model_uri)):
        raise PipelineError(
            f"these inputs were trained before, but the model's files are lost ({missing[0]}): restore MLflow's "
            f"artifacts, or delete the run (mlflow runs delete --run-id {logged.run_id}) and run train again"
        )
    if logged is None:
        try:
            champion = existing_champion(run, registry)
            if champion is not None:
                require_usable(registry, champion, CHAMPION)
        except PipelineError as error:
            run.warn(f"the gate will stop after this training: {error}")
    return logged


def _train(run: Run, inputs: Inputs, work: Path) -> TrainedChallenger:
    require_evidence(run)
    domain, root, cutoff = run.domain, run.warehouse, inputs.cutoff
    sequences = open_sequences(root, inputs.sequences, cutoff, domain.training.weeks)
    catalog = latest_rows(read_catalog(root, inputs.catalog, cutoff))
    title_facts = read_title_facts(root, inputs.title_facts, cutoff, domain.training.weeks)
    set_threads(run.profile.threads)
    work.mkdir(parents=True, exist_ok=True)
    fits = {}
    for name, chosen in ((CHALLENGER, domain), (PLAIN, with_variant(domain, PLAIN))):
        fits[name] = fit(chosen, sequences, catalog, title_facts, cutoff, work / name, run.say)
    predictors = {name: Predictor.load(found.directory) for name, found in fits.items()}
    run.counts |= {"train.rows": sequences.count_rows(), "train.epochs": len(fits[CHALLENGER].history)}
    run.say("comparing on the week that neither model has seen")
    evidence = read_evidence(run)
    results = compare(evidence, domain, predictors)
    found = _fit_clusters(predictors[CHALLENGER], evidence, catalog, domain, work)
    pq.write_table(catalog, work / challenger_record.CATALOG_FILE)
    pq.write_table(evidence.title_facts, work / challenger_record.TITLE_FACTS_FILE)
    return TrainedChallenger(
        domain,
        inputs,
        fits,
        results,
        tuple(predictors[CHALLENGER].labels),
        found,
        _facts(inputs, sequences, fits[CHALLENGER], domain.training),
        simulated_before(ledger(run.profile, domain), run.end, domain),
        work,
        {"sequences": sequences.count_rows(), "catalog": len(catalog)},
    )


def _fit_clusters(
    predictor: Predictor, evidence: Evidence, catalog: pa.Table, domain: Domain, work: Path
) -> IntentClusters:
    """Fit the clusters on the snapshot as of the cut-off. Write them and everybody's intents into the folder `work`."""
    items = predictor.items(catalog, evidence.title_facts, evidence.cut)
    users = scorer.sample_users(evidence.before).combine_chunks().to_batches()[0]
    predictions = predictor.predict(users, items, top_k=1)
    embedding_UP = scorer.embeddings(predictions)
    centres_KP = scorer.fit_clusters(embedding_UP, domain.publishing.clusters, domain.training.seed)
    scorer.save_clusters(centres_KP, work / scorer.CLUSTERS)
    Typical.of(predictor.session_intents(users, evidence.cut).p).save(work / scorer.TYPICAL)
    attention_UM = scorer.attention_weights(predictions)
    return IntentClusters(users, embedding_UP, attention_UM, scorer.assign_clusters(embedding_UP, centres_KP))


def _facts(inputs: Inputs, sequences: ds.Dataset, found: FitResult, training: Training) -> dict[str, str]:
    """What the model card says about data and training."""
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
        + ("then part of a second training" if training.refit else "never trained on"),
        "fingerprint of the inputs": inputs.fingerprint,
        "code": code_version(),
    }
