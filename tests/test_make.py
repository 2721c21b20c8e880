"""What a person types after `make TARGET` reaches the command as it is."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from intentrec.config import ROOT

NASTY = """it's "bad"; $(touch pwned) `touch pwned` $$(touch pwned) ${HOME} *"""
STREAMING = ["--config", "conf/streaming.yaml"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile and stand-ins that show their arguments; its environment counts as ready."""
    folder = tmp_path / "project"
    bin_folder = folder / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for needed in ("requirements-uv.lock", "requirements.lock", "pyproject.toml", "intentrec/storage/spark.py"):
        (folder / needed).parent.mkdir(parents=True, exist_ok=True)
        (folder / needed).touch()
    (folder / ".venv" / ".ready").touch()
    for name in ("intentrec", "python"):
        (bin_folder / name).write_text('#!/bin/bash\nprintf "%s\\n" "$@" "data $INTENTREC_DATA"\n')
        (bin_folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["rollback", f"REASON={NASTY}"], ["rollback", *STREAMING, "--reason", NASTY]),
        (["rollback", "REASON="], ["rollback", *STREAMING, "--reason", ""]),
        (
            ["rollback", "DOMAIN=kuairand", "REASON=$(shell touch pwned)", f"TO={NASTY}"],
            ["rollback", "--config", "conf/kuairand.yaml", "--reason", "$(shell touch pwned)", "--to", NASTY],
        ),
        (["status", f"DOMAIN={NASTY}"], ["status", "--config", f"conf/{NASTY}.yaml"]),
        (
            ["backfill", f"FROM={NASTY}", "TO=2026-08-17", "DRY=$(shell touch pwned)", "OPTIONS=$(touch pwned) *"],
            ["plan", "--from", NASTY, "--to", "2026-08-17", *STREAMING, "$(touch", "pwned)", "*"],
        ),
        (
            ["backfill", "FROM=2026-08-10", "TO=2026-08-17", "CASCADE=1", "OPTIONS=--train  --publish"],
            ["backfill", "--from", "2026-08-10", "--to", "2026-08-17", *STREAMING, "--cascade", "--train", "--publish"],
        ),
        (["study", f"DATASET={NASTY}", "OPTIONS=`touch pwned`"], ["-m", "lab.studies", NASTY, "`touch", "pwned`"]),
        (["demo"], ["demo", *STREAMING]),
        (["demo", "OPTIONS=--history 3"], ["demo", *STREAMING, "--history", "3"]),
    ],
    ids=lambda value: " ".join(value)[:24],
)
def test_make_passes_what_is_typed_unchanged(given: list[str], words: list[str], project: Path) -> None:
    assert run(project, *given) == [*words, "data "]
    assert not list(project.rglob("pwned"))


@pytest.mark.parametrize("data", ["/a folder/of 'data'", "a folder/$(touch pwned)", "plain", "/plain"])
def test_a_folder_of_data_may_have_any_name(data: str, project: Path) -> None:
    absolute = os.path.join(project, data)
    assert run(project, "demo", f"DATA={data}") == ["demo", *STREAMING, "--data", absolute, f"data {absolute}"]
    assert run(project, "status", f"DATA={data}") == ["status", *STREAMING, f"data {absolute}"]
    assert not list(project.rglob("pwned"))


@pytest.mark.parametrize("given", [["backfill", "FROM=2026-08-10"], ["backfill"], ["study"]])
def test_what_is_missing_is_named(given: list[str], project: Path) -> None:
    done = subprocess.run(["make", *given], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"make {given[0]} ")


def run(project: Path, *given: str) -> list[str]:
    """The arguments and the data folder that the stand-in got."""
    environment = {name: value for name, value in os.environ.items() if name not in ("INTENTREC_DATA", "MAKEFLAGS")}
    command = ["make", "--no-print-directory", "--silent", *given]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
