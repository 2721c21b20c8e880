"""Measure all systems side by side: the section `speed` of the benchmarks."""

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from intentrec.config import home
from intentrec.errors import PipelineError
from lab.benchmarks.report import RESULTS, code, machine, publish
from lab.benchmarks.speed.histories import make
from lab.benchmarks.speed.report import block
from lab.benchmarks.speed.rounds import OURS, PEERS, measure, python_of
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
    out: Path = RESULTS,
) -> None:
    """Sequences/s in training and users/s in scoring at n = 50, d = 64, and the ratio to the faster of the peers."""
    try:
        pythons = {name: python_of(name, home() / "lab" / "benchmarks") for name in systems}
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
    print(publish("speed", results, out))


if __name__ == "__main__":
    typer.run(main)
