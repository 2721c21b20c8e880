"""Measure all systems side by side, and write what came out to lab/results/speed.json and speed.md."""

import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from intentrec.config import ROOT, home
from intentrec.errors import PipelineError
from lab.benchmarks.machine import code, machine
from lab.benchmarks.speed.environments import OURS, PEERS, python_of
from lab.benchmarks.speed.histories import make
from lab.benchmarks.speed.report import block, page
from lab.benchmarks.speed.rounds import measure
from lab.benchmarks.speed.turns import Task


def main(
    users: int = 2048,
    titles: int = 10_000,
    batch: Annotated[int, typer.Option(help="sequences of a training step")] = 128,
    repeats: Annotated[int, typer.Option(help="turns of each kind that count")] = 3,
    warmup: Annotated[int, typer.Option(help="turns of each kind that do not")] = 1,
    lengths: Annotated[list[str], typer.Option(help="full, mixed or both")] = ["full", "mixed"],  # noqa: B006
    threads: Annotated[int, typer.Option(help="of torch; default: the cores")] = 0,
    systems: Annotated[list[str], typer.Option(help="some of ours, rectools, replay")] = [OURS, *PEERS],  # noqa: B006
    out: Path = ROOT / "lab" / "results",
) -> None:
    """Sequences/s in training and users/s in scoring at n = 50, d = 64, and the ratio to the faster of the peers."""
    try:
        pythons = {name: python_of(name, home() / "benchmarks") for name in systems}
        blocks: dict[str, Any] = {}
        for kind in lengths:
            with tempfile.TemporaryDirectory() as folder:
                histories = make(users, titles, 51, kind == "mixed")
                histories.save(Path(folder) / "histories.npz")
                task = Task(
                    data=f"{folder}/histories.npz",
                    folder=folder,
                    titles=titles,
                    length=50,
                    dim=64,
                    heads=2,
                    blocks=2,
                    dropout=0.1,
                    batch=batch,
                    rate=1e-3,
                    epochs=warmup + repeats,
                    scorings=warmup + repeats,
                    score_batch=512,
                    top_k=10,
                    threads=threads or machine()["cores"],
                )
                blocks[kind] = block(measure(pythons, task, Path(folder), warmup), task, histories)
    except PipelineError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
    command = shlex.join(["python", "-m", "lab.benchmarks.speed", *sys.argv[1:]])
    results = {"command": command, "code": code(), "machine": machine(), "lengths": blocks}
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "speed.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    typer.run(main)
