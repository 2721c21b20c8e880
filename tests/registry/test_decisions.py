"""How a version's decision is kept in MLflow, and what happens where its record is lost or of another time."""

import json
from datetime import date
from pathlib import Path

import pytest

from intentrec.errors import PipelineError
from intentrec.evaluation.gate import Decision
from intentrec.registry.judge import judge_challenger
from intentrec.registry.versions import Registry
from tests.registry.judged import Judged, Registering

pytestmark = pytest.mark.slow

T1 = date(2026, 8, 31)


def test_a_decision_recorded_under_former_setting_names_is_read_and_made_again(judged: Judged) -> None:
    """The hash that it rests on is of the former names, so that it no longer stands."""
    registry = Registry(judged.profile, judged.domain)
    judge_challenger(judged.run("gate"))  # an earlier test may have judged with other settings
    recorded = registry.decision(judged.version)
    registry.record(judged.version, {**recorded, "based_on": "a hash of gate.floors"})
    assert Decision.from_dict(registry.decision(judged.version)).to_dict() == judged.decision.to_dict()
    assert judge_challenger(judged.run("gate")).to_dict() == judged.decision.to_dict()
    assert registry.decision(judged.version) == recorded
    assert registry.champion().number == judged.version.number


def test_a_decision_about_400_classes_is_kept_whole(make: Registering) -> None:
    """Its tag holds verdict and hash: MLflow refuses a tag of more than 100,000 characters."""
    version = make("classes", T1)
    classes = {f"intent_genre_accuracy_of_{'label ' * 30}{number}": 0.5 for number in range(400)}
    decision = {"decision": "keep", "based_on": "b" * 16, "reasons": [], "rows": [], "lift": {}}
    decision |= {"intents": dict.fromkeys(("challenger", "champion"), classes)}
    assert len(json.dumps(decision)) > 100_000
    make.registry.record(version, decision)
    assert make.registry.decision(version) == decision
    tag = make.registry.tags(version)["decision"]
    assert len(tag) < 500
    assert json.loads(tag) | {"decision": "keep", "based_on": "b" * 16} == json.loads(tag)


def test_a_decision_that_an_earlier_release_kept_in_a_tag_is_read(make: Registering) -> None:
    version = make("whole", T1)
    decision = {"decision": "promote", "based_on": "b" * 16, "reasons": ["good"], "rows": [], "lift": {}}
    assert make.registry.decision(version) is None
    make.registry.tag(version, "decision", json.dumps(decision))
    assert make.registry.decision(version) == decision


@pytest.mark.parametrize("change", ["lost", "changed"])
def test_a_decision_whose_record_is_lost_or_changed_is_made_again(
    judged: Judged, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(judged.profile, judged.domain)
    judge_challenger(judged.run("gate"))
    before = registry.decision(judged.version)
    name = registry.verdict(judged.version)["record"]
    stored = Path(registry.client.get_run(judged.version.run_id).info.artifact_uri.removeprefix("file://")) / name
    if change == "lost":
        stored.unlink()
    else:
        stored.write_text("{}")
    with pytest.raises(PipelineError, match=f"record of version {judged.version.number} .*: run gate again over"):
        registry.decision(judged.version)
    capsys.readouterr()
    judge_challenger(judged.run("gate"))
    assert "it is judged again" in "".join(capsys.readouterr())
    assert registry.decision(judged.version) == before
