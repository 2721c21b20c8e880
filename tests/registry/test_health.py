"""What a person can delete in MLflow: every job sees it before its work begins, and says how to go on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.errors import PipelineError
from intentrec.registry import challenger
from intentrec.registry.health import existing_champion, require_usable
from intentrec.registry.judge import judge_challenger
from intentrec.registry.publish import publish
from intentrec.registry.tracking import experiment
from intentrec.registry.versions import Version
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse
from tests.local.test_review_cli import two_releases
from tests.registry import world
from tests.registry.judged import Registering, train
from tests.registry.test_rollback import T1, T2, T3

pytestmark = pytest.mark.slow


def alias_deleted(make: Registering) -> None:
    version = make("a", T1)
    make.registry.promote(version)
    make.registry.tag(version, "applied", "evidence")
    make.registry.client.delete_registered_model_alias(make.registry.name, "champion")


def version_deleted(make: Registering) -> None:
    """The second version replaced the first one, and is gone; the release of the first one is left."""
    two_releases(make)
    make.registry.client.delete_model_version(make.registry.name, "2")


def all_versions_deleted(make: Registering) -> None:
    version_deleted(make)
    make.registry.client.delete_model_version(make.registry.name, "1")


def second_replaced_the_first(make: Registering) -> None:
    for name, day in (("a", T1), ("b", T2)):
        make.registry.promote(make(name, day))
    make.registry.client.delete_model_version(make.registry.name, "1")
    make.registry.client.delete_registered_model_alias(make.registry.name, "champion")


@pytest.mark.parametrize(
    ("deleted", "proof", "choices"),
    [
        (alias_deleted, "version 1 was promoted", r"versions: 1 \(trained for 2026-08-31\)"),
        (version_deleted, r"version 1 made release a as of 2026-08-31", r"versions: 1 \(trained for 2026-08-31\)"),
        (all_versions_deleted, r"version 1 made release a as of 2026-08-31", "versions: none yet, train one first"),
        (second_replaced_the_first, "version 2 replaced version 1", r"versions: 2 \(trained for 2026-09-07\)"),
    ],
)
def test_a_champion_that_is_gone_stops_gate_and_publication(
    make: Registering, spark: SparkSession, deleted: Callable[[Registering], None], proof: str, choices: str
) -> None:
    tables_of_the_judged_world(make)
    deleted(make)
    wanted = f"has no champion any more, although {proof}.*intentrec review approve VERSION.*{choices}"
    with pytest.raises(PipelineError, match=wanted):
        judge_challenger(make.run("gate", world.END))
    with pytest.raises(PipelineError, match=wanted):
        publish(Warehouse(spark, make.run("publish", world.END)), activate=True, even_if_older=False)


def test_before_the_first_champion_there_is_none(make: Registering) -> None:
    """Nor after a promotion that was killed before it moved the alias."""
    assert existing_champion(make.run("gate", T2), make.registry) is None
    version = make("a", T1)
    make.registry.decline(version)
    make.registry.tag(version, "gate", "promoted")
    assert existing_champion(make.run("gate", T2), make.registry) is None
    make.registry.promote(version)
    assert existing_champion(make.run("gate", T2), make.registry).number == "1"


def with_files(make: Registering, folder: Path, without: str | None = None) -> Version:
    """A version whose files lie in `folder`, and may lack one."""
    make("a", T1)
    make.registry.artifacts(make.registry.version("1"), folder)
    if without is not None:
        (folder / without).unlink()
    tags = {"fingerprint": "files", "trained_for": str(T2)}
    run_id = make.judged.version.run_id
    return Version.of(make.registry.client.create_model_version(make.registry.name, str(folder), run_id, tags=tags))


@pytest.mark.parametrize(
    "name", ["artifacts/model/model.safetensors", "artifacts/model/model.json", "artifacts/clusters.json"]
)
def test_lost_files_are_named(make: Registering, tmp_path: Path, name: str) -> None:
    require_usable(make.registry, with_files(make, tmp_path / "whole"), "champion")
    lost = with_files(make, tmp_path / "lost", name)
    message = rf"the {{}}, version 3 of .*files are lost \(.*/lost/{name}\): restore MLflow's artifacts, or {{}}"
    with pytest.raises(PipelineError, match=message.format("champion", "give the alias champion to another version")):
        require_usable(make.registry, lost, "champion")
    with pytest.raises(PipelineError, match=message.format("challenger", "delete version 3 and run .*train again")):
        require_usable(make.registry, lost, "challenger")
    shutil.rmtree(tmp_path / "lost")
    with pytest.raises(PipelineError, match="files are lost"):
        require_usable(make.registry, lost, "champion")


def test_deleted_runs_and_experiments_are_seen_before_training(
    make: Registering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(run: Run, *_: object) -> None:
        raise AssertionError("nothing is trained before MLflow was looked at")

    monkeypatch.setattr(challenger, "_train", never)
    tables_of_the_judged_world(make)
    client, run = make.registry.client, make.run("train", world.END)
    version = trained_in_its_own_experiment(make, run)
    client.delete_run(version.run_id)
    with pytest.raises(PipelineError, match=f"mlflow runs restore --run-id {version.run_id}.*or delete version 1 "):
        train(run)
    with pytest.raises(PipelineError, match="its run is deleted in MLflow"):
        judge_challenger(make.run("gate", world.END))
    client.restore_run(version.run_id)
    place = experiment(run.profile, run.domain)
    client.delete_experiment(place)
    with pytest.raises(PipelineError, match=f"mlflow experiments restore --experiment-id {place}"):
        train(run)
    with pytest.raises(PipelineError, match=f"mlflow experiments restore --experiment-id {place}"):
        require_usable(make.registry, version, "champion")
    client.restore_experiment(place)
    require_usable(make.registry, version, "champion")


def trained_in_its_own_experiment(make: Registering, run: Run) -> Version:
    """A version with the fingerprint of the run's inputs, whose MLflow run lies in the experiment of the domain."""
    from intentrec.training.inputs import Inputs

    inputs, client = Inputs.of(run), make.registry.client
    source = client.get_run(make.judged.version.run_id).data.tags["model_uri"]
    tags = {"fingerprint": inputs.fingerprint, "model_uri": source}
    mlflow_run = client.create_run(experiment(run.profile, run.domain), tags=tags)
    client.set_terminated(mlflow_run.info.run_id)
    tags = {"fingerprint": inputs.fingerprint, "trained_for": str(world.END)}
    return make.registry.register(source, mlflow_run.info.run_id, tags, "a card")


def tables_of_the_judged_world(make: Registering) -> None:
    shutil.copytree(make.judged.run("train").warehouse, make.run("train", T3).warehouse)
