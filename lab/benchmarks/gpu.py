"""Tokens/s, MFU and peak memory of IntentRec's training step on a GPU: `python -m lab.benchmarks.gpu`.

Each width and catalogue has its own process, so that memory is measured apart. A step is that of the training loop, on
rows without padding.

Shape suffixes: I titles, N interactions.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import torch
import typer
from torch import nn

from intentrec.config import ROOT, Training
from intentrec.model.build import build
from intentrec.model.encoder import Block
from intentrec.model.features import FeatureEncoder
from intentrec.model.loss import LossSettings
from intentrec.model.network import Network
from intentrec.model.spec import IntentSpec, ModelSpec
from intentrec.model.titles import titles_of
from intentrec.model.vocabulary import Vocabulary
from intentrec.reports.markdown import table
from intentrec.training.steps import optimizer_of, step
from lab.benchmarks import rows
from lab.benchmarks.report import RESULTS, code, machine, publish

LENGTH = 50
WARMUP = 3  # steps; compilation is among them
# Dense bfloat16, by the makers' data sheets; without sparsity.
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}
KINDS, GENRES, ACTIONS = ("film", "show"), ("comedy", "crime", "drama", "kids"), ("discover", "next_episode", "resume")


def spec_of(dim: int) -> ModelSpec:
    """V3 with a short-term window, every kind of intent, and facts in the item tower."""
    return ModelSpec(
        variant="v3",
        intents=(
            IntentSpec("action_type", "action_type"),
            IntentSpec("genre", "genres", multi_label=True),
            IntentSpec("kind", "kind"),
            IntentSpec("age", "release_age_days", bins=(7.0, 30.0), labels=("week", "month", "older")),
        ),
        windows=("7d",),
        categorical=("action_type", "kind"),
        multi_label=("genres",),
        numeric=("duration_s", "release_age_days"),
        item_features=("kind", "genres"),
        dim=dim,
        dim_intent=max(32, dim // 2),
        heads=max(2, dim // 64),
    )


def flops(model: Network, tokens: int, targets: int, titles: int) -> float:
    """Floating-point operations that a step needs, forward and backward: matrix multiplications only.

    The backward pass costs twice the forward pass. What is computed again to save memory does not count. Attention
    counts with whole rows, although causal attention needs half of them.
    """
    tower = sum(each.weight.numel() for each in model.titles.modules() if isinstance(each, nn.Linear))
    linear = sum(each.weight.numel() for each in model.modules() if isinstance(each, nn.Linear)) - tower
    blocks = sum(isinstance(each, Block) for each in model.modules())
    attention = 2 * LENGTH * model.spec.dim * blocks  # Q K^T and weights x V, per token
    return 6.0 * (tokens * (linear + tower + attention) + titles * tower + targets * titles * model.spec.dim)


def measure(dim: int, titles: int, tokens: int, steps: int, device: torch.device, sampled: int = 0) -> dict[str, Any]:
    """Seconds of a step and what follows from them; memory and MFU on a GPU only.

    Args:
        dim: width of the model.
        titles: of the catalogue.
        tokens: positions of a step, rounded to whole rows.
        steps: that count.
        device: to measure on.
        sampled: titles drawn for the softmax; 0: all of them.
    """
    on_gpu = device.type == "cuda"
    torch.manual_seed(0)
    model, batch, catalog = _world(spec_of(dim), titles, max(1, tokens // LENGTH), device)
    if on_gpu:
        model.compile(dynamic=True)
    optimizer = optimizer_of(model, Training())
    model.train()
    seconds = []
    for i in range(WARMUP + steps):
        if i == WARMUP and on_gpu:
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        found = step(model, optimizer, batch, catalog, LossSettings(sampled=sampled), on_gpu, str(i))
        loss = float(found[0])  # waits for the GPU
        seconds.append(time.perf_counter() - begun)
    positions, targets = batch.title_BL.numel(), len(batch.targets())
    typical = median(seconds[WARMUP:])
    needed = flops(model, positions, targets, sampled or titles)
    peak = next((v for key, v in PEAK_TFLOPS.items() if on_gpu and key in torch.cuda.get_device_name()), None)
    return {
        "dim": dim,
        "titles": titles,
        "sampled": sampled,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": positions,
        "targets": targets,
        "seconds": typical,
        "tokens_per_second": positions / typical,
        "tflops": needed / typical / 1e12,
        "mfu": None if peak is None else needed / typical / 1e12 / peak,
        "peak_gb": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
        "loss": loss,
    }


def _world(spec: ModelSpec, titles: int, users: int, device: torch.device) -> tuple[Network, Any, Any]:
    """A model, a batch of full rows, and the catalogue, on the device."""
    rng = np.random.default_rng(0)
    names = pa.array([f"t{title:08d}" for title in range(titles)])
    kind_I = pa.array(KINDS).take(pa.array(np.arange(titles) % len(KINDS)))
    genre_I = _one_each(pa.array(GENRES).take(pa.array(np.arange(titles) % len(GENRES))))
    title_N = pa.array(rng.integers(titles, size=users * LENGTH))
    facts = {
        "kind": kind_I.take(title_N),
        "genres": genre_I.take(title_N),
        "action_type": pa.array(ACTIONS).take(pa.array(rng.integers(len(ACTIONS), size=len(title_N)))),
        "release_age_days": pa.array(rng.random(len(title_N)) * 100),
        "duration_s": pa.array(rng.random(len(title_N)) * 7200),
    }
    offsets = np.arange(users + 1) * LENGTH
    second_N = np.tile(np.arange(LENGTH) * 36_000, users)
    windows = {"7d": np.tile(np.maximum(0, np.arange(LENGTH) - 16), users)}  # 16 times ten hours before
    as_of = (rows.START + timedelta(days=30)).date()
    sequences = rows.sequences(offsets, names.take(title_N), second_N, as_of, facts, windows)
    snapshot = rows.catalog(names, {"kind": kind_I, "genres": genre_I})
    vocabulary = Vocabulary(
        titles=tuple(names.to_pylist()),
        n_seen=titles,
        tokens={"action_type": ACTIONS, "genres": GENRES, "kind": KINDS},
        numeric={"duration_s": (8.0, 1.0), "release_age_days": (4.0, 1.0)},
    )
    encoder = FeatureEncoder(spec, vocabulary)
    batch = encoder.encode(sequences).pad(torch.arange(users)).map(lambda tensor: tensor.to(device))
    items = encoder.items(titles_of(snapshot)).map(lambda tensor: tensor.to(device))
    return build(spec, vocabulary).to(device), batch, items


def _one_each(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(np.arange(len(values) + 1, dtype=np.int32), values)


def values(results: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of the results."""
    headers = ["d", "titles", "softmax over", "parameters", "tokens per step", "ms per step", "tokens/s", "TFLOP/s"]
    rows = []
    for each in results["runs"]:
        if "error" in each:
            rows.append([each["dim"], f"{each['titles']:,}", each["error"], *[""] * 7])
            continue
        rows.append(
            [
                each["dim"],
                f"{each['titles']:,}",
                f"{each['sampled'] or each['titles']:,}",
                f"{each['parameters']:,}",
                f"{each['tokens']:,}",
                f"{1000 * each['seconds']:,.1f}",
                f"{each['tokens_per_second']:,.0f}",
                f"{each['tflops']:.1f}",
                "" if each["mfu"] is None else f"{each['mfu']:.1%}",
                f"{each['peak_gb']:.1f}",
            ]
        )
    return {"table": table([*headers, "MFU", "peak GB"], rows, "r")}


