"""Where a naive baseline is better than the model, and the domain lets it publish."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from intentrec.config import Publishing
from intentrec.contracts import CATALOG, INTERACTIONS, RELEASES, SEQUENCES
from intentrec.errors import PipelineError, Skip
from intentrec.evaluation import compare
from intentrec.evaluation.candidates import Prefixes, Titles
from intentrec.evaluation.evidence import read_evidence
from intentrec.evaluation.naive_baselines import learn_neighbours, neighbour_methods
from intentrec.evaluation.systems import ScoreSlices
from intentrec.evaluation.targets import targets_ended
from intentrec.model.titles import SEEN, titles_of
from intentrec.registry.naive_release import candidates, lists, scorer_of
from intentrec.registry.publish import publish
from intentrec.registry.releases import NO_VERSION
from intentrec.registry.rollback import rollback
from intentrec.registry.served import read_served
from intentrec.registry.verdicts import record
from intentrec.registry.versions import Registry
from intentrec.storage.consumer import read
from intentrec.storage.delta import Snapshot
from intentrec.storage.warehouse import Warehouse
from intentrec.training.data import latest_sequences
from intentrec.training.splits import learned_until
from tests.conftest import without_audits
from tests.registry import world
from tests.registry.judged import Judged, judged_as

NOW = datetime(2026, 9, 8, tzinfo=UTC)
UNTRAINED = {"epochs": 1, "learning_rate": 1e-9}


@pytest.fixture(scope="module")
def home(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A domain of its own, whose model learns nothing: a naive baseline is better."""
    return judged_as(
        judged,
        tmp_path_factory.mktemp("naive"),
        domain="naive",
        training=UNTRAINED,
        gate={"naive_baselines": ["markov", "popularity_7d"]},
        publishing={"naive_baselines": True},
    )


@pytest.fixture(scope="module")
def released(spark: SparkSession, home: Judged) -> Warehouse:
    warehouse = Warehouse(spark, home.run("publish"))
    publish(warehouse, activate=True, even_if_older=False)  # with its audits
    return warehouse


def publish_again(spark: SparkSession, home: Judged) -> None:
    with without_audits():
        publish(Warehouse(spark, home.run("publish")), True, False)


def markov_lists(root: str, home: Judged) -> dict[str, list[str]]:
    """By loops: what most often followed the user's last title; then what most users engaged in the last week."""
    engaged: dict[str, set[str]] = defaultdict(set)
    for row in Snapshot(root, INTERACTIONS).rows(world.END - timedelta(days=7), world.END).to_pylist():
        engaged[row["title_id"]].add(row["user_id"])
    followed: dict[str, Counter[str]] = defaultdict(Counter)
    first = world.END - timedelta(weeks=home.domain.training.weeks - 1)
    for row in Snapshot(root, SEQUENCES).rows(first, world.END + timedelta(days=1)).to_pylist():
        for k in range(max(1, len(row["title_id"]) - row["n_new"]), len(row["title_id"])):
            followed[row["title_id"][k - 1]][row["title_id"][k]] += 1
    titles = Titles.of(titles_of(Snapshot(root, CATALOG).rows())["title_id"].to_pylist()).ids.to_pylist()
    popular = sorted(titles, key=lambda title: -len(engaged[title]))
    found = {}
    for row in latest_sequences(root, Snapshot(root, SEQUENCES).version, world.END, 4).to_pylist():
        after = followed[row["title_id"][-1]]
        found[row["user_id"]] = sorted(popular, key=lambda title: -after[title])[:5]
    return found


@pytest.mark.slow
def test_the_better_baseline_publishes_under_its_name(released: Warehouse, home: Judged) -> None:
    assert not home.decision.promote
    (release,) = Snapshot(released.root, RELEASES).rows().to_pylist()
    assert (release["model_name"], release["model_version"], release["active"]) == ("markov", NO_VERSION, True)
    (row,) = [row for row in home.decision.rows if row.system == "markov"]
    assert dict(release["metrics"])["ndcg_at_10"] == pytest.approx(row.metrics["ndcg_at_10"])
    assert release["mlflow_run_id"] == home.version.run_id

    found: dict[str, list[str]] = defaultdict(list)
    for row in read("recommendations", released.root).sort_by("rank").to_pylist():
        found[row["user_id"]].append(row["title_id"])
    assert found == markov_lists(released.root, home)


@pytest.mark.slow
def test_a_consumer_is_told_what_it_does_not_have(released: Warehouse) -> None:
    with pytest.raises(PipelineError, match=r"which markov made, has no rows of user_intents"):
        read("user_intents", released.root)


