"""The bootstrap where its answer is known."""

import math

import numpy as np
import pytest
from scipy import stats

from intentrec.evaluation.significance import paired_lift


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
