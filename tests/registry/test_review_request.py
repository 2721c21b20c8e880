"""A reviewed domain from training to the page and the decision, with real models, tables and an MLflow store."""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pyarrow.compute as pc
import pytest

from intentrec.contracts import SEQUENCES
from intentrec.errors import Skip
from intentrec.registry.judge import judge_challenger
from intentrec.registry.tracking import read_text
from intentrec.registry.verdicts import record
from intentrec.registry.versions import Registry, Version
from intentrec.reports.review_page import examples, pseudonym, request_review
from intentrec.storage.delta import Snapshot
from intentrec.training.inputs import Inputs
from tests.local.in_process import run_job
from tests.registry import world
from tests.registry.judged import Judged, Registering, files_of, train

pytestmark = pytest.mark.slow
NOW = datetime(2026, 9, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Reviewed:
    """Two weeks: the first version was asked about and approved, the second one is asked about."""

    home: Judged
    registry: Registry
    first_page: str
    second: Version
    second_page: str


@pytest.fixture(scope="module")
def reviewed(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    """A domain of its own in the judged world's MLflow store; its first version is the model trained there."""
    domain = world.domain_of(judged.domain, domain="reviewed", gate={"promotion": "reviewed", "naive_baselines": []})
    profile = judged.profile.model_copy(update={"warehouse": str(tmp_path_factory.mktemp("reviewed"))})
    home = replace(judged, domain=domain, profile=profile)
    copytree(judged.run("train").warehouse, home.run("train").warehouse)
    first_week = Inputs.of(home.run("train"))
    home = replace(home, version=Registering(home, domain)(first_week.fingerprint, first_week.trained_for))
    judge_challenger(home.run("gate"))
    registry = Registry(profile, domain)
    assert registry.champion() is None
    first = request_review(home.run("review_card"))
    record(registry, first.version, "approved", "the first", "ada", NOW)
    changed = world.domain_of(domain, training={"epochs": 2}, calendar={"lateness": "3d"})
    second = train(home.run("train", world.LATER, changed))
    judge_challenger(home.run("gate", world.LATER, changed))
    return Reviewed(
        home, registry, first.text, second, request_review(home.run("review_card", world.LATER, changed)).text
    )


def test_the_gate_recommends_and_leaves_the_alias(reviewed: Reviewed) -> None:
    registry, second = reviewed.registry, reviewed.second
    assert registry.champion().number == reviewed.home.version.number != second.number
    tags = registry.tags(second)
    assert tags["review"] == "awaiting"
    assert tags["recommendation"] == registry.decision(second)["decision"]
    assert "gate" not in tags
    # Judged again, nothing is asked or moved again.
    before = registry.tags(reviewed.home.version)
    judge_challenger(reviewed.home.run("gate"))
    assert registry.tags(reviewed.home.version) == before


def test_the_page_holds_what_the_gate_measured(reviewed: Reviewed) -> None:
    known = reviewed.registry.decision(reviewed.second)
    assert known["champion"] == reviewed.home.version.number
    assert set(known["intents"]) == {"challenger", "champion", "majority", "repeat_last_intent"}
    for row in known["rows"]:
        lower, upper = known["means"][row["system"]]["ndcg_at_10"]
        assert lower <= row["ndcg_at_10"] <= upper
        assert f"{row['ndcg_at_10']:.4f} [{lower:.4f}, {upper:.4f}]" in reviewed.second_page
    ours = known["intents"]["challenger"]["intent_action_type_accuracy_of_resume"]
    theirs = known["intents"]["champion"]["intent_action_type_accuracy_of_resume"]
    assert f"| `action_type` | `resume` | {ours:.4f} | {theirs:.4f} |" in reviewed.second_page
    assert "without a champion" in reviewed.first_page


def test_the_page_says_what_changed(reviewed: Reviewed) -> None:
    page = reviewed.second_page
    assert "| `training.epochs` | `3` | `2` |" in page
    assert "`training.seed`" not in page
    assert f"| `trained_for` | `{world.END}` | `{world.LATER}` |" in page
    assert "| `version.sequences` | `0` | `0` |" in page
    rows = re.search(r"\| `rows.sequences` \| `(\d+)` \| `(\d+)` \|", page)
    assert rows is not None
    assert int(rows[2]) - int(rows[1]) == 60  # a snapshot more, of sixty users


def test_no_user_can_be_found_on_the_page(reviewed: Reviewed) -> None:
    assert not re.search(r"u0\d{3}", reviewed.first_page + reviewed.second_page)
    users = {re.search(r"\n\| ([0-9a-f]{8}) \|", page)[1] for page in (reviewed.first_page, reviewed.second_page)}
    assert len(users) == 2
    run = reviewed.home.run("review_card", world.LATER)
    found = examples(run, reviewed.registry, reviewed.second, salt="known")
    everybody = sorted((pseudonym("known", f"u{number:04d}"), f"u{number:04d}") for number in range(60))
    assert [user.pseudonym for user in found] == [name for name, _ in everybody[:5]]
    history = {row["user_id"]: row["title_id"] for row in _snapshot(reviewed)}
    assert [user.last for user in found] == [history[user][-5:] for _, user in everybody[:5]]
    assert all(len(user.recommended) == 5 and user.primary in user.intents for user in found)
    assert all(0 < probability <= 1 for user in found for _, probability in user.intents.values())


def _snapshot(reviewed: Reviewed) -> list[dict]:
    held = Snapshot(reviewed.home.run("look").warehouse, SEQUENCES)
    return held.rows(where=pc.field("as_of") == world.LATER).to_pylist()


def test_the_page_is_kept_beside_the_report_and_in_mlflow(reviewed: Reviewed) -> None:
    file = reviewed.home.run("review_card", world.LATER).report_dir / "review.md"
    assert file.read_text(encoding="utf-8") == reviewed.second_page
    assert read_text(reviewed.second.run_id, "review.md") == reviewed.second_page
    assert json.loads((file.parent / "gate.json").read_text())["means"]


def test_the_jobs_request_and_record_a_review(
    reviewed: Reviewed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, environment = files_of(reviewed.home.profile, reviewed.home.domain, tmp_path)
    for name in ("INTENTREC_PROFILE", "INTENTREC_HOME"):
        monkeypatch.setenv(name, environment[name])
    week = ["--start", str(world.END), "--end", str(world.LATER), "--config", str(config)]

    def job(name: str, *options: str) -> str:
        assert run_job(["-m", f"jobs.{name}", *week, *options]) == 0
        return capsys.readouterr().out

    *_, last = job("review_card").splitlines()
    page = json.loads(last)
    assert page["version"] == reviewed.second.number
    assert page["page"].startswith(f"# {reviewed.second.name}, version {reviewed.second.number}")
    answer = ["--verdict", "rejected", "--reason", "later", "--by", "grace", "--at", "2026-09-08 10:00:00+00:00"]
    job("review_record", "--version", reviewed.second.number, *answer)
    tags = reviewed.registry.tags(reviewed.second)
    assert (tags["review"], tags["reviewed_by"], tags["reviewed_at"]) == (
        "rejected",
        "grace",
        "2026-09-08T10:00:00+00:00",
    )
    assert reviewed.registry.champion().number == reviewed.home.version.number


def test_a_decision_by_hand_leaves_nothing_to_review(reviewed: Reviewed) -> None:
    with pytest.raises(Skip, match="trained for 2026-08-31 awaits"):
        request_review(reviewed.home.run("review_card"))
    registry = reviewed.registry
    registry.client.set_model_version_tag(registry.name, reviewed.second.number, "review", "approved")
    with pytest.raises(Skip, match="awaits a review"):
        request_review(reviewed.home.run("review_card", world.LATER))
    assert registry.champion().number == reviewed.second.number
