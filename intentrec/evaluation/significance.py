"""How sure a difference is: paired per-user bootstrap of the relative lift, and the paper's t-test (section 4.2).

Of two models, the users are all that was drawn. Of two ways to train one, the seeds were drawn as well: trained again,
each would be another model, so that what is sure of these two models need not be of their kinds.

Shape suffixes: U users, S seeds of one system, R resamples.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Lift:
    """Relative lift of the mean over a baseline's, with its bootstrap interval and the p-value of a t-test."""

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
    if ours_U.shape != theirs_U.shape or len(ours_U) == 0:
        raise ValueError(f"paired values of the same users are needed, got {ours_U.shape} and {theirs_U.shape}")
    ours_R, theirs_R = resampled_means(np.stack([ours_U, theirs_U], axis=1).astype(float), resamples, seed).T
    lower, upper = _bounds(ours_R, theirs_R, confidence)
    estimate = relative(float(ours_U.mean(dtype=float)), float(theirs_U.mean(dtype=float)))
    return Lift(estimate, lower, upper, confidence, p_of_users(ours_U[None], theirs_U[None]), len(ours_U))


def lift_of_kinds(
    ours_SU: NDArray, theirs_SU: NDArray, ours_RS: NDArray, theirs_RS: NDArray, confidence: float = 0.95, seed: int = 0
) -> Lift:
    """The lift of one kind of model over another, each trained with some seeds, over users and seeds.

    In every resample users are drawn once for both. What other seeds would do to the difference is drawn from Student's
    t, with the variance and the degrees of freedom that `p_of_users_and_seeds` gives the seeds: drawn with replacement,
    a handful of trainings would vary too little.

    Args:
        ours_SU: one value per seed and user.
        theirs_SU: those of the same users.
        ours_RS: each seed's means of `resampled_means`.
        theirs_RS: those of the same draws of users.
        confidence: of the interval.
        seed: of the draws of seeds.
    """
    ours_S, theirs_S = (values_SU.mean(axis=1, dtype=float) for values_SU in (ours_SU, theirs_SU))
    scale = ours_S.mean() / theirs_S.mean() if theirs_S.any() else 1.0  # a lift is a ratio
    variance, freedom = _added([_over(ours_S), _over(scale * theirs_S)])
    others_R = np.random.default_rng(seed).standard_t(freedom, len(ours_RS)) * variance**0.5
    ours_R, theirs_R = np.maximum(ours_RS.mean(axis=1) + others_R, 0.0), theirs_RS.mean(axis=1)
    lower, upper = _bounds(ours_R, theirs_R, confidence)
    estimate = relative(float(ours_S.mean()), float(theirs_S.mean()))
    return Lift(estimate, lower, upper, confidence, p_of_users_and_seeds(ours_SU, theirs_SU), ours_SU.shape[1])


def p_of_users(ours_SU: NDArray, theirs_SU: NDArray) -> float:
    """Two-sided p-value of the paper's paired t-test over users, of these very models: seeds are averaged first."""
    return _p_value(float(np.mean(_differences(ours_SU, theirs_SU))), [_over(_differences(ours_SU, theirs_SU))])


def p_of_users_and_seeds(ours_SU: NDArray, theirs_SU: NDArray) -> float:
    """Two-sided p-value of the mean difference between two kinds of model, for other users and other seeds.

    The variances of the mean add up: over users (their difference, seeds averaged first) and over the seeds of each
    side that has several. Degrees of freedom by Welch and Satterthwaite. What a seed does to single users counts in
    both, so that the test errs on the careful side. With one seed each it is `p_of_users`; with no variance over
    users, Welch's t-test of the seeds' means.
    """
    means = [values_SU.mean(axis=1, dtype=float) for values_SU in (ours_SU, theirs_SU) if len(values_SU) > 1]
    difference_U = _differences(ours_SU, theirs_SU)
    return _p_value(float(np.mean(difference_U)), [_over(difference_U), *map(_over, means)])


def _differences(ours_SU: NDArray, theirs_SU: NDArray) -> NDArray:
    return ours_SU.mean(axis=0, dtype=float) - theirs_SU.mean(axis=0, dtype=float)


def _over(values: NDArray) -> tuple[float, int]:
    """The variance of the values' mean, and its degrees of freedom."""
    constant = len(values) < 2 or np.ptp(values) == 0  # which the variance of rounded values would miss
    return 0.0 if constant else float(np.var(values, ddof=1)) / len(values), max(len(values) - 1, 1)


def _added(parts: list[tuple[float, int]]) -> tuple[float, float]:
    """The variance of independent parts together, and its degrees of freedom by Welch and Satterthwaite."""
    variance = sum(part for part, _ in parts)
    return variance, variance**2 / sum(part**2 / degrees for part, degrees in parts) if variance else 1.0


def _p_value(difference: float, parts: list[tuple[float, int]]) -> float:
    variance, freedom = _added(parts)
    if variance == 0:
        return float(difference == 0)
    return float(2 * stats.t.sf(abs(difference) / variance**0.5, freedom))


def _bounds(ours_R: NDArray, theirs_R: NDArray, confidence: float) -> tuple[float, float]:
    lifts = [relative(ours, theirs) for ours, theirs in zip(ours_R.tolist(), theirs_R.tolist(), strict=True)]
    tail = (1.0 - confidence) / 2.0
    # An infinite lift has a place in the order but no midpoint, so quantiles are taken without interpolation.
    lower, upper = np.quantile(lifts, [tail, 1.0 - tail], method="inverted_cdf")
    return float(lower), float(upper)