def main(
    dims: Annotated[list[int], typer.Option("--dim")] = [64, 256, 512],  # noqa: B006
    titles: Annotated[list[int], typer.Option()] = [100_000, 1_000_000],  # noqa: B006
    tokens: Annotated[int, typer.Option(help="positions of a step")] = 16_384,
    steps: Annotated[int, typer.Option(help="that count")] = 10,
    sampled: Annotated[int, typer.Option(help="titles drawn for the softmax; 0: all")] = 0,
    out: Path = RESULTS,
    only: Annotated[bool, typer.Option(hidden=True, help="measure the first of each here and print it")] = False,
) -> None:
    """Measure every width with every catalogue."""
    if not torch.cuda.is_available():
        print("no GPU that torch can use: run this on a machine that has one", file=sys.stderr)
        raise typer.Exit(2)
    if only:
        print(json.dumps(measure(dims[0], titles[0], tokens, steps, torch.device("cuda"), sampled)))
        return
    settings = [f"--tokens={tokens}", f"--steps={steps}", f"--sampled={sampled}"]
    results: dict[str, Any] = {"code": code(), "machine": machine(), "runs": []}
    for count in titles:
        for dim in dims:
            results["runs"].append(_in_own_process(dim, count, settings))
            # After each, so that an interrupted measurement still leaves a page.
            page = publish("gpu", results, out)
    print(page)


def _in_own_process(dim: int, titles: int, settings: Sequence[str]) -> dict[str, Any]:
    """A measurement in a process of its own. If it fails, the table shows the last line of its error."""
    program = [sys.executable, "-m", "lab.benchmarks.gpu", "--only", f"--dim={dim}", f"--titles={titles}", *settings]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines() or [""]
    print(f"d = {dim}, {titles:,} titles: {'done' if done.returncode == 0 else lines[-1]}", flush=True)
    if done.returncode:
        return {"dim": dim, "titles": titles, "error": lines[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    typer.run(main)
