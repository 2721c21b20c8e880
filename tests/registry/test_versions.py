"""Versions, aliases and decisions in a real MLflow store."""

import fcntl
import json
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from deltalake import DeltaTable
from mlflow.exceptions import MlflowException

from intentrec.config import Domain, Profile
from intentrec.contracts import CATALOG, INTERACTIONS, SEQUENCES, TITLE_FACTS, TITLE_STATE
from intentrec.errors import PipelineError, Skip, explained
from intentrec.evaluation.gate import Decision
from intentrec.evaluation.measured import metric_names
from intentrec.registry import tracking
from intentrec.registry.judge import apply, judge_challenger
from intentrec.registry.tracking import client_of, experiment
from intentrec.registry.verdicts import record
from intentrec.registry.versions import Registry, Version
from intentrec.storage.delta import Snapshot
from tests.registry import world
from tests.registry.judged import Judged, Registering, train

pytestmark = pytest.mark.slow


T1, T2, T3 = (date(2026, 8, 31) + timedelta(days=7 * week) for week in range(3))
NOON = datetime(2026, 9, 22, 12, tzinfo=UTC)


def test_a_kill_while_the_database_is_made_leaves_none(profile: Profile, streaming: Domain, tmp_path: Path) -> None:
    chosen = tmp_path / "profile.yaml"
    chosen.write_text(yaml.safe_dump(profile.model_dump(mode="json")))
    program = "from intentrec.config import load_profile; from intentrec.registry.tracking import client_of; "
    made = tmp_path / "mlflow.db"
    with subprocess.Popen([sys.executable, "-c", f"{program}client_of(load_profile({str(chosen)!r}))"]) as maker:
        while not any(half.stat().st_size for half in tmp_path.glob(".mlflow.db.????????")):
            assert maker.poll() is None
            time.sleep(0.01)
        maker.kill()
    assert not made.exists()
    assert experiment(profile, streaming) == experiment(profile, streaming)
    assert made.exists()


