"""A release of V4: a row per class in user_vectors, and lists for the likeliest classes."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from intentrec.inference.scorer import read_files
from intentrec.inference.spark_scoring import Package, intent_recommendations, score
from intentrec.registry.explained import explained
from intentrec.registry.publish import publish
from intentrec.registry.served import read_served
from intentrec.registry.versions import Registry
from intentrec.storage.consumer import read
from intentrec.storage.warehouse import Warehouse
from tests.registry.judged import Judged, judged_as

pytestmark = pytest.mark.slow
OWN = ("history_path", "decayed_counts", "title_state", "compatibility", "dated_facts", "next_session")
PARTS = {"variant": "v4", **dict.fromkeys(OWN, True)}


@pytest.fixture(scope="module")
def home(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judged_as(
        judged,
        tmp_path_factory.mktemp("given"),
        domain="given",
        model=PARTS,
        gate={"naive_baselines": []},
        publishing={"intent_lists": 2},
    )


@pytest.fixture(scope="module")
def released(spark: SparkSession, home: Judged) -> str:
    """Root of the tables after the publication, with its audits."""
    warehouse = Warehouse(spark, home.run("publish"))
    publish(warehouse, activate=True, even_if_older=False)
    return warehouse.root


def test_vectors_of_all_classes_reproduce_scores_and_ranks(released: str) -> None:
    items = {row["title_id"]: np.array(row["vector"]) for row in read("item_vectors", released).to_pylist()}
    total: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(items, 0.0))
    for row in read("user_vectors", released).to_pylist():
        assert row["label"] in ("discover", "next_episode", "resume")
        bias, vector = dict(row["logit_bias"]), np.array(row["vector"])
        for title, item in items.items():
            total[row["user_id"]][title] += np.exp(row["log_weight"] + vector @ item + bias.get(title, 0.0))
    recommendations = read("recommendations", released).to_pylist()
    assert {row["user_id"] for row in recommendations} == set(total)
    for row in recommendations:
        ours = total[row["user_id"]]
        assert np.log(ours[row["title_id"]]) == pytest.approx(row["score"], abs=1e-3)
        assert sum(value > ours[row["title_id"]] * 1.001 for value in ours.values()) < row["rank"]


def test_the_parts_of_each_score_and_the_shares_of_its_classes(released: str, home: Judged) -> None:
    """The shares by a loop over the published vectors."""
    items = {row["title_id"]: np.array(row["vector"]) for row in read("item_vectors", released).to_pylist()}
    vectors, scores = read("user_vectors", released).to_pylist(), read("recommendations", released).to_pylist()
    for user in ("u0001", "u0010"):
        found = explained(home.profile, home.domain, user)
        assert found.lead == "action_type"
        published = {row["title_id"]: row["score"] for row in scores if row["user_id"] == user}
        assert {each.title_id: each.score for each in found.recommended} == published
        for each in found.recommended:
            assert each.parts is not None
            assert each.parts.logit.keys() == {"vectors", "neighbours", *OWN} - {"next_session"}
            parts = [*each.parts.logit.values(), *each.parts.beside.values()]
            assert sum(parts) == pytest.approx(each.score, abs=1e-4)
            amount = {
                row["label"]: np.exp(
                    row["log_weight"]
                    + np.array(row["vector"]) @ items[each.title_id]
                    + dict(row["logit_bias"]).get(each.title_id, 0.0)
                )
                for row in vectors
                if row["user_id"] == user
            }
            shares = {label: value / sum(amount.values()) for label, value in amount.items()}
            assert each.parts.shares == pytest.approx(shares, abs=1e-4)


def test_each_user_has_lists_for_the_two_likeliest_classes(released: str) -> None:
    likeliest = {}
    for row in read("user_intents", released).to_pylist():
        labels, shares = (dict(row[name])["action_type"] for name in ("top_labels", "top_probabilities"))
        likeliest[row["user_id"]] = dict(zip(labels, shares, strict=True))
    lists: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in read("intent_recommendations", released).to_pylist():
        assert row["intent"] == "action_type"
        assert row["probability"] == pytest.approx(likeliest[row["user_id"]][row["label"]], abs=1e-4)
        lists[row["user_id"], row["label"]].append(row)
    for user, shares in likeliest.items():
        mine = [label for owner, label in lists if owner == user]
        assert 1 <= len(mine) <= 2
        assert set(mine) == set(list(shares)[: len(mine)])
    for rows in lists.values():
        assert sorted(row["rank"] for row in rows) == [1, 2, 3, 4, 5]


def test_a_domain_says_which_classes_make_sense_as_a_list(
    spark: SparkSession, home: Judged, released: str, tmp_path: Path
) -> None:
    """Scored as a publication does it, but not written."""
    labels = sorted(set(read("intent_recommendations", released)["label"].to_pylist()))
    assert len(labels) > 1
    publishing = home.domain.publishing.model_copy(update={"shown_classes": labels[:1]})
    served = read_served(Warehouse(spark, home.run("publish")))
    files = read_files(Registry(home.profile, home.domain).artifacts(home.version, tmp_path))
    package = Package.of("shown", files, served.catalog, served.title_facts, served.as_of, publishing)
    scored = score(served.sequences, package, served.users)
    found = intent_recommendations(scored, served.as_of, "shown", "action_type", publishing)
    assert {row.label for row in found.select("label").collect()} == {labels[0]}
