"""The pictures and the model card of a training, which its MLflow run keeps."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from intentrec.evaluation.metrics import Result
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES, ITEM_NAIVE_BASELINES
from intentrec.evaluation.primary_intents import KINDS
from intentrec.registry.challenger_record import TrainedChallenger
from intentrec.reports import plots as pictures
from intentrec.reports import templates
from intentrec.reports.markdown import code, table

AHEAD = ("ndcg_at_10", "recall_at_10", "hit_at_10", "mrr", "coverage_at_10", "recall_at_10_new", "ndcg_at_10_cold")
NEXT = (
    "next_mrr",
    "next_mrr_given_intent",
    "next_mrr_repeat",
    "next_mrr_explore",
    "next_ndcg_at_10",
    "next_recall_at_10",
)
GAP = 2 * "\N{NO-BREAK SPACE}"  # after each cell: MLflow's registry page sets columns without a space between them


def training_report(trained: TrainedChallenger, plots: Path) -> str:
    """Write the pictures of a training below the folder `plots`, and return its model card as Markdown."""
    histories = {name: found.history for name, found in trained.fits.items()}
    pictures.draw(histories, trained.results, trained.intents, plots)
    clusters = trained.clusters
    pictures.draw_profiles(
        clusters.users,
        clusters.embedding_UP,
        clusters.attention_UM,
        clusters.cluster_U,
        trained.intents,
        trained.domain.intents,
        plots,
    )
    return model_card(trained)


def model_card(trained: TrainedChallenger) -> str:
    """The page that a reviewer reads beside a version in the registry, as Markdown."""
    domain, results = trained.domain, trained.results
    ours = results["challenger"].metrics
    names = {"challenger": f"IntentRec {domain.model.variant.upper()}", "v0": "V0 (next item only)"}
    return templates.render(
        "model_card.md.jinja",
        domain=domain,
        trained_for=trained.inputs.trained_for,
        cutoff=trained.inputs.cutoff,
        simulated=trained.simulated,
        facts=trained.facts,
        ours=ours,
        nan=math.nan,
        ahead=_systems(results, names, AHEAD),
        next_event=_systems(results, names, NEXT),
        intents=_intents(results, [intent.name for intent in domain.intents]),
        primary=_primary(results, [intent.name for intent in domain.intents]),
        per_class={
            intent.name: _classes(ours, intent.name)
            for intent in domain.intents
            if f"intent_{intent.name}_accuracy" in ours
        },
    )


def _systems(results: Mapping[str, Result], names: Mapping[str, str], metrics: Sequence[str]) -> str:
    rows = [
        [names.get(system, system), *(_figure(results[system].metrics, metric) for metric in metrics)]
        for system in (*names, *ITEM_NAIVE_BASELINES)
        if system in results
    ]
    return _spaced(["system", *metrics], rows)


def _intents(results: Mapping[str, Result], intents: Sequence[str]) -> str:
    """Accuracy of each intent beside its naive baselines: of the next event, and of the next session."""
    ours = results["challenger"].metrics
    rows = []
    for intent in intents:
        names = {
            "next event": f"intent_{intent}_accuracy",
            "next session, first target": f"next_session_{intent}_first_accuracy",
            "next session, commonest label": f"next_session_{intent}_commonest_accuracy",
        }
        for of, accuracy in names.items():
            if accuracy in ours:
                baselines = (_figure(results[baseline].metrics, accuracy) for baseline in INTENT_NAIVE_BASELINES)
                rows.append([code(intent), of, _figure(ours, accuracy), *baselines])
    return _spaced(["intent", "of", "accuracy", "majority", "repeat last"], rows)


def _primary(results: Mapping[str, Result], intents: Sequence[str]) -> str:
    """Share of users by primary intent, and how often it is that of what happened."""
    ours = results["challenger"].metrics
    rows = [
        [
            code(kind),
            *(_figure(ours, f"{kind}_share_of_{intent}") for intent in intents),
            _figure(ours, f"{kind}_agreement"),
            _figure(results["majority"].metrics, f"{kind}_agreement"),
        ]
        for kind in KINDS
        if f"{kind}_agreement" in ours
    ]
    return _spaced(["", *map(code, intents), "agreement", "majority"], rows)


def _classes(metrics: Mapping[str, float], intent: str) -> list[tuple[str, float]]:
    """Share found per class of an intent, the greatest first."""
    start = f"intent_{intent}_accuracy_of_"
    found = [(key.removeprefix(start), value) for key, value in metrics.items() if key.startswith(start)]
    return sorted(found, key=lambda each: -each[1])


def _figure(metrics: Mapping[str, float], name: str) -> str:
    return templates.metric(metrics.get(name))


def _spaced(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table([header + GAP for header in headers], [[cell + GAP for cell in row] for row in rows])
