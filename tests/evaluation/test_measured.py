"""Metrics that a domain file names. tests/registry/test_versions.py compares the names with what a gate measured."""

from pathlib import Path

import pytest

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.evaluation.measured import require_measured

FILE = Path("conf/mine.yaml")


def with_gate(domain: Domain, **gate: object) -> Domain:
    return domain.model_copy(update={"gate": domain.gate.model_copy(update=gate)})


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            {"metric": "ndcg_at_15"},
            r"^conf/mine\.yaml: gate\.metric: ndcg_at_15 .* \(did you mean ndcg_at_10\?\); .* mrr,",
        ),
        ({"metric": "coverage_at_10"}, r"gate\.metric: coverage_at_10 is not measured per user"),
        (
            {"guardrails": {"recall_at_10": 0.1, "recal_at_20": 0.1}},
            r"gate\.guardrails: recal_at_20 .*mean recall_at_20\?",
        ),
        ({"guardrails": {"intent_mood_accuracy": 0.1}}, r"gate\.guardrails: intent_mood_accuracy is not measured"),
    ],
)
def test_a_metric_that_is_not_measured_is_named_before_the_training(
    streaming: Domain, gate: dict, message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        require_measured(with_gate(streaming, **gate), FILE)


def test_measured_ones_pass(streaming: Domain, kuairand: Domain) -> None:
    for domain in (streaming, kuairand, with_gate(streaming, metric="hit_at_20", guardrails={"next_mrr": 0.1})):
        require_measured(domain, FILE)