def test_a_full_disk_is_reported_when_plots_are_copied(judged: Judged, tmp_path: Path) -> None:
    client_of(judged.profile)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(MlflowException, match="File too large") as found:
            tracking.fetch(judged.version.run_id, "plots", tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the disk is full" in str(explained(found.value))
    assert list(tracking.fetch(judged.version.run_id, "plots", tmp_path / "room").iterdir())


def test_the_newest_version_is_the_challenger_and_a_fingerprint_is_registered_once(make: Registering) -> None:
    registry = make.registry
    assert registry.champion() is None
    second = make("b", T2)
    older = make("a", T1)
    assert registry.by_alias("challenger").number == second.number
    assert make("a", T1).number == older.number
    assert [version.number for version in registry.versions()] == ["1", "2"]
    with pytest.raises(PipelineError, match="has no version 9"):
        registry.version("9")


def test_promotion_and_rollback_move_one_alias(make: Registering) -> None:
    registry = make.registry
    first, second = make("a", T1), make("b", T2)
    registry.promote(first)
    registry.promote(first)
    assert registry.champion().replaced is None
    registry.promote(second)
    assert registry.champion().number == second.number
    assert registry.champion().replaced == first.number
    registry.restore(first, second)
    assert registry.champion().number == first.number
    assert registry.version(second.number).gate == "rolled_back"


def test_an_old_week_is_published_by_the_champion_of_then(make: Registering) -> None:
    registry = make.registry
    first, second, third = make("a", T1), make("b", T2), make("c", T3)
    registry.promote(first)
    registry.decline(second)
    registry.promote(third)
    numbers = {day: getattr(registry.champion_for(day), "number", None) for day in (date(2026, 8, 24), T1, T2, T3)}
    assert numbers == {date(2026, 8, 24): None, T1: first.number, T2: first.number, T3: third.number}


def test_another_judgement_moves_only_undecided_versions(judged: Judged, make: Registering) -> None:
    registry, better = make.registry, judged.decision
    worse = replace(better, promote=False)

    def judge_again(version: Version, decision: Decision) -> tuple[str, str | None, str | None]:
        said = apply(registry, registry.version(version.number), decision)
        return said, registry.version(version.number).gate, registry.champion().number

    first, second, third, fourth = make("a", T1), make("b", T2), make("c", T3), make("d", T3)
    registry.promote(first)
    assert judge_again(second, worse)[1:] == ("kept", first.number)
    assert judge_again(second, better)[1:] == ("promoted", second.number)
    for version in (first, second):  # else `champion_for` would no longer find what published an old week
        assert judge_again(version, worse)[1:] == ("promoted", second.number)
    assert registry.champion_for(T1).number == first.number
    registry.restore(first, second)
    stays = "version 2 was rolled back before, and stays as it is"
    assert judge_again(second, better) == judge_again(second, worse) == (stays, "rolled_back", first.number)
    record(registry, third, "rejected", "it repeats itself", "ada", NOON)
    stays = "version 3 was rejected before, and stays as it is"
    assert judge_again(third, better) == (stays, "kept", first.number)
    registry.request_review(fourth, "keep")
    assert judge_again(fourth, better) == ("version 4 is champion", "promoted", fourth.number)


def test_a_promotion_that_was_killed_before_the_alias_moved_is_completed(judged: Judged, make: Registering) -> None:
    version = make("a", T1)
    make.registry.tag(version, "gate", "promoted")
    assert "stays as it is" in apply(make.registry, make.registry.version("1"), replace(judged.decision, promote=False))
    assert make.registry.champion() is None
    assert apply(make.registry, make.registry.version("1"), judged.decision) == "version 1 is champion"
    assert make.registry.champion().number == "1"


def test_first_champion_beat_the_naive_baselines(judged: Judged) -> None:
    registry = Registry(judged.profile, judged.domain)
    assert judged.decision.promote
    champion = registry.champion()
    assert champion is not None
    assert champion.number == judged.version.number == registry.by_fingerprint(judged.version.fingerprint).number
    assert (champion.gate, champion.replaced) == ("promoted", None)


def test_the_names_of_metrics_are_those_that_the_gate_measured(judged: Judged) -> None:
    table = {row.system: row.metrics for row in judged.decision.rows}
    assert sorted(table["challenger"]) == sorted(metric_names(judged.domain))


def test_training_and_judging_again_move_nothing(judged: Judged) -> None:
    registry = Registry(judged.profile, judged.domain)
    path = judged.run("gate").report_dir / "gate.json"
    before, versions = path.read_bytes(), registry.versions()
    assert train(judged.run("train")) == registry.version(judged.version.number)
    again = judge_challenger(judged.run("gate"))
    assert again.to_dict() == judged.decision.to_dict()
    assert path.read_bytes() == before
    assert registry.versions() == versions


def test_compaction_between_train_and_gate_changes_nothing(judged: Judged, tmp_path: Path) -> None:
    """`OPTIMIZE` replaces files and no row: the version is found, and its decision stands."""
    shutil.copytree(judged.profile.warehouse, tmp_path / "warehouse")
    moved = replace(judged, profile=judged.profile.model_copy(update={"warehouse": str(tmp_path / "warehouse")}))
    registry = Registry(judged.profile, judged.domain)
    judge_challenger(judged.run("gate"))  # an earlier test may have judged with other settings
    decision, versions = registry.decision(judged.version), registry.versions()
    for table, column in ((SEQUENCES, "user_id"), (CATALOG, "item_id"), (INTERACTIONS, "user_id")):
        there = DeltaTable(f"{moved.run('gate').warehouse}/{table.name}")
        there.optimize.z_order([column])
        assert there.history(1)[0]["operation"] == "OPTIMIZE"
    assert judge_challenger(moved.run("gate")).to_dict() == judged.decision.to_dict()
    assert train(moved.run("train")).number == judged.version.number
    assert registry.decision(judged.version) == decision
    assert registry.versions() == versions


def test_folders_of_killed_trainings_are_removed_by_the_next_of_the_week(judged: Judged) -> None:
    week = trainings(judged) / str(judged.version.trained_for)
    left, at_work, other = week / "left", week / "at-work", trainings(judged) / "2026-01-05" / "left"
    for folder in (left, at_work, other):
        (folder / "challenger").mkdir(parents=True)
    with at_work.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        train(judged.run("train"))
        assert not left.exists()
        assert at_work.exists()
    assert other.exists(), "of another week, which may go on from its checkpoint"


def trainings(judged: Judged) -> Path:
    return Path(judged.profile.work) / "training" / judged.domain.domain


def test_two_trainings_from_the_same_inputs_take_turns(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    lock = trainings(judged) / str(judged.version.trained_for) / f"{judged.version.fingerprint}.lock"
    said = ""
    with lock.open("w") as file, ThreadPoolExecutor(1) as beside:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a training at work holds it
        second = beside.submit(train, judged.run("train"))
        while "waiting: another run trains from these inputs" not in said:
            assert not second.done()
            said += capsys.readouterr().out
            time.sleep(0.05)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert second.result().number == judged.version.number


def test_the_gate_writes_its_table(judged: Judged) -> None:
    found = json.loads((judged.run("gate").report_dir / "gate.json").read_text())
    assert found["decision"] == "promote"
    systems = [row["system"] for row in found["rows"]]
    baselines = "popularity_7d repeat_last most_frequent decayed_frequent markov item_knn"
    assert systems == ["challenger", "v0", *baselines.split()]
    assert all(row["users"] == found["rows"][0]["users"] > 0 for row in found["rows"])
    assert found["lift"].keys() == set(systems) - {"challenger"}


def test_the_run_holds_what_a_reviewer_needs(judged: Judged) -> None:
    client = Registry(judged.profile, judged.domain).client
    run = client.get_run(judged.version.run_id)
    assert run.info.status == "FINISHED"
    assert {"version.sequences", "version.catalog", "code_version", "config_hash", "fingerprint"} < run.data.tags.keys()
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"sequences", "catalog", "title_facts"}
    assert "model.dim" in run.data.params
    assert {"ndcg_at_10", "next_mrr", "v0_ndcg_at_10", "popularity_7d_ndcg_at_10"} < run.data.metrics.keys()
    assert len(client.get_metric_history(judged.version.run_id, "epoch_val_mrr")) == 3
    kept = {entry.path for entry in client.list_artifacts(judged.version.run_id)}
    assert {"plots", "v0", "card.md", "config.yaml", "history.json", "metrics.json"} <= kept
    card = client.get_model_version(judged.version.name, judged.version.number).description
    for part in ("popularity_7d", "V0", "action_type", "nothing seen from: 2026-08-24", "part of a second training"):
        assert part in card
    assert run.data.tags["mlflow.note.content"] == card
    assert run.info.start_time <= client.get_metric_history(judged.version.run_id, "epoch_val_mrr")[0].timestamp
    assert "`champion`" in client.get_registered_model(judged.version.name).description
    assert sorted(path.name for path in (judged.run("train").report_dir / "plots").iterdir()) == [
        "attention.png",
        "intent_clusters.png",
        "intents.png",
        "training.png",
        "week_ahead.png",
    ]


def test_training_does_not_depend_on_the_judged_week(judged: Judged, make: Registering, tmp_path: Path) -> None:
    """With other interactions, and other facts of the titles, from the cut-off on, the same model comes out."""
    cutoff = world.END - timedelta(days=7)
    run = replace(make.run("train", world.END), profile=judged.profile.model_copy(update=elsewhere(tmp_path)))
    other = world.world.learnable_weeks(99, 60, world.WEEKS, world.TITLES)
    known = Snapshot(judged.run("train").warehouse, SEQUENCES).rows()
    past, future = known.filter(pc.field("as_of") <= cutoff), other.filter(pc.field("as_of") > cutoff)
    catalog = world.world.catalog(world.TITLES)
    turned = pa.Table.from_pylist(
        [{**row, "snapshot_date": cutoff, "genres": ["turned"], "kind": "turned"} for row in catalog.to_pylist()],
        schema=catalog.schema,
    )
    world.put(run.warehouse, SEQUENCES, pa.concat_tables([past.cast(future.schema), future]))
    world.put(run.warehouse, CATALOG, pa.concat_tables([catalog, turned]))
    interactions = world.interactions_of(other)
    world.put(run.warehouse, INTERACTIONS, interactions)
    world.put(run.warehouse, TITLE_FACTS, world.title_facts_of(interactions))
    world.put(run.warehouse, TITLE_STATE, world.state_of(interactions, {cutoff}))
    version = train(run)
    assert version.fingerprint != judged.version.fingerprint
    registry = Registry(run.profile, run.domain)
    weights = [
        sorted(path.read_bytes() for path in registry.artifacts(each, tmp_path / each.name).rglob("*.safetensors"))
        for each in (judged.version, version)
    ]
    assert weights[0] == weights[1] != []
    metrics = [registry.client.get_run(each.run_id).data.metrics["next_mrr"] for each in (judged.version, version)]
    assert metrics[0] != metrics[1], "but it is judged on the other week"


def elsewhere(folder: Path) -> dict[str, str]:
    return {name: f"{folder}/{name}" for name in ("warehouse", "work", "reports")}


def test_a_version_registered_by_hand_is_left_alone(make: Registering) -> None:
    own = make("a", T1)
    run_id = make.judged.version.run_id
    source = make.registry.client.get_run(run_id).data.tags["model_uri"]
    byhand = make.registry.client.create_model_version(make.registry.name, source, run_id)
    assert [version.number for version in make.registry.versions()] == [own.number]
    make.registry.client.set_registered_model_alias(make.registry.name, "champion", byhand.version)
    with pytest.raises(PipelineError, match=f"version {byhand.version} of .* alias champion, but not the tags finger"):
        make.registry.champion()


def test_the_registered_model_holds_no_pickle(judged: Judged, tmp_path: Path) -> None:
    Registry(judged.profile, judged.domain).artifacts(judged.version, tmp_path)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".parquet", ".py", ".yaml", ".txt", ""}
    signature = mlflow.models.get_model_info(judged.version.uri).signature
    assert {"title_id", "window_start", "end_ts"} < set(signature.inputs.input_names())
    assert {"top_k", "seen_titles", "catalog"} < {spec.name for spec in signature.params.params}


