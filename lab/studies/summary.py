"""The summary of a study: everything that its page shows, computed from the stored results.

It holds means and spread over seeds, lifts over V0 and their significance, the skill of the intents, equal budgets, and
intents beside recommendations.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES, ITEM_NAIVE_BASELINES
from intentrec.storage.runs import code_version
from lab.studies.data import DataFacts
from lab.studies.naive_measure import NAIVE_BASELINES
from lab.studies.results import ITEM, Measured, compared, epoch_seconds
from lab.studies.study import Study, System

Lines = list[dict[str, Any]]
SIGNIFICANCE = 0.01  # a difference is significant if its p-value is below this
REFERENCE = "v0"  # what the table is relative to: the same parts without intents
OURS = "v4"  # the system that claims and margins are about
MARGINS = (ITEM, ("week_ahead", "ndcg_at_10"))
COLD = "ndcg_at_10_cold"
MIN_COLD_USERS = 30  # a mean over fewer is not shown
METRICS = (
    ("next_event", "next_mrr"),
    ("next_event", "next_mrr_given_intent"),
    ("next_event", "next_mrr_repeat"),
    ("next_event", "next_mrr_explore"),
    ("week_ahead", "ndcg_at_10"),
    ("week_ahead", "ndcg_at_10_unseen"),
    ("week_ahead", "recall_at_10_new"),
    ("week_ahead", COLD),
    ("week_ahead", "coverage_at_10"),
)
# What V4 is compared with, numbered as in lab/results/claims.md.
CLAIMS = {
    "1. What V4 gains is intent": ("v4permuted", "v4mixture"),
    "2. V4 is above every other system": (
        "gru", "sasrec", "transact", "gru_parts", "sasrec_parts", "v0", "v1", "v2", "v3",
    ),
    "3. V4 is above every naive baseline": ITEM_NAIVE_BASELINES,
    "4. Each part of V4 is of use": ("v4undated", "v4stateless", "v4unbiased"),
}  # fmt: skip


def summary_of(
    name: str, study: Study, facts: DataFacts, known: Mapping[str, System], measured: Mapping[str, Measured], out: Path
) -> dict[str, Any]:
    """The content of `NAME.json`.

    Args:
        name: of the study.
        study: its settings.
        facts: about its data.
        known: its systems.
        measured: the systems and naive baselines with results.
        out: folder of its runs, for the timing.
    """
    intent_names = [intent.name for intent in study.base().intents]
    seconds, timed_on = epoch_seconds(out, study, facts, measured)
    trained = {system: measured[system].results for system in known if system in measured}
    judged = next(iter(measured.values())).results[0]["metrics"]["week_ahead"]["users"] if measured else 0
    return {
        "title": study.title,
        "simulated": study.simulated is not None,
        "command": f"make study DATASET={name}",
        "code": code_version(),
        "data": facts.content,
        "judged": [str(facts.cut), str(facts.end)],
        "study": study.model_dump(mode="json"),
        "tuned": {system: results[0]["tuned"] for system, results in trained.items()},
        "hours": _hours(measured),
        "week_ahead_users": {"judged": judged, "all": facts.users_with_target},
        "trained_by": _codes(measured),
        "missing": [system for system in known if len(trained.get(system, [])) < len(study.seeds)],
        "table": [_line(measured[each], measured.get(REFERENCE), intent_names) for each in known if each in measured],
        "naive_baselines": [_line(measured[each], None, intent_names) for each in NAIVE_BASELINES if each in measured],
        "claims": claims(measured),
        "margins": margins(measured),
        "intents": intents(measured, intent_names),
        "budgets": budgets(measured, seconds),
        "timed_on": timed_on,
        "alignment": alignment(measured),
        "curves": _curves(trained, seconds),
    }


def verdict(lift: Mapping[str, float]) -> str:
    """Above, below or level."""
    if not lift["p_value"] < SIGNIFICANCE:
        return "level"
    return "above" if lift["estimate"] > 0 else "below"


def claims(measured: Mapping[str, Measured]) -> Lines:
    """Lift of V4 and verdict for each comparison of a claim whose two systems have results."""
    lines: Lines = []
    for claim, others in CLAIMS.items():
        for other in others:
            if OURS in measured and other in measured:
                lift = compared(measured[OURS], measured[other])
                lines.append({"claim": claim, "over": measured[other].label, "lift": lift, "found": verdict(lift)})
    return lines


def margins(measured: Mapping[str, Measured]) -> Lines:
    """Lift of V4 over each other system and naive baseline, by protocol."""
    lines: Lines = []
    for other in measured.values():
        found = {
            protocol: compared(measured[OURS], other, protocol, metric)
            for protocol, metric in MARGINS
            if OURS in measured and other.name != OURS and f"{protocol}.{metric}" in other.per_user
        }
        if found:
            lines.append({"system": other.name, "label": other.label, **found})
    return lines


def intents(measured: Mapping[str, Measured], names: Sequence[str]) -> Lines:
    """Per system and intent: accuracy, skill and calibration error, as means over seeds.

    The skill is 1 for perfect predictions and 0 for those as good as the better of majority and repeat-last.
    """
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


def budgets(measured: Mapping[str, Measured], seconds: Mapping[str, float]) -> Lines:
    """Validation MRR of each trained system at equal epochs, at equal training time, and at its best; over seeds.

    The number of epochs, and the time, are those of the system that stopped first.

    Args:
        measured: results of systems and naive baselines.
        seconds: of an epoch, for systems that were timed side by side; others have no times.
    """
    trained = [system for system in measured.values() if "history" in system.results[0]]
    if not trained:
        return []
    curves = {
        system.name: [np.maximum.accumulate([row["val_mrr"] for row in result["history"]]) for result in system.results]
        for system in trained
    }
    epochs = min(len(value) for seeds in curves.values() for value in seeds)
    timed = [len(value) * seconds[name] for name, seeds in curves.items() if name in seconds for value in seeds]
    lines: Lines = []
    for system in trained:
        seeds, one_epoch = curves[system.name], seconds.get(system.name)
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
        if one_epoch is not None:
            done = int(min(timed) / one_epoch + 1e-9)  # whole epochs
            line["at_equal_time"] = float(np.mean([value[:done][-1] if done else 0.0 for value in seeds]))
            line["seconds_to_best"] = best_epoch * one_epoch
        lines.append(line)
    return lines


def alignment(measured: Mapping[str, Measured]) -> Lines:
    """Per system with an intent mixture: the metrics of `lab.alignment`, means over seeds."""
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


def _curves(
    trained: Mapping[str, Sequence[Mapping[str, Any]]], seconds: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """By system the seconds of an epoch, if it was timed, and per seed the validation MRR by epoch."""
    return {
        system: {
            "seconds": seconds.get(system),
            "val_mrr": [[row["val_mrr"] for row in result["history"]] for result in results],
        }
        for system, results in trained.items()
    }


def _hours(measured: Mapping[str, Measured]) -> dict[str, float]:
    """Hours of training and judging with the study's seeds, by hardware."""
    found: dict[str, float] = {}
    for result in (result for system in measured.values() for result in system.results if "seed" in result):
        found[result["hardware"]] = found.get(result["hardware"], 0.0) + result["seconds"]["all"] / 3600
    return dict(sorted(found.items()))


