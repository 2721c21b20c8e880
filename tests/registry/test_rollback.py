"""Which release a rollback leads to, and the real thing: the table that Spark made, and the registry."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pyspark.sql import SparkSession

from intentrec.contracts import PUBLISHED, RELEASES
from intentrec.errors import PipelineError
from intentrec.registry.pending import complete, pending
from intentrec.registry.rollback import previous, rollback
from intentrec.registry.versions import Registry, Version
from intentrec.storage.runs import Run, attempt
from intentrec.storage.warehouse import Warehouse
from tests.conftest import without_audits
from tests.registry.judged import Judged, Registering, files_of

T1, T2, T3 = (date(2026, 8, 31) + timedelta(days=7 * week) for week in range(3))


def release(name: str, as_of: date, written: int, active: bool = False, version: str = "1") -> dict[str, Any]:
    """A row of `releases` whose tables were written by commit `written`."""
    return {
        "release_id": name,
        "as_of": as_of,
        "active": active,
        "model_name": "m",
        "model_version": version,
        "mlflow_run_id": "run",
        "table_versions": {table.name: written for table in PUBLISHED},
        "metrics": {"ndcg_at_10": 0.25},
        "config_hash": "hash",
        "code_version": "commit",
    }


@pytest.mark.parametrize(
    ("rows", "left", "wanted"),
    [
        ([release("a", T1, 0), release("b", T2, 1, True)], set(), "a"),
        ([release("a", T1, 0), release("b", T2, 1), release("c", T3, 2, True)], set(), "b"),
        # The same date twice: the one that was written before.
        ([release("a", T1, 0), release("b", T2, 1), release("c", T2, 2, True)], set(), "b"),
        # History written later is still history.
        ([release("a", T1, 5), release("b", T2, 1), release("c", T3, 2, True)], set(), "b"),
        # What an earlier rollback left is passed over, and what is newer than the active one does not count.
        ([release("a", T1, 0), release("b", T2, 1), release("c", T3, 2, True)], {"b"}, "a"),
        ([release("a", T1, 0), release("b", T2, 1, True), release("c", T3, 2)], {"c"}, "a"),
    ],
)
def test_previous_release(rows: list[dict[str, Any]], left: set[str], wanted: str) -> None:
    assert previous(rows, set("abc"), left)["release_id"] == wanted
    assert previous(rows[::-1], set("abc"), left)["release_id"] == wanted


def test_releases_that_were_never_active_are_passed_over() -> None:
    """A week that was published again, later, by another version: only the first one of it was used."""
    rows = [release("a", T1, 0), release("b", T2, 1), release("again", T2, 3), release("c", T3, 2, True)]
    assert previous(rows, {"a", "b", "c"})["release_id"] == "b"
    with pytest.raises(PipelineError, match=r"no release before c .*was active.*--to.*again as of 2026-09-07"):
        previous(rows, {"c"})


@pytest.mark.parametrize(
    ("rows", "left", "message"),
    [
        ([], set(), "no release is active"),
        ([release("a", T1, 0)], set(), "no release is active"),
        ([release("a", T1, 0, True)], set(), r"no release before a \(as of 2026-08-31\).*the only one"),
        ([release("a", T1, 0, True), release("b", T2, 1)], {"b"}, "no release before a .*--to.* b as of 2026-09-07"),
        ([release("a", T1, 0), release("b", T2, 1, True)], {"a"}, "no release before b"),
    ],
)
def test_nothing_to_go_back_to(rows: list[dict[str, Any]], left: set[str], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        previous(rows, set("ab"), left)


NOBODY = "http://127.0.0.1:9"  # no server listens there
DAYS = {"a": T1, "b": T2, "c": T3}  # date of each release


@pytest.fixture(scope="module")
def table(spark: SparkSession, new_home: Judged) -> Path:
    """Three releases of versions 1 to 3, each once active, in a table that Spark made and whose changes are kept."""
    warehouse = Warehouse(spark, new_home.run("publish", T3))
    with without_audits():
        for active in DAYS:
            rows = [
                release(name, day, number, name == active, str(number + 1))
                for number, (name, day) in enumerate(DAYS.items())
                if name <= active
            ]
            frame = spark.createDataFrame(
                [tuple(row[name] for name in RELEASES.names) for row in rows], RELEASES.schema
            )
            warehouse.merge(RELEASES, frame)
    place = f"delta.`{warehouse.path(RELEASES)}`"
    spark.sql(f"ALTER TABLE {place} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    spark.sql(f"ALTER TABLE {place} ADD CONSTRAINT versioned CHECK (model_version <> '')")
    return Path(warehouse.path(RELEASES))


@pytest.fixture(scope="module")
def new_home(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """The judged world with a warehouse that is empty."""
    folder = tmp_path_factory.mktemp("rollback")
    return replace(judged, profile=judged.profile.model_copy(update={"warehouse": str(folder)}))


@pytest.fixture
def published(make: Registering, spark: SparkSession, table: Path) -> Warehouse:
    """The table in a warehouse of one test, and its three versions, each once champion."""
    for name, day in DAYS.items():
        make.registry.promote(make(name, day))
    warehouse = Warehouse(spark, make.run("publish", T3))
    copytree(table, warehouse.path(RELEASES))
    return warehouse


def states(warehouse: Warehouse) -> dict[str, bool]:
    return {row.release_id: row.active for row in warehouse.current(RELEASES).collect()}


@contextmanager
def attempted(make: Registering, job: str, mlflow: str | None = None) -> Iterator[Run]:
    """An attempt in the ledger, with MLflow at another place if one is given."""
    profile = make.judged.profile.model_copy(update={"mlflow": mlflow} if mlflow else {})
    with TemporaryDirectory() as folder:
        config, _ = files_of(profile, make.domain, Path(folder))
        with attempt(job, T3 - timedelta(days=7), T3, config, Path(folder) / "profile.yaml") as run:
            yield run


def rolled(make: Registering, reason: str = "wrong genres", to: str | None = None, mlflow: str | None = None) -> Run:
    with attempted(make, "rollback", mlflow) as run:
        rollback(run, reason, "ada", to)
    return run


@pytest.mark.slow
def test_one_commit_moves_the_flag_and_a_trail_is_left(make: Registering, published: Warehouse) -> None:
    rest = published.current(RELEASES).drop("active").collect()
    before = published.version(RELEASES)
    run = rolled(make)
    assert states(published) == {"a": False, "b": True, "c": False}
    assert sorted(published.current(RELEASES).drop("active").collect()) == sorted(rest)
    assert published.version(RELEASES) == before + 1 == run.outputs["releases"]
    assert run.note == (
        "from release c (as of 2026-09-14, model version 3) to release b (as of 2026-09-07, model version 2), "
        "by ada: wrong genres"
    )
    feed = published.spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", before + 1)
    changed = feed.load(published.path(RELEASES)).select("release_id", "active", "_change_type").collect()
    assert {tuple(row) for row in changed} == {
        ("c", True, "update_preimage"),
        ("c", False, "update_postimage"),
        ("b", False, "update_preimage"),
        ("b", True, "update_postimage"),
    }
    with pytest.raises(Exception, match=r"(?i)check constraint versioned"):
        published.spark.sql(f"UPDATE delta.`{published.path(RELEASES)}` SET model_version = ''")

    wanted = {"from": "c", "to": "b", "by": "ada", "reason": "wrong genres"}
    newest = make.registry.version("3")
    trail = json.loads(make.registry.tags(newest)["left.c"])
    assert wanted.items() < trail.items()
    assert trail["at"].endswith("+00:00")
    path = published.path(RELEASES)
    (commit,) = published.spark.sql(f"DESCRIBE HISTORY delta.`{path}` LIMIT 1").select("userMetadata").collect()
    assert json.loads(commit.userMetadata).items() >= {**wanted, "run_id": run.run_id, "job": "rollback"}.items()
    assert newest.gate == "rolled_back"
    assert make.registry.champion().number == "2"
    assert make.registry.champion_for(T3).number == "2"


@pytest.mark.slow
def test_a_rollback_killed_after_the_alias_moved_is_completed_by_the_next(
    make: Registering, published: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the version that was left would still count as promoted. The repetition goes no further back."""
    tag = Registry.tag

    def killed(registry: Registry, version: Version, key: str, value: str) -> None:
        if value == "rolled_back":
            sys.exit()
        tag(registry, version, key, value)

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "tag", killed)
        with pytest.raises(SystemExit):
            rolled(make)
    assert make.registry.champion().number == "2"
    assert states(published) == {"a": False, "b": True, "c": False}
    assert "completed the rollback of" in str(rolled(make).note)
    assert states(published) == {"a": False, "b": True, "c": False}
    assert make.registry.version("3").gate == "rolled_back"
    assert make.registry.champion().number == "2"
    rolled(make)
    assert states(published) == {"a": True, "b": False, "c": False}