def test_a_changed_gate_judges_again_and_a_changed_model_is_trained_again(judged: Judged) -> None:
    stricter = world.domain_of(judged.domain, gate={"naive_baselines": ["most_frequent"]})
    assert train(judged.run("train", domain=stricter)).number == judged.version.number
    assert len(judge_challenger(judged.run("gate", domain=stricter)).reasons) == 2
    registry = Registry(judged.profile, judged.domain)
    before = registry.verdict(judged.version)
    judge_challenger(judged.run("gate", domain=world.domain_of(judged.domain, publishing={"active_weeks": 1})))
    after = registry.verdict(judged.version)
    assert before is not None
    assert after is not None
    assert before["based_on"] != after["based_on"], "other users are judged"
    changed = world.domain_of(judged.domain, training={"seed": 8})
    with pytest.raises(PipelineError, match="run train first"):
        judge_challenger(judged.run("gate", domain=changed))


def test_a_variant_without_intent_embedding_is_refused(judged: Judged) -> None:
    plain = world.domain_of(judged.domain, model={"variant": "v0"})
    with pytest.raises(PipelineError, match=r"streaming.yaml: model.variant: v0"):
        train(judged.run("train", domain=plain))


def test_no_history_is_skipped(judged: Judged) -> None:
    with pytest.raises(Skip):
        train(judged.run("train", end=world.FIRST + timedelta(days=7)))
