"""The names of all metrics that the gate measures, known before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intentrec.config import Domain
from intentrec.errors import PipelineError, did_you_mean
from intentrec.evaluation.metrics import CUTS, per_event, per_user
from intentrec.evaluation.primary_intents import KINDS
from intentrec.model.spec import variant_of

PER_USER = tuple(per_user(np.zeros(1, np.int64), np.ones(1), 1))


def metric_names(domain: Domain) -> list[str]:
    """Metrics of a model in the gate's table, without those per class."""
    week_ahead = [*PER_USER, *(f"coverage_at_{k}" for k in CUTS), "recall_at_10_new", "ndcg_at_10_cold"]
    if domain.publishing.seen_titles:
        week_ahead += ["ndcg_at_10_unseen", "recall_at_10_unseen"]
    next_event = [
        "next_events",
        *(f"next_{name}" for name in per_event(np.ones(1))),
        "next_mrr_repeat",
        "next_mrr_explore",
    ]
    next_event += ["next_mrr_given_intent"] if variant_of(domain.model.variant).conditional else []
    intents = [
        f"intent_{intent.name}_{measure}"
        for intent in domain.intents
        for measure in ("accuracy", "calibration_error", *(["ndcg"] if intent.multi_label else []))
    ]
    intents += [
        f"next_session_{intent.name}_{truth}_accuracy" for intent in domain.intents for truth in ("first", "commonest")
    ]
    for kind in KINDS:
        intents += [f"{kind}_agreement", *(f"{kind}_share_of_{intent.name}" for intent in domain.intents)]
    return [*week_ahead, "reachable", "users", "users_unserved", "users_cold", *next_event, *intents]


def require_measured(domain: Domain, config: Path) -> None:
    """Check the names of metrics in a domain.

    Args:
        domain: what was read.
        config: the file that it was read from, for the message.

    Raises:
        PipelineError: the gate's metric has no values per user, or a guardrail is of no metric that is measured.
    """
    if domain.gate.metric not in PER_USER:
        raise PipelineError(f"{config}: gate.metric: {_unknown(domain.gate.metric, PER_USER, 'measured per user')}")
    names = metric_names(domain)
    for name in domain.gate.guardrails:
        if name not in names:
            raise PipelineError(f"{config}: gate.guardrails: {_unknown(name, names, 'measured')}")


def _unknown(name: str, known: Sequence[str], how: str) -> str:
    return f"{name} is not {how}{did_you_mean(name, known)}; choose one of {', '.join(known)}"
