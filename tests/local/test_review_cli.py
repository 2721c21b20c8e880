"""The commands `intentrec review` and `intentrec rollback`, on tables and a registry of this test."""

import getpass
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec import cli
from intentrec.contracts import RELEASES
from intentrec.storage.delta import releases
from intentrec.storage.runs import ledger
from tests.registry.judged import Registering, files_of
from tests.registry.test_rollback import NOBODY, T1, T2, release

pytestmark = pytest.mark.slow


@pytest.fixture
def typed(
    make: Registering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess]:
    """Runs `intentrec ARGUMENTS` for the domain of this test, in this process."""
    config, environment = files_of(make.judged.profile, make.domain, tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["intentrec", *arguments, "--config", str(config)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), said.out, said.err)

    return run


def attempts(make: Registering) -> list[tuple[str, str, str | None]]:
    return [(row["job"], row["status"], row["message"]) for row in ledger(make.judged.profile, make.domain)]


def test_a_version_is_approved_from_the_command_line(make: Registering, typed: Callable) -> None:
    version = make("a", T1)
    make.registry.request_review(version, "promote")
    asked = typed("review", "approve")
    assert (asked.returncode, asked.stderr) == (
        1,
        "FAILED: which version? `intentrec review approve VERSION`; awaiting a review: 1\n",
    )
    done = typed("review", "approve", "1", "--reason", "looks right")
    assert done.returncode == 0, done.stderr
    assert "To publish its week now: python -m jobs.publish --start 2026-08-24 --end 2026-08-31 --config" in done.stdout
    tags = make.registry.tags(version)
    assert (tags["review"], tags["reviewed_by"]) == ("approved", getpass.getuser())
    assert make.registry.champion().number == "1"
    said = f"version 1 of {make.registry.name} approved by {getpass.getuser()}: looks right"
    assert attempts(make) == [("review_record", "succeeded", said)]
    make.registry.client.set_model_version_tag(make.registry.name, make("b", T2).number, "review", "rejected")
    assert "version 2" in typed("review", "settle").stdout
    assert typed("review", "settle").stdout == "nothing was set by hand\n"


def two_releases(make: Registering) -> str:
    """A table `releases` of which first a, then b was active; the path. Their versions were each champion."""
    for name, day in (("a", T1), ("b", T2)):
        make.registry.promote(make(name, day))
    path = make.run("publish", T2).warehouse + "/releases"
    first = [release("a", T1, 0, True, "1")]
    for rows in (first, [release("a", T1, 0, False, "1"), release("b", T2, 1, True, "2")]):
        for row in rows:
            row.update(table_versions=list(row["table_versions"].items()), metrics=list(row["metrics"].items()))
        published = pa.Table.from_pylist(rows, schema=to_arrow_schema(RELEASES.schema))
        write_deltalake(path, published, mode="overwrite")
    return path


def test_a_release_is_rolled_back_from_the_command_line(make: Registering, typed: Callable) -> None:
    two_releases(make)
    refused = typed("rollback")
    assert (refused.returncode, "needs a reason" in refused.stderr) == (1, True)
    done = typed("rollback", "--reason", "wrong genres")
    assert done.returncode == 0, done.stderr
    active = {row["release_id"]: row["active"] for row in releases(make.judged.profile, make.domain)}
    assert active == {"a": True, "b": False}
    nothing = typed("rollback", "--reason", "again")
    assert (nothing.returncode, "no release before a" in nothing.stderr) == (1, True)
    (failed, succeeded, last) = attempts(make)
    assert [each[:2] for each in (failed, succeeded, last)] == [
        ("rollback", "failed"),
        ("rollback", "succeeded"),
        ("rollback", "failed"),
    ]
    assert succeeded[2].endswith(f"by {getpass.getuser()}: wrong genres")


def test_status_shows_a_rollback_until_mlflow_follows(
    make: Registering, typed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_releases(make)
    profile = tmp_path / "profile.yaml"
    there = profile.read_text()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    profile.write_text(yaml.safe_dump({**yaml.safe_load(there), "mlflow": NOBODY}))
    assert typed("rollback", "--reason", "wrong genres").returncode == 0
    todo = "(release b to a: wrong genres) is not in MLflow yet"
    assert todo in typed("status").stdout
    profile.write_text(there)
    assert todo in typed("status").stdout
    assert make.registry.champion().number == "2"
    assert "MLflow now follows the rollback" in typed("review", "settle").stdout
    assert todo not in typed("status").stdout
    assert make.registry.champion().number == "1"
    assert typed("review", "settle").stdout == "nothing was set by hand\n"