@pytest.mark.slow
@pytest.mark.parametrize(("times", "release_id", "version"), [(1, "b", "2"), (2, "a", "1")])
def test_without_mlflow_the_release_goes_back_and_the_alias_follows_later(
    make: Registering,
    published: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    times: int,
    release_id: str,
    version: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for _ in range(times):
        rolled(make, mlflow=NOBODY)
    assert [name for name, active in states(published).items() if active] == [release_id]
    assert capsys.readouterr().out.count("MLflow has not followed") == times
    assert make.registry.champion().number == "3"
    owed = pending(make.judged.profile, make.domain)
    assert ["by ada" in str(each) and "wrong genres" in str(each) for each in owed] == [True] * times
    with attempted(make, "gate") as run:
        assert len(complete(run, make.registry)) == times
    assert pending(make.judged.profile, make.domain) == []
    assert make.registry.champion().number == version
    assert make.registry.version("3").gate == "rolled_back"
    assert json.loads(make.registry.tags(make.registry.version("3"))["left.c"])["reason"] == "wrong genres"
    with attempted(make, "publish") as run:
        assert complete(run, make.registry) == []


@pytest.mark.slow
def test_a_rollback_to_a_version_that_was_deleted_asks_for_a_champion(make: Registering, published: Warehouse) -> None:
    """Until there is another one the rollback stays pending, and neither gate nor publication goes on."""
    make.registry.client.delete_model_version(make.registry.name, "2")
    rolled(make)
    assert states(published) == {"a": False, "b": True, "c": False}
    with pytest.raises(PipelineError, match=r"version 2 .*no longer in MLflow, and version 3.*give the alias champion"):
        complete(make.run("publish", T3), make.registry)
    make.registry.client.set_registered_model_alias(make.registry.name, "champion", "1")
    with attempted(make, "gate") as run:
        assert len(complete(run, make.registry)) == 1
    assert pending(make.judged.profile, make.domain) == []
    assert make.registry.champion().number == "1"


@pytest.mark.slow
def test_a_second_rollback_goes_further_back(make: Registering, published: Warehouse) -> None:
    rolled(make)
    rolled(make)
    assert states(published) == {"a": True, "b": False, "c": False}
    assert make.registry.champion().number == "1"
    version = published.version(RELEASES)
    with pytest.raises(PipelineError, match="no release before a"):
        rolled(make)
    assert published.version(RELEASES) == version
    rolled(make, "b was right after all", to="b")
    assert states(published) == {"a": False, "b": True, "c": False}
    assert make.registry.champion().number == "2"
    rolled(make)
    assert states(published) == {"a": True, "b": False, "c": False}


@pytest.mark.slow
def test_a_reason_and_a_known_release_are_asked_for(make: Registering, published: Warehouse) -> None:
    with pytest.raises(PipelineError, match="needs a reason"):
        rolled(make, "  ")
    with pytest.raises(PipelineError, match=r"--to c: no such inactive release; there are a, b"):
        rolled(make, to="c")
    assert states(published)["c"]
    # A champion that did not publish the release that is left has nothing to do with it.
    make.registry.promote(make("d", T3))
    rolled(make)
    assert make.registry.champion().number == "4"