@pytest.mark.slow
def test_popular_titles_are_for_everyone_else(released: Warehouse) -> None:
    users: dict[str, set[str]] = defaultdict(set)
    for row in Snapshot(released.root, INTERACTIONS).rows(world.END - timedelta(days=7), world.END).to_pylist():
        users[row["title_id"]].add(row["user_id"])
    found = read("popular_titles", released.root).sort_by("rank").to_pylist()
    assert [row["rank"] for row in found] == [1, 2, 3, 4, 5]
    assert [row["users"] for row in found] == sorted(map(len, users.values()), reverse=True)[:5]
    assert all(row["users"] == len(users[row["title_id"]]) for row in found)


@pytest.mark.extended
def test_published_again_it_is_the_same_release(spark: SparkSession, released: Warehouse, home: Judged) -> None:
    """As with a model (test_publish), but the release's id comes from the snapshots that the baseline learned from."""
    before = Snapshot(released.root, RELEASES).rows().to_pylist()
    publish_again(spark, home)
    assert Snapshot(released.root, RELEASES).rows().to_pylist() == before


@pytest.mark.slow
def test_a_domain_that_does_not_allow_it_publishes_nothing(spark: SparkSession, home: Judged) -> None:
    domain = world.domain_of(home.domain, publishing={"naive_baselines": False})
    with pytest.raises(Skip, match="no champion"):
        publish(Warehouse(spark, home.run("publish", domain=domain)), True, False)


@pytest.mark.slow
def test_a_person_who_approves_the_model_has_the_last_word(
    spark: SparkSession, released: Warehouse, home: Judged
) -> None:
    """Then the model publishes. After a rollback consumers have the baseline's release, and the champion stays."""
    registry = Registry(home.profile, home.domain)
    record(registry, home.version, "approved", "try it", "ada", NOW)
    publish_again(spark, home)
    active = {row["model_name"]: row["active"] for row in Snapshot(released.root, RELEASES).rows().to_pylist()}
    assert active == {"markov": False, home.version.name: True}
    assert len(read("user_intents", released.root)) > 0
    rollback(home.run("rollback"), "worse, as the gate said", "ada")
    with pytest.raises(PipelineError, match="which markov made"):
        read("user_vectors", released.root)
    champion = registry.champion()
    assert champion is not None
    assert champion.number == home.version.number


@pytest.mark.slow
@pytest.mark.parametrize("name", ["item_knn", "markov", "repeat_last", "decayed_frequent"])
def test_a_baseline_scores_as_in_the_gate(spark: SparkSession, home: Judged, name: str) -> None:
    """The gate judges the week after END with what was known at END; a publication as of END knows the same."""
    evidence = read_evidence(home.run("gate", world.LATER))
    run = home.run("publish")
    served = read_served(Warehouse(spark, run))
    titles = candidates(run, served.catalog)
    known = Titles.of(titles_of(evidence.catalog)["title_id"].to_pylist())
    learned = (targets_ended(batch, end=learned_until(home.domain, world.END)) for batch in evidence.learned())
    neighbours = learn_neighbours(learned, known, neighbour_methods(home.domain.gate.item_knn))
    systems = compare.naive_baselines(evidence, titles, neighbours)
    prefixes = Prefixes.whole(evidence.before.combine_chunks().to_batches()[0])
    every = (0, len(evidence.before))
    published = scorer_of(run, name, served, titles).title_scores(prefixes)(*every)
    np.testing.assert_array_equal(published, systems[name].title_scores(prefixes)(*every))


class Fixed:
    """Scores all prefixes alike: the first title is the best."""

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        """Scores of four titles."""
        return lambda start, end: np.tile([4.0, 3.0, 2.0, 1.0], (end - start, 1))


@pytest.mark.parametrize(
    ("publishing", "places"),
    [
        (Publishing(top_k=2), [[0, 1], [0, 1]]),
        (Publishing(top_k=2, seen_titles=False), [[2, 3], [0, 1]]),
        (Publishing(top_k=1, known_and_new=True), [[0, 2], [0]]),
        (Publishing(top_k=2, known_and_new=True), [[0, 1, 2, 3], [0, 1]]),
    ],
)
def test_lists_hold_what_the_domain_says(publishing: Publishing, places: list[list[int]]) -> None:
    """The first user has seen the two best titles, the second one none."""
    titles = Titles.of(["a", "b", "c", "d"])
    names = titles.ids.to_pylist()
    sequences = pa.RecordBatch.from_pydict(
        {
            "user_id": ["u1", "u2"],
            "account_id": ["a1", "a2"],
            "title_id": [["a"], ["b"]],
            SEEN: pa.array([names[:2], []], pa.list_(pa.string())),
        }
    )
    found = lists(sequences, Fixed(), titles, publishing).to_pylist()
    assert [row["title_ids"] for row in found] == [[names[place] for place in chosen] for chosen in places]
    assert [row["scores"] for row in found] == [[4.0 - place for place in chosen] for chosen in places]