def _codes(measured: Mapping[str, Measured]) -> list[str]:
    """The commits by which the systems were trained and judged; `+`: tracked files differed from it."""
    return sorted({result["code"] for system in measured.values() for result in system.results if "seed" in result})


def _line(system: Measured, reference: Measured | None, intent_names: Sequence[str]) -> dict[str, Any]:
    line: dict[str, Any] = {"system": system.name, "label": system.label, "seeds": len(system.results)}
    for protocol, metric in METRICS:
        line[f"{protocol}.{metric}"] = _spread(system.values(protocol, metric))
    if system.values("week_ahead", "users_cold").min() < MIN_COLD_USERS:
        line[f"week_ahead.{COLD}"] = None
    accuracies = {intent: system.values("next_event", f"intent_{intent}_accuracy") for intent in intent_names}
    for intent, accuracy in accuracies.items():
        line[f"intent.{intent}"] = _spread(accuracy)
    if reference is not None and reference.name != system.name:
        line["lift"] = compared(system, reference)
        line["lift_week_ahead"] = compared(system, reference, "week_ahead", "ndcg_at_10")
        for intent, mine in accuracies.items():
            theirs = reference.values("next_event", f"intent_{intent}_accuracy")
            if np.isfinite(mine).all() and np.isfinite(theirs).all():
                line[f"lift.{intent}"] = float(mine.mean() / theirs.mean() - 1)
    return line


def _spread(values: NDArray) -> dict[str, float] | None:
    """Mean and standard deviation over seeds; None where it was not measured."""
    if not len(values) or not np.isfinite(values).all():
        return None
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0}


def _mean(system: Measured, metric: str) -> float:
    return float(np.mean(system.values("next_event", metric)))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
