"""From seconds to rates and ratios, and from these to the page."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from intentrec.reports.markdown import table
from lab.benchmarks.speed.histories import Histories
from lab.benchmarks.speed.rounds import OURS, Timing
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


def values(results: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of the results."""
    lengths = []
    for kind, found in results["lengths"].items():
        task = found["task"]
        about = (
            f"n = {task['length']}, d = {task['dim']}, {task['blocks']} blocks, {task['heads']} heads, dropout "
            f"{task['dropout']}, {task['titles']:,} titles, {task['users']:,} users with {task['interactions']:,} "
            f"interactions, {task['batch']} sequences per step, {task['threads']} threads."
        )
        rows = [
            [
                NAMES[name],
                rates["version"],
                rates["torch"],
                f"{rates['parameters']:,}",
                f"{rates['sequences_per_second']:,.0f}",
                f"{rates['users_per_second']:,.0f}",
                f"{_range(rates['train_seconds'])}; {_range(rates['score_seconds'])}",
                f"{rates['loss']:.3f}",
                f"{rates['peak_mb']:,.0f}",
            ]
            for name, rates in found["systems"].items()
        ]
        headers = ["system", "version", "torch", "parameters", "sequences/s, training", "users/s, scoring"]
        lines = table([*headers, "turns", "loss", "peak MB"], rows, "lllr")
        heading = f"{kind}: {LENGTHS[kind]}"
        lengths.append({"heading": heading, "task": about, "table": lines, "ratio": found.get("ratio")})
    return {"lengths": lengths}


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"
