"""The bootstrap where its answer is known."""

import math

import numpy as np
import pytest
from scipy import stats

from intentrec.evaluation.significance import (
    Lift,
    lift_over_seeds,
    p_of_users,
    p_of_users_and_seeds,
    paired_lift,
    resampled_means,
)


def test_a_constant_ratio_has_no_spread() -> None:
    theirs = np.linspace(0.1, 1.0, 200)
    lift = paired_lift(1.1 * theirs, theirs)
    assert (lift.estimate, lift.lower, lift.upper) == pytest.approx((0.1, 0.1, 0.1))


def test_the_interval_matches_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    theirs = rng.gamma(2.0, 1.0, 4000)
    ours = theirs + rng.normal(0.1, 0.5, 4000)
    lift = paired_lift(ours, theirs, resamples=2000)
    ratio = ours.mean() / theirs.mean()
    error = np.std(ours - ratio * theirs) / theirs.mean() / math.sqrt(4000)
    assert lift.lower == pytest.approx(ratio - 1 - 1.96 * error, abs=0.15 * error)
    assert lift.upper == pytest.approx(ratio - 1 + 1.96 * error, abs=0.15 * error)
    assert lift.p_value == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)


def test_noise_covers_zero_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        theirs = rng.gamma(2.0, 1.0, 150)
        ours = rng.gamma(2.0, 1.0, 150)
        lift = paired_lift(ours, theirs, resamples=300, confidence=0.9)
        covered += lift.lower <= 0 <= lift.upper
    assert 0.83 <= covered / 200 <= 0.96


def test_the_same_data_give_the_same_interval() -> None:
    ours, theirs = np.arange(50.0), np.arange(50.0)[::-1].copy()
    assert paired_lift(ours, theirs) == paired_lift(ours, theirs)


def test_a_baseline_of_zeros() -> None:
    nothing = np.zeros(20)
    assert paired_lift(np.ones(20), nothing).lower == math.inf
    same = paired_lift(nothing, nothing)
    assert (same.estimate, same.lower, same.upper, same.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("ours", "theirs"), [(np.ones(2), np.ones(3)), (np.ones(0), np.ones(0))])
def test_unpaired_or_empty_values_are_refused(ours: np.ndarray, theirs: np.ndarray) -> None:
    with pytest.raises(ValueError, match="same users"):
        paired_lift(ours, theirs)


def kinds(rng: np.random.Generator, users: int, seeds: int, of_seed: float) -> tuple[np.ndarray, np.ndarray]:
    """Two kinds of model that are equally good: users differ, a training moves all of them, and noise."""
    of_user = rng.normal(1.0, 0.3, users)
    return tuple(of_user + rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, 0.1, (seeds, users)) for _ in range(2))  # type: ignore[return-value]


def lift_between(ours_SU: np.ndarray, theirs_SU: np.ndarray, resamples: int = 1000) -> Lift:
    ours_RS, theirs_RS = (resampled_means(values_SU.T, resamples) for values_SU in (ours_SU, theirs_SU))
    return lift_over_seeds(ours_SU, theirs_SU, ours_RS, theirs_RS)


def test_with_one_seed_each_the_test_is_over_users() -> None:
    ours, theirs = kinds(np.random.default_rng(5), users=60, seeds=1, of_seed=0.1)
    wanted = stats.ttest_rel(ours[0], theirs[0]).pvalue
    assert p_of_users(ours, theirs) == pytest.approx(wanted)
    assert p_of_users_and_seeds(ours, theirs) == pytest.approx(wanted)
    lift, paired = lift_between(ours, theirs), paired_lift(ours[0], theirs[0])
    assert (lift.lower, lift.upper) == pytest.approx((paired.lower, paired.upper))


def test_without_variance_over_users_the_test_is_welchs() -> None:
    """Welch's test of the means of three trainings and of five."""
    rng = np.random.default_rng(6)
    ours, theirs = (np.repeat(rng.normal(1, 0.1, (seeds, 1)), 40, axis=1) for seeds in (3, 5))
    wanted = stats.ttest_ind(ours[:, 0], theirs[:, 0], equal_var=False).pvalue
    assert p_of_users_and_seeds(ours, theirs) == pytest.approx(wanted)
    assert p_of_users(ours, theirs) == 0.0, "every user says the same of these very models"


def test_differences_between_seeds_alone_are_rarely_significant() -> None:
    """Kinds that are equally good: users alone tell them apart nearly always, users and seeds as rarely as they say."""
    rng, tries = np.random.default_rng(7), 300
    users, both, covered = 0, 0, 0
    for number in range(tries):
        ours, theirs = kinds(rng, users=400, seeds=5, of_seed=0.05)
        users += p_of_users(ours, theirs) < 0.05
        both += p_of_users_and_seeds(ours, theirs) < 0.05
        if number < 200:
            lift = lift_between(ours, theirs, resamples=300)
            covered += lift.lower <= 0 <= lift.upper
    assert users / tries > 0.5
    assert 0.01 <= both / tries <= 0.08
    assert 0.92 <= covered / 200 <= 0.99, "the interval says what the test says"
