"""What the tests of the DAG files share: a description of a file, and the arguments that a job takes from a command."""

import argparse
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from intentrec.config import ROOT
from intentrec.errors import Skip
from intentrec.storage import runs

# What a DAG file must not import: it is parsed every half minute.
HEAVY = {"pyspark", "delta", "deltalake", "torch", "mlflow", "pandas", "numpy", "pyarrow", "great_expectations"}


def describe(file: Path, confs: Sequence[str], home: Path, *ready: str) -> dict:
    """`describe.py` of a DAG file, with an AIRFLOW_HOME of its own."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "dags" / "describe.py"), str(file), ";;".join(confs), *ready],
        env={**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def arguments_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, argparse.Namespace]:
    """Job and arguments that `python -m jobs.<job> ...` is run with, from the job's own parser."""
    taken = []

    @contextmanager
    def attempt(name, args):
        taken.append((name, args))
        raise Skip("only the arguments are wanted")
        yield

    monkeypatch.setattr(runs, "attempt", attempt)
    monkeypatch.setattr(sys, "argv", words[2:])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "jobs" / f"{words[2].removeprefix('jobs.')}.py"), run_name="__main__")
    assert ended.value.code == runs.SKIPPED
    (found,) = taken
    return found
