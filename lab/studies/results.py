"""The stored results of a study, loaded for comparison user by user and seed by seed.

The p-value of a difference is over users and seeds (`p_value`), so it is about the kinds of model. The paper's test
over users alone (`p_users`) is about these trained models.

Shape suffixes: U users, S seeds of one system, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intentrec.errors import PipelineError
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES
from intentrec.evaluation.significance import lift_over_seeds, p_of_users, resampled_means
from intentrec.training.settings import settings
from lab.studies.data import DataFacts
from lab.studies.measure import TIMING, stored
from lab.studies.naive_measure import NAIVE_BASELINES, naive_mark
from lab.studies.study import Study, System, domain_of

ITEM = ("next_event", "mrr")  # the paper's item-ID prediction accuracy; per user, as significance needs it


@dataclass(frozen=True)
class Measured:
    """All seeds of one system.

    `users` is, per protocol, a fingerprint of the users in their order. `per_user` holds, by `protocol.metric`, arrays
    (S, U) over seeds and users; `resampled` the same as (R, S): means over bootstrap draws of the users.
    """

    name: str
    label: str
    results: Sequence[Mapping[str, Any]]
    users: Mapping[str, str]
    per_user: Mapping[str, NDArray]
    resampled: Mapping[str, NDArray] = field(default_factory=dict)

    def values(self, protocol: str, metric: str) -> NDArray:
        """A metric of each seed, (S,); NaN where it was not measured."""
        found = [result["metrics"].get(protocol, {}).get(metric) for result in self.results]
        return np.array([np.nan if value is None else value for value in found], float)


def read(folder: Path, study: Study, facts: DataFacts, known: Mapping[str, System]) -> dict[str, Measured]:
    """The systems and naive baselines that have results of this study, data and settings."""
    mark, found = facts.mark(study), {}
    for name, system in known.items():
        paths = [folder / f"{name}-{seed}.json" for seed in study.seeds]
        kept = [(path, about) for path in paths if (about := stored(path, mark)) and _is_current(about, study, system)]
        if kept:
            found[name] = _measured(name, system.label, kept)
    for name in (*NAIVE_BASELINES, *INTENT_NAIVE_BASELINES):
        path = folder / f"{name}.json"
        about = stored(path, naive_mark(study, facts, name))
        if about:
            found[name] = _measured(name, about["label"], [(path, about)])
    return _resampled(found)


def epoch_seconds(
    folder: Path, study: Study, facts: DataFacts, measured: Mapping[str, Measured]
) -> tuple[dict[str, float], str | None]:
    """Seconds of an epoch by system, where it was timed with its settings of today, and the hardware."""
    content = stored(folder / TIMING, facts.mark(study))
    if content is None:
        return {}, None
    timed = content["systems"]
    found = {
        name: timed[name]["seconds"]
        for name, system in measured.items()
        if name in timed and timed[name]["settings"] == system.results[0]["settings"]
    }
    return found, content["hardware"]


def compared(ours: Measured, theirs: Measured, protocol: str = ITEM[0], metric: str = ITEM[1]) -> dict[str, Any]:
    """Relative lift per user, its interval and p-value over users and seeds, and the p-value over users alone.

    Raises:
        PipelineError: the two were judged on different users.
    """
    key = f"{protocol}.{metric}"
    if ours.users[protocol] != theirs.users[protocol]:
        raise PipelineError(
            f"{ours.name} and {theirs.name} were judged on different users ({protocol}): "
            "delete the older one's files in the study's folder of runs, and run the study again"
        )
    pair = ours.per_user[key], theirs.per_user[key]
    lift = lift_over_seeds(*pair, ours.resampled[key], theirs.resampled[key])
    return {**lift.to_dict(), "p_users": p_of_users(*pair)}


def _is_current(about: Mapping[str, Any], study: Study, system: System) -> bool:
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
    """Add the bootstrap draws. They are the same for all systems, so that any two are compared under the same ones."""
    means: dict[str, dict[str, NDArray]] = {name: {} for name in found}
    for key in sorted({key for each in found.values() for key in each.per_user}):
        names = [name for name, each in found.items() if key in each.per_user]
        seeds = [len(found[name].per_user[key]) for name in names]
        means_RS = resampled_means(np.concatenate([found[name].per_user[key] for name in names]).T)
        for name, of_system_RS in zip(names, np.split(means_RS, np.cumsum(seeds)[:-1], axis=1), strict=True):
            means[name][key] = of_system_RS
    return {name: replace(each, resampled=means[name]) for name, each in found.items()}
