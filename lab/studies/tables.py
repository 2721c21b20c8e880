"""From results on disk to tables: means and spread over seeds, relative to the paper's reference, with significance.

Systems are compared user by user and over their seeds: a difference counts where it would be seen with other users and
in other trainings (`p_value`). Beside it stands the paper's test, over users alone (`p_users`), which says how sure it
is of these very models. Shape suffixes as in `evaluation.significance`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intentrec.errors import PipelineError
from intentrec.evaluation.compare import INTENT_NAIVE_BASELINES
from intentrec.evaluation.significance import lift_of_kinds, p_of_users, resampled_means
from intentrec.training.inputs import settings
from lab.studies.naive import NAIVE_BASELINES, naive_mark
from lab.studies.run import Data, stored
from lab.studies.study import Study
from lab.studies.systems import System, domain_of

REFERENCE = {"1": "transact", "2": "v1", "3": "v0"}  # what the paper's tables are relative to
ITEM = ("next_event", "mrr")  # the paper's item-ID prediction accuracy; per user, as significance needs it


@dataclass(frozen=True)
class Measured:
    """All seeds of one system."""

    name: str
    label: str
    results: Sequence[Mapping[str, Any]]
    users: Mapping[str, str]  # protocol -> fingerprint of the users, in their order
    per_user: Mapping[str, NDArray]  # protocol.metric -> (S, U): by seed, in the order of users
    resampled: Mapping[str, NDArray] = field(default_factory=dict)  # the same, but (R, S): means over users drawn

    def values(self, protocol: str, metric: str) -> NDArray:
        """A metric of each seed; NaN where it was not measured."""
        found = [result["metrics"].get(protocol, {}).get(metric) for result in self.results]
        return np.array([np.nan if value is None else value for value in found], float)


def read(folder: Path, study: Study, data: Data, known: Mapping[str, System]) -> dict[str, Measured]:
    """The systems and the naive baselines that have results of this study, data and settings."""
    mark, found = data.mark(study), {}
    for name, system in known.items():
        paths = [folder / f"{name}-{seed}.json" for seed in study.seeds]
        kept = [(path, about) for path in paths if (about := stored(path, mark)) and _as_now(about, study, system)]
        if kept:
            found[name] = _measured(name, system.label, kept)
    for name in (*NAIVE_BASELINES, *INTENT_NAIVE_BASELINES):
        path = folder / f"{name}.json"
        about = stored(path, naive_mark(study, data, name))
        if about:
            found[name] = _measured(name, about["label"], [(path, about)])
    return _resampled(found)


def _as_now(about: Mapping[str, Any], study: Study, system: System) -> bool:
    """Whether the system would be trained with the same settings today."""
    return about["settings"] == settings(domain_of(study, system, about["tuned"], about["seed"]))


def _measured(name: str, label: str, kept: Sequence[tuple[Path, Mapping[str, Any]]]) -> Measured:
    first, per_user = kept[0][1], {}
    assert all(about["users"] == first["users"] for _, about in kept), f"{name}: other users by seed"
    for protocol in first["metrics"]:
        files = [path.with_suffix(f".{protocol}.parquet") for path, _ in kept]
        loaded = [pq.read_table(file) for file in files if file.exists()]
        for metric in loaded[0].column_names if loaded else []:
            values = [each[metric].to_numpy().astype(float) for each in loaded]
            per_user[f"{protocol}.{metric}"] = np.stack(values)
    return Measured(name, label, [about for _, about in kept], first["users"], per_user)


def _resampled(found: Mapping[str, Measured]) -> dict[str, Measured]:
    """With the draws of the bootstrap, made once for all systems: any two are compared under the same ones."""
    means: dict[str, dict[str, NDArray]] = {name: {} for name in found}
    for key in sorted({key for each in found.values() for key in each.per_user}):
        names = [name for name, each in found.items() if key in each.per_user]
        seeds = [len(found[name].per_user[key]) for name in names]
        means_RS = resampled_means(np.concatenate([found[name].per_user[key] for name in names]).T)
        for name, of_system_RS in zip(names, np.split(means_RS, np.cumsum(seeds)[:-1], axis=1), strict=True):
            means[name][key] = of_system_RS
    return {name: replace(each, resampled=means[name]) for name, each in found.items()}


def compared(ours: Measured, theirs: Measured, protocol: str = ITEM[0], metric: str = ITEM[1]) -> dict[str, Any]:
    """Relative lift per user, its interval and p-value over users and seeds, and the p-value over users alone.

    Raises:
        PipelineError: the two were judged on other users.
    """
    key = f"{protocol}.{metric}"
    if ours.users[protocol] != theirs.users[protocol]:
        raise PipelineError(
            f"{ours.name} and {theirs.name} were judged on other users ({protocol}), under other settings it seems: "
            "delete the older one's files in lab/results/runs, and run the study again"
        )
    pair = ours.per_user[key], theirs.per_user[key]
    lift = lift_of_kinds(*pair, ours.resampled[key], theirs.resampled[key])
    return {**lift.to_dict(), "p_users": p_of_users(*pair)}


def table(number: str, names: Sequence[str], measured: Mapping[str, Measured], intents: Sequence[str]) -> list[dict]:
    """The lines of a table of the paper, for the systems that have results."""
    reference = measured.get(REFERENCE[number])
    return [_line(measured[name], reference, intents) for name in names if name in measured]


def naive_baselines(measured: Mapping[str, Measured], intents: Sequence[str]) -> list[dict]:
    """The lines of the item naive baselines."""
    return [_line(measured[name], None, intents) for name in NAIVE_BASELINES if name in measured]


def _line(system: Measured, reference: Measured | None, intents: Sequence[str]) -> dict[str, Any]:
    line: dict[str, Any] = {"system": system.name, "label": system.label, "seeds": len(system.results)}
    for protocol, metric in METRICS:
        line[f"{protocol}.{metric}"] = _spread(system.values(protocol, metric))
    if system.values("week_ahead", "users_cold").min() < FEW:
        line[f"week_ahead.{COLD}"] = None
    for intent in intents:
        line[f"intent.{intent}"] = _spread(system.values("next_event", f"intent_{intent}_accuracy"))
    if reference is not None and reference.name != system.name:
        line["lift"] = compared(system, reference)
        line["lift_week_ahead"] = compared(system, reference, "week_ahead", "ndcg_at_10")
        for intent in intents:
            mine, theirs = (
                line_of.values("next_event", f"intent_{intent}_accuracy") for line_of in (system, reference)
            )
            if np.isfinite(mine).all() and np.isfinite(theirs).all():
                line[f"lift.{intent}"] = float(mine.mean() / theirs.mean() - 1)
    return line


COLD = "ndcg_at_10_cold"
FEW = 30  # users; a mean over fewer says nothing
METRICS = (
    ("next_event", "next_mrr"),
    ("next_event", "next_ndcg_at_10"),
    ("week_ahead", "mrr"),
    ("week_ahead", "ndcg_at_10"),
    ("week_ahead", "ndcg_at_10_unseen"),
    ("week_ahead", "recall_at_10_new"),
    ("week_ahead", COLD),
    ("week_ahead", "coverage_at_10"),
)


def _spread(values: NDArray) -> dict[str, float] | None:
    """Mean and standard deviation over seeds; None where it was not measured."""
    if not len(values) or not np.isfinite(values).all():
        return None
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0}
