"""The tables beyond the paper's: what the intents are worth, equal budgets, intents beside recommendations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from intentrec.evaluation.compare import INTENT_NAIVE_BASELINES
from lab.studies.tables import ITEM, Measured, compared

Lines = list[dict[str, Any]]
OURS = ("v3", "shipped", "shippedrefit")  # whose margins are listed
MARGINS = (ITEM, ("week_ahead", "ndcg_at_10"))


def intents(measured: Mapping[str, Measured], names: Sequence[str]) -> Lines:
    """Per system and intent: accuracy, skill over the better of majority and repeat-last (1 is perfect, 0 no better
    than that baseline), calibration error. Means over seeds."""
    best = {
        name: max(
            (
                _mean(measured[baseline], f"intent_{name}_accuracy")
                for baseline in INTENT_NAIVE_BASELINES
                if baseline in measured
            ),
            default=np.nan,
        )
        for name in names
    }
    lines: Lines = []
    for system in measured.values():
        for name in names:
            accuracy = _mean(system, f"intent_{name}_accuracy")
            if np.isfinite(accuracy):
                lines.append(
                    {
                        "system": system.name,
                        "label": system.label,
                        "intent": name,
                        "accuracy": accuracy,
                        "skill": (accuracy - best[name]) / (1 - best[name]) if best[name] < 1 else None,
                        "calibration_error": _or_none(_mean(system, f"intent_{name}_calibration_error")),
                    }
                )
    return lines


def margins(measured: Mapping[str, Measured]) -> Lines:
    """Lift of the paper's model and of the shipped one over each other system and baseline, in both protocols."""
    lines: Lines = []
    for other in measured.values():
        found = {
            f"{name}.{protocol}": compared(measured[name], other, protocol, metric)
            for name in OURS
            for protocol, metric in MARGINS
            if name in measured and name != other.name and f"{protocol}.{metric}" in other.per_user
        }
        if found:
            lines.append({"system": other.name, "label": other.label, **found})
    return lines


def hours(measured: Mapping[str, Measured]) -> dict[str, float]:
    """What training and judging with the study's seeds took, by what it ran on."""
    found: dict[str, float] = {}
    for result in (result for system in measured.values() for result in system.results if "seed" in result):
        found[result["hardware"]] = found.get(result["hardware"], 0.0) + result["seconds"]["all"] / 3600
    return dict(sorted(found.items()))


def codes(measured: Mapping[str, Measured]) -> list[str]:
    """Commits that the systems were trained and judged by, each once; `+`: the code, or a page, differed."""
    return sorted({result["code"] for system in measured.values() for result in system.results if "seed" in result})


def budgets(measured: Mapping[str, Measured], paces: Mapping[str, float]) -> Lines:
    """Validation MRR of each trained system at equal epochs, at equal training time, and at its best; over seeds.

    As many epochs, and as much time, as the system has that stopped first.

    Args:
        measured: results of systems and naive baselines.
        paces: seconds of an epoch, of systems that were timed side by side; others have no times.
    """
    trained = [system for system in measured.values() if "history" in system.results[0]]
    if not trained:
        return []
    curves = {
        system.name: [np.maximum.accumulate([row["val_mrr"] for row in result["history"]]) for result in system.results]
        for system in trained
    }
    epochs = min(len(value) for seeds in curves.values() for value in seeds)
    timed = [len(value) * paces[name] for name, seeds in curves.items() if name in paces for value in seeds]
    lines: Lines = []
    for system in trained:
        seeds, pace = curves[system.name], paces.get(system.name)
        best_epoch = float(np.mean([result["best_epoch"] for result in system.results]))
        line = {
            "system": system.name,
            "label": system.label,
            "parameters": system.results[0]["parameters"],
            "epochs": epochs,
            "seconds": min(timed, default=None),
            "at_equal_epochs": float(np.mean([value[epochs - 1] for value in seeds])),
            "at_equal_time": None,
            "best": float(np.mean([value[-1] for value in seeds])),
            "best_epoch": best_epoch,
            "seconds_to_best": None,
        }
        if pace is not None:
            done = int(min(timed) / pace + 1e-9)  # whole epochs
            line["at_equal_time"] = float(np.mean([value[:done][-1] if done else 0.0 for value in seeds]))
            line["seconds_to_best"] = best_epoch * pace
        lines.append(line)
    return lines


def alignment(measured: Mapping[str, Measured]) -> Lines:
    """Per system with an intent mixture: the metrics of `evaluation.alignment`, means over seeds."""
    lines: Lines = []
    for system in measured.values():
        found = [result.get("alignment") or {} for result in system.results]
        if all(found):
            keys = dict.fromkeys(key for each in found for key in each)
            values = {
                key: _or_none(float(np.mean([np.nan if each.get(key) is None else each[key] for each in found])))
                for key in keys
            }
            lines.append({"system": system.name, "label": system.label, **values})
    return lines


def _mean(system: Measured, metric: str) -> float:
    return float(np.mean(system.values("next_event", metric)))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
