"""Labels that give clusters of users their names."""

import numpy as np
import pytest

from intentrec.config import Intent
from intentrec.evaluation.labels import cluster_name, common_labels
from tests.evaluation.rows import sequences


def test_clusters_are_named_by_what_is_over_represented() -> None:
    """Cluster 0 watches 2 of 3 crime, everybody 2 of 6; its kind is everybody's."""
    batch = sequences(
        {"u": list("abc"), "v": list("abc")},
        genres={"u": [["crime"], ["crime"], ["drama"]], "v": [["drama"], ["drama"], ["drama"]]},
    )
    intents = [Intent(name="genre", column="genres"), Intent(name="kind", column="kind")]
    first, second = common_labels(batch, np.array([0, 1]), intents)
    assert [(each.label, each.share, each.lift) for each in first] == [
        ("crime", pytest.approx(2 / 3), pytest.approx(2))
    ]
    assert cluster_name(first) == "crime x2.0"
    assert [(each.label, each.lift) for each in second] == [("drama", pytest.approx(1.5))]
    assert cluster_name([]) == "like everyone"
