"""How sure a difference is: paired per-user bootstrap of the relative lift, and the paper's t-test (section 4.2)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Lift:
    """Relative lift of the mean over a baseline's, with its bootstrap interval and the p-value of a paired t-test."""

    estimate: float
    lower: float
    upper: float
    confidence: float
    p_value: float
    users: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def relative(ours: float, theirs: float) -> float:
    """`ours / theirs - 1`; against 0 it is infinite, or 0 where both are 0."""
    if theirs == 0:
        return 0.0 if ours == 0 else float("inf")
    return ours / theirs - 1.0


def mean_intervals(
    values_US: NDArray, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[NDArray, NDArray]:
    """Bootstrap intervals of each column's mean: lower and upper bounds, one per column.

    Every resample draws users once for all columns, so that systems are seen under the same luck.

    Raises:
        ValueError: no user.
    """
    users = len(values_US)
    if not users:
        raise ValueError("values of at least one user are needed")
    rng = np.random.default_rng(seed)
    means = np.stack(
        [np.bincount(rng.integers(0, users, users), minlength=users) @ values_US / users for _ in range(resamples)]
    )
    tail = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return lower, upper


def paired_lift(
    ours_U: NDArray, theirs_U: NDArray, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Lift:
    """Bootstrap the relative lift of `ours_U` over `theirs_U`, one value of each per user.

    Users are drawn with replacement, both systems' values together, so what is common to both cancels. Percentile
    interval, two-sided at `confidence`.

    Raises:
        ValueError: no user, or arrays of different lengths.
    """
    if ours_U.shape != theirs_U.shape or len(ours_U) == 0:
        raise ValueError(f"paired values of the same users are needed, got {ours_U.shape} and {theirs_U.shape}")
    pairs_U2 = np.stack([ours_U, theirs_U], axis=1).astype(float)
    users = len(pairs_U2)
    rng = np.random.default_rng(seed)
    lifts = np.empty(resamples)
    for i in range(resamples):
        ours, theirs = pairs_U2[rng.integers(0, users, users)].mean(axis=0)
        lifts[i] = relative(ours, theirs)
    tail = (1.0 - confidence) / 2.0
    # An infinite lift has a place in the order but no midpoint, so quantiles are taken without interpolation.
    lower, upper = np.quantile(lifts, [tail, 1.0 - tail], method="inverted_cdf")
    difference = pairs_U2[:, 0] - pairs_U2[:, 1]
    constant = users < 2 or np.ptp(difference) == 0
    p_value = float(difference[0] == 0) if constant else float(stats.ttest_1samp(difference, 0.0).pvalue)
    estimate = relative(*pairs_U2.mean(axis=0))
    return Lift(float(estimate), float(lower), float(upper), confidence, p_value, users)
