"""The distinctive intent, against scipy's divergence and by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import entropy

from intentrec.inference.distinctive import Typical

RNG = np.random.default_rng(0)


def test_distances_equal_scipys_divergence_over_its_mean() -> None:
    p = {"a": RNG.dirichlet(np.ones(5), 40), "b": RNG.dirichlet(np.full(3, 9.0), 40)}
    typical = Typical.of(p)
    expected = {}
    for name, p_UC in p.items():
        each = np.array([entropy(row, p_UC.mean(0)) for row in p_UC])
        expected[name] = each / each.mean()
    np.testing.assert_allclose(typical.distances(p), np.stack(list(expected.values()), -1))
    assert typical.distinctive(p).tolist() == [int(b > a) for a, b in zip(*expected.values(), strict=True)]
    assert 0.2 < typical.distinctive(p).mean() < 0.8, "neither the wide nor the narrow intent is everybody's"


def test_what_is_predicted_alike_for_all_is_nobodys() -> None:
    p = {"same": np.tile([0.9, 0.1], (4, 1)), "other": np.array([[1.0, 0.0], [0.5, 0.5], [0.4, 0.6], [0.5, 0.5]])}
    assert Typical.of(p).distinctive(p).tolist() == [1, 1, 1, 1]


def test_a_user_without_a_distribution_is_left_out_of_the_mean() -> None:
    p = {"a": np.array([[1.0, 0.0], [0.5, 0.5], [np.nan, np.nan]]), "b": np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])}
    typical = Typical.of(p)
    assert typical.mean["a"].tolist() == [0.75, 0.25]
    assert typical.distinctive(p)[2] == 1


def test_it_is_the_same_after_a_file(tmp_path: Path) -> None:
    p = {"a": RNG.dirichlet(np.ones(3), 9), "b": RNG.dirichlet(np.ones(2), 9)}
    typical = Typical.of(p)
    typical.save(tmp_path / "typical.json")
    again = Typical.load((tmp_path / "typical.json").read_bytes())
    assert again.divergence == pytest.approx(typical.divergence)
    np.testing.assert_array_equal(again.distinctive(p), typical.distinctive(p))
