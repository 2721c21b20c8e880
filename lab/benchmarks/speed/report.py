"""Seconds to rates and ratios, and these to a page."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from lab.benchmarks.machine import made_by
from lab.benchmarks.speed.environments import OURS
from lab.benchmarks.speed.histories import Histories
from lab.benchmarks.speed.rounds import Timing
from lab.benchmarks.speed.turns import Task

NAMES = {OURS: "IntentRec's SASRec", "rectools": "RecTools SASRec", "replay": "RePlay SasRec"}
LENGTHS = {"full": "every history has n + 1 interactions: no system pads", "mixed": "log-normal lengths"}


def block(timings: Mapping[str, Timing], task: Task, histories: Histories) -> dict[str, Any]:
    """One measurement: rates per second from the medians, and how much faster this project is than the faster peer."""
    users = len(histories.offsets) - 1
    systems = {
        name: {
            **timing.about,
            "train_seconds": timing.train,
            "score_seconds": timing.score,
            "sequences_per_second": users / median(timing.train),
            "users_per_second": users / median(timing.score),
        }
        for name, timing in timings.items()
    }
    about = {key: value for key, value in asdict(task).items() if key not in ("data", "folder")}
    found: dict[str, Any] = {
        "task": {**about, "users": users, "interactions": len(histories.title_N)},
        "systems": systems,
    }
    peers = [rates for name, rates in systems.items() if name != OURS]
    if peers and OURS in systems:
        found["ratio"] = {
            what: systems[OURS][key] / max(rates[key] for rates in peers)
            for what, key in (("training", "sequences_per_second"), ("scoring", "users_per_second"))
        }
    return found


def page(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    machine = results["machine"]
    text = [
        "# Speed beside RecTools and RePlay",
        "",
        f"{made_by(results['command'], results['code'])}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB.",
        "",
        _METHOD,
    ]
    for lengths, found in results["lengths"].items():
        text += ["", *_section(lengths, found)]
    return "\n".join(text) + "\n"


_METHOD = """\
SASRec in three implementations: same histories, same width, blocks, heads and dropout, same full softmax over all
titles, as many sequences in a step, same number of threads, float32. Each system trains with its own loop (RecTools and
RePlay: Lightning) and scores with its own public call, from histories in memory to the best titles of every user. They
take turns, an epoch or a scoring each, in processes that wait while another one works; the first turns are a warm-up
that does not count; rates are those of the median turn. This project's epoch includes its validation and checkpoint.
RePlay gets its own transforms that trim padding. The ratio is to the faster of the two."""


def _section(lengths: str, found: Mapping[str, Any]) -> list[str]:
    task = found["task"]
    lines = [
        f"## {lengths}: {LENGTHS[lengths]}",
        "",
        f"n = {task['length']}, d = {task['dim']}, {task['blocks']} blocks, {task['heads']} heads, dropout "
        f"{task['dropout']}, {task['titles']:,} titles, {task['users']:,} users with {task['interactions']:,} "
        f"interactions, {task['batch']} sequences a step, {task['threads']} threads.",
        "",
        "| system | version | torch | parameters | sequences/s, training | users/s, scoring | turns | loss | peak MB |",
        "|---|---|---|---:|---:|---:|---|---:|---:|",
    ]
    for name, rates in found["systems"].items():
        turns = f"{_range(rates['train_seconds'])}; {_range(rates['score_seconds'])}"
        lines.append(
            f"| {NAMES[name]} | {rates['version']} | {rates['torch']} | {rates['parameters']:,} "
            f"| {rates['sequences_per_second']:,.0f} | {rates['users_per_second']:,.0f} "
            f"| {turns} | {rates['loss']:.3f} | {rates['peak_mb']:,.0f} |"
        )
    if "ratio" in found:
        ratio = found["ratio"]
        lines += ["", f"Ratio: training **{ratio['training']:.2f}**, scoring **{ratio['scoring']:.2f}**."]
    return lines


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"
