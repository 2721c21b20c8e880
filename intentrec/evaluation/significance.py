"""Significance of a difference: paired per-user bootstrap of the relative lift, and the paper's t-test (section 4.2).

Two questions are possible. Do two given models differ, for other users? Then only the users are a sample. Do two kinds
of model differ, for other users and other seeds? Then the seeds are a sample, too. A difference that is significant for
two models need not be significant for their kinds.

Shape suffixes: U users, S seeds of one system, R resamples.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr


@dataclass(frozen=True)
class Lift:
    """Relative lift of the mean over a baseline's mean.

    Attributes:
        estimate: 0.1 is +10 %.
        lower: lower bound of the bootstrap interval.
        upper: upper bound.
        confidence: of the interval, two-sided.
        p_value: of a two-sided t-test.
        users: number of users.
    """

    estimate: float
    lower: float
    upper: float
    confidence: float
    p_value: float
    users: int

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def relative(ours: float, theirs: float) -> float:
    """`ours / theirs - 1`. If `theirs` is 0 it is infinite, or 0 where both are 0."""
    if theirs == 0:
        return 0.0 if ours == 0 else float("inf")
    return ours / theirs - 1.0


def resampled_means(values_US: NDArray, resamples: int = 1000, seed: int = 0) -> NDArray:
    """Each column's mean over users drawn with replacement, once per resample: (R, S).

    A resample draws users once for all columns, so systems are compared on the same users. The draws depend on the
    number of users and the seed only.

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


def mean_intervals(values_US: NDArray, resamples: int = 1000, confidence: float = 0.95) -> tuple[NDArray, NDArray]:
    """Bootstrap intervals of each column's mean: lower and upper bounds, (S,) each.

    Raises:
        ValueError: no user.
    """
    tail = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(resampled_means(values_US, resamples), [tail, 1.0 - tail], axis=0)
    return lower, upper


def paired_lift(ours_U: NDArray, theirs_U: NDArray, resamples: int = 1000, confidence: float = 0.95) -> Lift:
    """Bootstrap the relative lift of `ours_U` over `theirs_U`, one value of each per user.

    Users are drawn with replacement, with the values of both systems, so what is common to both cancels. The interval
    is the percentile interval, two-sided at `confidence`.

    Raises:
        ValueError: no user, or arrays of different lengths.
    """
    if ours_U.shape != theirs_U.shape or len(ours_U) == 0:
        raise ValueError(f"paired values of the same users are needed, got {ours_U.shape} and {theirs_U.shape}")
    ours_R, theirs_R = resampled_means(np.stack([ours_U, theirs_U], axis=1).astype(float), resamples).T
    lower, upper = _bounds(ours_R, theirs_R, confidence)
    estimate = relative(float(ours_U.mean(dtype=float)), float(theirs_U.mean(dtype=float)))
    return Lift(estimate, lower, upper, confidence, p_of_users(ours_U[None], theirs_U[None]), len(ours_U))


def lift_over_seeds(
    ours_SU: NDArray, theirs_SU: NDArray, ours_RS: NDArray, theirs_RS: NDArray, confidence: float = 0.95, seed: int = 0
) -> Lift:
    """The lift of one kind of model over another, each trained with some seeds, for other users and other seeds.

    Every resample draws users once for both kinds. The effect of other seeds is drawn from Student's t, with the
    variance and the degrees of freedom that `p_of_users_and_seeds` uses. (A bootstrap over a handful of seeds would
    vary too little.)

    Args:
        ours_SU: one value per seed and user.
        theirs_SU: the same of the other kind, for the same users.
        ours_RS: `resampled_means` of each seed.
        theirs_RS: the same of the other kind, with the same draws of users.
        confidence: of the interval.
        seed: of the draws of seeds.
    """
    ours_S, theirs_S = (values_SU.mean(axis=1, dtype=float) for values_SU in (ours_SU, theirs_SU))
    scale = ours_S.mean() / theirs_S.mean() if theirs_S.any() else 1.0  # a lift is a ratio
    variance, freedom = _sum_of_variances([_variance_of_mean(ours_S), _variance_of_mean(scale * theirs_S)])
    others_R = np.random.default_rng(seed).standard_t(freedom, len(ours_RS)) * variance**0.5
    ours_R, theirs_R = np.maximum(ours_RS.mean(axis=1) + others_R, 0.0), theirs_RS.mean(axis=1)
    lower, upper = _bounds(ours_R, theirs_R, confidence)
    estimate = relative(float(ours_S.mean()), float(theirs_S.mean()))
    return Lift(estimate, lower, upper, confidence, p_of_users_and_seeds(ours_SU, theirs_SU), ours_SU.shape[1])


def p_of_users(ours_SU: NDArray, theirs_SU: NDArray) -> float:
    """Two-sided p-value of the paper's paired t-test over users, for these models; seeds are averaged first."""
    difference_U = _differences(ours_SU, theirs_SU)
    return _p_value(float(np.mean(difference_U)), [_variance_of_mean(difference_U)])


def p_of_users_and_seeds(ours_SU: NDArray, theirs_SU: NDArray) -> float:
    """Two-sided p-value of the mean difference between two kinds of model, for other users and other seeds.

    The variance of the mean is a sum: over users (of the difference, seeds averaged first), and over the seeds of each
    kind that has several. Degrees of freedom are those of Welch and Satterthwaite. The effect of a seed on single users
    counts in both parts, so the test is conservative. With one seed each it equals `p_of_users`. Without variance over
    users it equals Welch's t-test of the seeds' means.
    """
    means = [values_SU.mean(axis=1, dtype=float) for values_SU in (ours_SU, theirs_SU) if len(values_SU) > 1]
    difference_U = _differences(ours_SU, theirs_SU)
    return _p_value(float(np.mean(difference_U)), [_variance_of_mean(difference_U), *map(_variance_of_mean, means)])


def _differences(ours_SU: NDArray, theirs_SU: NDArray) -> NDArray:
    return ours_SU.mean(axis=0, dtype=float) - theirs_SU.mean(axis=0, dtype=float)


def _variance_of_mean(values: NDArray) -> tuple[float, int]:
    """The variance of the values' mean, and its degrees of freedom."""
    constant = len(values) < 2 or np.ptp(values) == 0  # rounding would give a variance above 0
    return 0.0 if constant else float(np.var(values, ddof=1)) / len(values), max(len(values) - 1, 1)


def _sum_of_variances(parts: list[tuple[float, int]]) -> tuple[float, float]:
    """The variance of independent parts together, and its degrees of freedom by Welch and Satterthwaite."""
    variance = sum(part for part, _ in parts)
    return variance, variance**2 / sum(part**2 / degrees for part, degrees in parts) if variance else 1.0


def _p_value(difference: float, parts: list[tuple[float, int]]) -> float:
    variance, freedom = _sum_of_variances(parts)
    if variance == 0:
        return float(difference == 0)
    return float(2 * stdtr(freedom, -abs(difference) / variance**0.5))


def _bounds(ours_R: NDArray, theirs_R: NDArray, confidence: float) -> tuple[float, float]:
    lifts = [relative(ours, theirs) for ours, theirs in zip(ours_R.tolist(), theirs_R.tolist(), strict=True)]
    tail = (1.0 - confidence) / 2.0
    # Lifts may be infinite, so quantiles are taken without interpolation.
    lower, upper = np.quantile(lifts, [tail, 1.0 - tail], method="inverted_cdf")
    return float(lower), float(upper)
