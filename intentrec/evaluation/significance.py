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


def resampled_means(values_US: NDArray, resamples: int = 1000, seed: int = 0) -> NDArray:
    """Each column's mean over users drawn with replacement, once per resample: (R, S).

    A resample draws users once for all columns, so that systems are seen under the same luck; and as many users are
    drawn the same way in every call with the same seed.

    Raises:
        ValueError: no user.
    """
    users = len(values_US)
    if not users:
        raise ValueError("values of at least one user are needed")
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.bincount(rng.integers(0, users, users), minlength=users) @ values_US / users for _ in range(resamples)]
    )


def mean_intervals(
    values_US: NDArray, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[NDArray, NDArray]:
    """Bootstrap intervals of each column's mean: lower and upper bounds, one per column.

    Raises:
        ValueError: no user.
    """
    tail = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(resampled_means(values_US, resamples, seed), [tail, 1.0 - tail], axis=0)
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
    _require_paired(ours_U, theirs_U)
    ours_R, theirs_R = resampled_means(np.stack([ours_U, theirs_U], axis=1).astype(float), resamples, seed).T
    return lift_of(ours_U, theirs_U, ours_R, theirs_R, confidence)


def lift_of(ours_U: NDArray, theirs_U: NDArray, ours_R: NDArray, theirs_R: NDArray, confidence: float = 0.95) -> Lift:
    """The lift of `paired_lift`, of means over the same resamples of users that were made before.

    Args:
        ours_U: one value per user.
        theirs_U: those of the same users.
        ours_R: means of `resampled_means`.
        theirs_R: those of the same draws.
        confidence: of the interval.

    Raises:
        ValueError: no user, or arrays of different lengths.
    """
    _require_paired(ours_U, theirs_U)
    lifts = [relative(ours, theirs) for ours, theirs in zip(ours_R.tolist(), theirs_R.tolist(), strict=True)]
    tail = (1.0 - confidence) / 2.0
    # An infinite lift has a place in the order but no midpoint, so quantiles are taken without interpolation.
    lower, upper = np.quantile(lifts, [tail, 1.0 - tail], method="inverted_cdf")
    difference = ours_U.astype(float) - theirs_U.astype(float)
    constant = len(difference) < 2 or np.ptp(difference) == 0
    p_value = float(difference[0] == 0) if constant else float(stats.ttest_1samp(difference, 0.0).pvalue)
    estimate = relative(float(ours_U.mean(dtype=float)), float(theirs_U.mean(dtype=float)))
    return Lift(estimate, float(lower), float(upper), confidence, p_value, len(difference))


def _require_paired(ours_U: NDArray, theirs_U: NDArray) -> None:
    if ours_U.shape != theirs_U.shape or len(ours_U) == 0:
        raise ValueError(f"paired values of the same users are needed, got {ours_U.shape} and {theirs_U.shape}")
