"""The training job's command line, with one process and with several."""

import argparse
import sys
from pathlib import Path

import pytest
import torch.distributed.run as torchrun
import yaml

from intentrec.config import ROOT
from intentrec.entry import application
from jobs import train
from tests.conftest import profile_under

WEEK = ["--start", "2026-08-24", "--end", "2026-08-31", "--config", str(ROOT / "conf" / "streaming.yaml")]


@pytest.mark.parametrize("processes", [1, 3])
def test_the_profile_says_how_many_processes_run_the_job(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torchrun starts several, with the job's options. A single one fails in this process: there are no tables."""
    launched: list[argparse.Namespace] = []
    monkeypatch.setattr(torchrun, "main", lambda words: launched.append(torchrun.parse_args(words)))
    profile = tmp_path / "profile.yaml"
    content = {**profile_under(tmp_path).model_dump(mode="json"), "processes": processes}
    profile.write_text(yaml.safe_dump(content), encoding="utf-8")
    options = [*WEEK, "--profile", str(profile)]
    monkeypatch.setattr(sys, "argv", ["jobs.train", *options])
    job = application(train.train, train.__doc__)
    if processes > 1:
        job(options, standalone_mode=False)
        (started,) = launched
        assert started.nproc_per_node == str(processes)
        assert started.training_script_args == options
    else:
        with pytest.raises(SystemExit) as ended:
            job(options, standalone_mode=False)
        assert ended.value.code == 1
        assert not launched
        assert "sequences" in capsys.readouterr().err
