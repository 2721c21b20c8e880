"""Several processes, started by torchrun, train what one trains."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from intentrec.config import ROOT

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(folder: Path, *launcher: str) -> tuple[list[dict[str, float]], dict]:
    """Losses and metrics by epoch, and the weights after the training that follows, with the validation days."""
    program = [sys.executable, *launcher, "-m", "tests.training.fit_alone", str(folder)]
    folder.mkdir()
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    history = json.loads((folder / "history.json").read_text())
    for row in history:
        del row["seconds"]
    return history, load_file(folder / "refit" / "model" / "model.safetensors")


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(tmp_path: Path) -> None:
    alone, weights = run(tmp_path / "one")
    shared, others = run(tmp_path / "two", *TORCHRUN)
    assert len(alone) == len(shared) == 3
    for one, two in zip(alone, shared, strict=True):
        assert {"train_loss", "val_loss", "val_mrr"} < one.keys()
        assert two == pytest.approx(one, rel=1e-4)
    for name, value in weights.items():
        parts = list(zip(value.chunk(3), others[name].chunk(3), strict=True))
        if name.endswith("qkv.bias"):
            del parts[1]  # a key's bias has no gradient but rounding, of which Adam makes whole steps
        for one, two in parts:
            assert_close(two, one, rtol=0, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")
