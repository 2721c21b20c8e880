"""Clusters of intent embeddings."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from intentrec.inference.scorer import assign_clusters, fit_clusters, load_clusters, sample_users, save_clusters


def test_sample_is_bounded_and_independent_of_order() -> None:
    users = pa.table({"user_id": [f"u{i}" for i in range(100)]})
    chosen = sample_users(users, 10)["user_id"].to_pylist()
    assert len(set(chosen)) == 10
    assert sample_users(users.take(list(range(99, -1, -1))), 10)["user_id"].to_pylist() == chosen


def test_well_separated_groups_are_found_largest_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    group = np.repeat([0, 1, 2], [20, 50, 30])
    points = centres[group] + rng.normal(0, 0.1, (100, 2))
    found = fit_clusters(points, 3, seed=7)
    assert np.array_equal(found, fit_clusters(points, 3, seed=7))
    save_clusters(found, tmp_path / "c.json")
    assigned = assign_clusters(points, load_clusters((tmp_path / "c.json").read_bytes()))
    assert assigned.tolist() == np.array([2, 0, 1])[group].tolist()


def test_fewer_users_than_clusters() -> None:
    assert len(fit_clusters(np.array([[0.0], [1.0], [1.0]]), 10, seed=1)) == 2
