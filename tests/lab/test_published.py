"""The command end to end on a data set of its own, and what it writes."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.benchmarks import published_sets, report
from lab.benchmarks.published import app


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Users who walk through forty titles one by one, and settings that train in a second."""
    rng = np.random.default_rng(0)
    lines = [
        f"{user} {(start + k) % 40}"
        for user in range(120)
        for start in [int(rng.integers(40))]
        for k in range(int(rng.integers(2, 14)))
    ]
    (tmp_path / "Video.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    model = {**published_sets.GAMES.model, "dim": 16, "dropout": 0.0}
    training = {**published_sets.GAMES.training, "epochs": 4, "tokens": 256, "learning_rate": 0.02}
    small = replace(published_sets.GAMES, length=6, stride=3, model=model, training=training)
    monkeypatch.setitem(published_sets.SETS, "games", small)
    return tmp_path


@pytest.mark.slow
def test_the_command_measures_and_adds_to_what_was_measured(data: Path) -> None:
    command = ["games", "--data", str(data), "--work", str(data / "work"), "--results", str(data / "results")]
    for more in ([], ["--system", "sasrec", "--seed", "2"]):
        done = CliRunner().invoke(app, [*command, *more])
        assert done.exit_code == 0, done.output
    rows = json.loads((data / "results" / "benchmarks.json").read_text())["published"]["games"]
    assert [(row["system"], row["seed"]) for row in rows] == [
        ("item_knn", 0),
        ("markov", 0),
        ("popularity", 0),
        ("sasrec", 1),
        ("sasrec", 2),
    ]
    found = {row["system"]: row["metrics"]["everything"]["recall_at_10"] for row in rows}
    assert found["markov"] > 0.95  # the next title always follows
    assert found["sasrec"] > 0.9 > found["popularity"]
    assert "± " in (data / "results" / "benchmarks.md").read_text()


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["music", "--data", str(tmp_path)]).exit_code == 2


def test_the_page_compares_with_the_published_figures() -> None:
    metrics = {"recall_at_10": 0.75, "ndcg_at_10": 0.5}
    row = {"system": "sasrec", "seed": 1, "epochs": 3, "seconds_per_epoch": 2.0}
    row["metrics"] = dict.fromkeys(published_sets.GAMES.candidates, metrics)
    page = report.render({"published": {"games": [row]}})
    assert "recall_at_10 0.7500 against 0.7442: reached, +0.0058" in page
    assert "ndcg_at_10 0.5000 against 0.5376: missed, -0.0376" in page
