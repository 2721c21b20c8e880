"""The side-by-side measurement: what all systems read, their turns, and the page."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intentrec.errors import PipelineError
from lab.benchmarks import report
from lab.benchmarks.speed import rounds
from lab.benchmarks.speed.histories import load, make
from lab.benchmarks.speed.report import block
from lab.benchmarks.speed.rounds import OURS, Timing, measure
from lab.benchmarks.speed.turns import Task

TASK = Task(
    data="",
    folder="",
    titles=200,
    length=50,
    dim=16,
    heads=2,
    blocks=1,
    dropout=0.1,
    batch=32,
    rate=1e-3,
    epochs=2,
    scorings=2,
    score_batch=64,
    top_k=5,
    threads=1,
)


@pytest.mark.parametrize("mixed", [False, True])
def test_histories(tmp_path: Path, mixed: bool) -> None:
    made = make(100, 200, 51, mixed)
    lengths = np.diff(made.offsets)
    assert set(made.title_N) == set(range(200))
    assert (lengths.min() < 51) == mixed
    assert lengths.max() == 51
    made.save(tmp_path / "made.npz")
    again = load(str(tmp_path / "made.npz"))
    last = again.last(20)
    for user in range(100):
        whole = slice(made.offsets[user], made.offsets[user + 1])
        cut = slice(last.offsets[user], last.offsets[user + 1])
        assert last.title_N[cut].tolist() == made.title_N[whole][-20:].tolist()
        assert last.second_N[cut].tolist() == made.second_N[whole][-20:].tolist()
        assert (again.users()[whole] == user).all()


def test_systems_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "program_of", lambda system: "tests.lab.fake_system")
    log = tmp_path / "log.txt"
    task = replace(TASK, data=str(log), epochs=3, scorings=2)
    timings = measure(dict.fromkeys(("a", "b", "c"), Path(sys.executable)), task, tmp_path, warmup=1)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [name for name, *_ in lines] == ["a", "b", "c"] * 5
    times = [float(moment) for _, *moments in lines for moment in moments]
    assert times == sorted(times), "two systems were at work at once"
    for name, timing in timings.items():
        assert (len(timing.train), len(timing.score)) == (2, 1)
        assert all(seconds >= 0.05 for seconds in timing.train + timing.score)
        assert timing.about["name"] == name


def test_failure_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "program_of", lambda system: "tests.lab.fake_system")
    with pytest.raises(PipelineError, match="a failed:\nthis system fails"):
        measure({"a": Path(sys.executable)}, replace(TASK, titles=0), tmp_path, warmup=0)


@pytest.mark.slow
def test_ours_does_the_task(tmp_path: Path) -> None:
    histories = make(100, 200, 51, mixed=True)
    histories.save(tmp_path / "histories.npz")
    task = replace(TASK, data=str(tmp_path / "histories.npz"))
    timing = measure({OURS: Path(sys.executable)}, task, tmp_path, warmup=0)[OURS]
    assert (len(timing.train), len(timing.score)) == (2, 2)
    assert min(timing.train + timing.score) > 0
    linear, norm = 16 * 16 + 16, 2 * 16
    # Titles (two more: none, and unknown) and positions; query, key, value and two layers; two norms, and the last one.
    assert timing.about["parameters"] == (202 + 51) * 16 + 5 * linear + 3 * norm


def test_ratio_is_to_the_faster_peer() -> None:
    about = {"version": "1", "torch": "2", "parameters": 1000, "loss": 1.0, "peak_mb": 10.0}
    timings = {
        OURS: Timing([1.0, 2.0, 9.0], [1.0], about),
        "rectools": Timing([4.0], [8.0], about),
        "replay": Timing([6.0], [5.0], about),
    }
    found = block(timings, TASK, make(100, 200, 51, mixed=False))
    assert found["systems"][OURS]["sequences_per_second"] == 50
    assert found["systems"]["replay"]["users_per_second"] == 20
    assert found["ratio"] == {"training": 2.0, "scoring": 5.0}
    machine = {"processor": "x", "cores": 2, "memory_gb": 4}
    code = {"commit": "c" * 40, "changed": False, "measured": "now"}
    text = report.render({"speed": {"command": "it", "code": code, "machine": machine, "lengths": {"full": found}}})
    assert "training **2.00**, scoring **5.00**" in text
    assert "| RecTools SASRec | 1 | 2 | 1,000 | 25 | 12 |" in text
