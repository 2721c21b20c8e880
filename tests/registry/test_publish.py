"""Publication over a real Delta table with the model that the registry holds."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from intentrec.contracts import (
    CATALOG,
    INTENT_RECOMMENDATIONS,
    ITEM_VECTORS,
    PUBLISHED,
    RECOMMENDATIONS,
    RELEASES,
    SEQUENCES,
    TITLE_FACTS,
    TITLE_STATE,
    USER_INTENTS,
    USER_VECTORS,
    Table,
)
from intentrec.errors import PipelineError, Skip
from intentrec.inference.seen import SeenTitles, seen_since
from intentrec.inference.spark_scoring import seen_titles, with_seen_titles
from intentrec.model.titles import SEEN
from intentrec.registry import publish as publishing
from intentrec.registry.publish import publish
from intentrec.registry.rollback import rollback
from intentrec.registry.served import latest_snapshots
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version
from intentrec.storage.warehouse import Warehouse
from intentrec.training.data import latest_sequences, read_sequences
from tests.conftest import without_audits
from tests.registry import world
from tests.registry.judged import Judged
from tests.storage.good_rows import START, frame
from tests.storage.good_rows import rows as good_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_audits")]
DAYS = (world.LATER, world.END)
WRITTEN = tuple(table for table in PUBLISHED if table is not INTENT_RECOMMENDATIONS)  # V4 alone writes that one
ABSENT, LAST_SEEN = "u0003", world.END - timedelta(weeks=2)


def published(spark: SparkSession, run: Run, activate: bool = True, even_if_older: bool = False) -> Warehouse:
    warehouse = Warehouse(spark, run)
    publish(warehouse, activate, even_if_older)
    return warehouse


@pytest.fixture(scope="module")
def here(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """The judged world with tables that these tests alone change. One user was not active in the last weeks."""
    home = copied(judged, tmp_path_factory.mktemp("published"))
    root = home.run("publish").warehouse
    sequences = Snapshot(root, SEQUENCES).rows()
    is_left_out = pc.and_(pc.equal(sequences["user_id"], ABSENT), pc.greater(sequences["as_of"], LAST_SEEN))
    world.put(root, SEQUENCES, sequences.filter(pc.invert(is_left_out)))
    return home


def copied(judged: Judged, folder: Path) -> Judged:
    copytree(judged.profile.warehouse, folder / "warehouse")
    return replace(judged, profile=judged.profile.model_copy(update={"warehouse": str(folder / "warehouse")}))


@pytest.fixture(scope="module")
def released(spark: SparkSession, here: Judged) -> Warehouse:
    """The warehouse after the newest snapshot, and then the one before it, were published."""
    with without_audits():  # those of a release of V3 are in the weekly run of tests/test_end_to_end.py
        published(spark, here.run("publish", world.LATER))
        return published(spark, here.run("publish"))


def rows(warehouse: Warehouse, table: Table, as_of: date = world.END) -> list[Row]:
    return warehouse.current(table).where(F.col("as_of") == F.lit(as_of)).collect()


def users_of(found: list[Row]) -> set[str]:
    return {row.user_id for row in found}


def active_release(warehouse: Warehouse) -> str:
    (row,) = warehouse.current(RELEASES).where("active").collect()
    return row.release_id


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {table.name: warehouse.version(table) for table in (*WRITTEN, RELEASES)}


def test_published_rows_are_the_registered_models_own_predictions(released: Warehouse, here: Judged) -> None:
    model = mlflow.pyfunc.load_model(here.version.uri)
    """Also those of a user who was not active in the last week."""
    sequences = latest_sequences(released.root, Snapshot(released.root, SEQUENCES).version, world.END, 4)
    assert dict(zip(*sequences.select(["user_id", "as_of"]).to_pydict().values(), strict=True))[ABSENT] == LAST_SEEN
    given = sequences.to_pandas(maps_as_pydicts="strict")
    given["as_of"] = np.datetime64(world.END, "ns")  # the date that all of them are scored for
    params = {"top_k": 5, "catalog": released.root + "/catalog", "catalog_version": 0}
    wanted = model.predict(given, params=params).set_index("user_id")

    intents = rows(released, USER_INTENTS)
    assert len(intents) == len(wanted) > 0
    for row in intents:
        own = wanted.loc[row.user_id]
        np.testing.assert_allclose(row.intent_embedding, own.intent_embedding, rtol=1e-4, atol=1e-5)
        assert row.primary_intent == own.primary_intent
        assert row.cluster == own.cluster
        assert {k: list(v) for k, v in row.top_labels.items()} == {k: list(v) for k, v in own.top_labels.items()}
        assert row.attention == pytest.approx(own.attention, rel=1e-4, abs=1e-5)
    lists: dict[str, list] = {}
    for row in sorted(rows(released, RECOMMENDATIONS), key=lambda row: row["rank"]):
        lists.setdefault(row.user_id, []).append(row)
    assert lists.keys() == set(wanted.index)
    for user, entries in lists.items():
        assert [row["rank"] for row in entries] == [1, 2, 3, 4, 5]
        assert [row.title_id for row in entries] == list(wanted.loc[user].title_ids)
        np.testing.assert_allclose([row.score for row in entries], wanted.loc[user].scores, rtol=1e-4, atol=1e-5)


@pytest.mark.extended
def test_titles_that_were_seen_are_published_only_where_the_domain_says_so(
    spark: SparkSession, judged: Judged, tmp_path: Path
) -> None:
    """Two domains of the same name, and lists as long as the catalogue.

    Every user has also touched a title before the sequence begins. What is published is what the registered model
    predicts for the same rows.
    """
    everywhere = copied(judged, tmp_path)
    root = everywhere.run("publish").warehouse
    sequences = read_sequences(root, 0, world.END)
    users = sequences["user_id"].to_pylist()
    long_ago = {user: world.world.title(number % world.TITLES) for number, user in enumerate(users)}
    moment = world.world.START - timedelta(weeks=9)
    older = [world.touched(world.END, user, title, moment) for user, title in long_ago.items()]
    state = world.state_of(world.interactions_of(sequences), set())
    world.put(root, TITLE_STATE, pa.concat_tables([before_end(root), pa.Table.from_pylist(older, state.schema)]))
    lists = []
    for seen in (True, False):
        publishing = everywhere.domain.publishing.model_copy(update={"top_k": world.TITLES, "seen_titles": seen})
        domain = everywhere.domain.model_copy(update={"publishing": publishing})
        warehouse = published(spark, everywhere.run("publish", domain=domain))
        found = sorted(rows(warehouse, RECOMMENDATIONS), key=lambda row: row["rank"])
        lists.append({user: [row.title_id for row in found if row.user_id == user] for user in users_of(found)})
    everything, unseen = lists
    for row in rows(warehouse, SEQUENCES):
        assert set(row.title_id) & set(everything[row.user_id])
        known = {*row.title_id, long_ago[row.user_id]}
        assert unseen[row.user_id] == [title for title in everything[row.user_id] if title not in known]
    assert any(long_ago[row.user_id] not in row.title_id for row in rows(warehouse, SEQUENCES))

    (release,) = [row for row in rows(warehouse, RELEASES) if row.active]
    assert release.table_versions["title_state"] == warehouse.version(TITLE_STATE)
    seen = SeenTitles.read(root, warehouse.version(TITLE_STATE), world.END, pa.array(users), domain)
    given = pa.Table.from_batches([seen.add_to(sequences.combine_chunks().to_batches()[0])])
    frame = given.to_pandas(maps_as_pydicts="strict")
    frame["as_of"] = frame["as_of"].astype("datetime64[ns]")
    params = {"top_k": world.TITLES, "seen_titles": False, "catalog": f"{root}/catalog", "catalog_version": 0}
    wanted = mlflow.pyfunc.load_model(everywhere.version.uri).predict(frame, params=params)
    assert {row.user_id: list(row.title_ids) for row in wanted.itertuples()} == unseen

    for seen_for in (None, "2w"):
        chosen = domain.model_copy(update={"publishing": publishing.model_copy(update={"seen_for": seen_for})})
        since = seen_since(world.END, chosen)
        joined = with_seen_titles(
            warehouse.current(SEQUENCES, world.END, world.END + timedelta(days=1)),
            seen_titles(warehouse.current(TITLE_STATE, world.END, world.END + timedelta(days=1)), since),
        )
        by_spark = {row.user_id: set(row[SEEN]) for row in joined.select("user_id", SEEN).collect()}
        marked = SeenTitles.read(root, warehouse.version(TITLE_STATE), world.END, pa.array(users), chosen)
        rows_of = marked.add_to(sequences.combine_chunks().to_batches()[0])
        assert by_spark == {row["user_id"]: set(row[SEEN]) for row in rows_of.to_pylist()}
        old = {user for user, titles in by_spark.items() if long_ago[user] in titles}
        assert (old == set(users)) == (seen_for is None)


def before_end(root: str) -> pa.Table:
    """The state as of END, as the world wrote it."""
    return Snapshot(root, TITLE_STATE).rows(world.END, world.END + timedelta(days=1))


def test_known_titles_are_marked(released: Warehouse) -> None:
    state = {(row.user_id, row.title_id) for row in rows(released, TITLE_STATE)}
    found = rows(released, RECOMMENDATIONS)
    assert [row.known for row in found] == [(row.user_id, row.title_id) in state for row in found]
    assert {row.known for row in found} == {True, False}


def test_vectors_reproduce_scores_and_ranks(released: Warehouse) -> None:
    items = {row.title_id: np.array(row.vector) for row in rows(released, ITEM_VECTORS)}
    users = {row.user_id: (np.array(row.vector), row.logit_bias) for row in rows(released, USER_VECTORS)}
    assert len(items) == world.TITLES
    assert any(logit_bias for _, logit_bias in users.values())
    for row in rows(released, RECOMMENDATIONS):
        user, logit_bias = users[row.user_id]
        logits = {title: float(vector @ user) + logit_bias.get(title, 0.0) for title, vector in items.items()}
        assert logits[row.title_id] == pytest.approx(row.score, rel=1e-4, abs=1e-5)
        assert sum(value > row.score + 1e-4 for value in logits.values()) < row["rank"]


def test_release_leads_to_model_tables_and_metrics(released: Warehouse, here: Judged) -> None:
    (release,) = rows(released, RELEASES)
    assert (release.model_name, release.model_version) == (here.version.name, here.version.number)
    assert release.mlflow_run_id == here.version.run_id
    assert release.metrics["ndcg_at_10"] == pytest.approx(here.decision.rows[0].metrics["ndcg_at_10"])
    assert release.config_hash == here.domain.hash
    assert release.code_version == code_version()
    read = (SEQUENCES, CATALOG, TITLE_STATE, TITLE_FACTS)
    assert release.table_versions.keys() == {table.name for table in (*WRITTEN, *read)}
    for table in read:
        assert release.table_versions[table.name] == released.version(table)
    for table in WRITTEN:
        pinned = released.spark.read.format("delta").option("versionAsOf", release.table_versions[table.name])
        found = pinned.load(released.path(table)).where(F.col("as_of") == F.lit(world.END))
        assert [row.release_id for row in found.select("release_id").distinct().collect()] == [release.release_id]


def test_an_older_date_does_not_become_active(released: Warehouse) -> None:
    assert {row.as_of: row.active for row in released.current(RELEASES).collect()} == {
        world.LATER: True,
        world.END: False,
    }


@pytest.mark.extended
def test_a_release_becomes_active_only_if_told(spark: SparkSession, judged: Judged, tmp_path: Path) -> None:
    """A backfill writes history, and an older date becomes active only if a person insists."""
    mine = copied(judged, tmp_path)
    warehouse = published(spark, mine.run("publish"))
    for day, activate, even_if_older, expected in [
        (world.LATER, False, False, world.END),
        (world.LATER, True, False, world.LATER),
        (world.END, True, True, world.END),
    ]:
        published(spark, mine.run("publish", day), activate, even_if_older)
        active = {row.as_of: row.active for row in warehouse.current(RELEASES).collect()}
        assert active == {world.LATER: expected == world.LATER, world.END: expected == world.END}


def test_a_release_that_was_rolled_back_stays_inactive(spark: SparkSession, here: Judged, released: Warehouse) -> None:
    """Published again it is not active, until a person takes it again."""
    active, other = ({row.as_of: row.release_id for row in released.current(RELEASES).collect()}[day] for day in DAYS)
    with pytest.raises(PipelineError, match=f"no release before {active}.*that was active"):
        rollback(here.run("rollback"), "wrong genres", "ada")  # the other one is history that was published later
    rollback(here.run("rollback"), "wrong genres", "ada", other)
    published(spark, here.run("publish", world.LATER))
    assert active_release(released) == other
    rollback(here.run("rollback"), "right after all", "ada", active)
    assert active_release(released) == active


@pytest.mark.extended
@pytest.mark.parametrize("moment", ["_write", "_existing"])
def test_a_rollback_meanwhile_is_not_undone(
    spark: SparkSession, released: Warehouse, here: Judged, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether users are being scored or the releases were just read: what a person left does not become active."""
    (active,) = released.current(RELEASES).where("active").collect()
    (other,) = released.current(RELEASES).where("not active").collect()
    original = getattr(publishing, moment)

    def meanwhile(*args: Any) -> Any:
        found = original(*args)
        rollback(here.run("rollback"), "wrong genres", "ada", other.release_id)
        return found

    monkeypatch.setattr(publishing, moment, meanwhile)
    top_k = here.domain.publishing.model_copy(update={"top_k": 3})  # another release of the same date
    changed = here.domain.model_copy(update={"publishing": top_k})
    with pytest.raises(PipelineError, match="releases: another run wrote this since it was read"):
        published(spark, here.run("publish", active.as_of, changed))
    assert active_release(released) == other.release_id
    monkeypatch.undo()
    rollback(here.run("rollback"), "right after all", "ada", active.release_id)
    published(spark, here.run("publish", active.as_of))


def test_publishing_again_changes_no_table(spark: SparkSession, here: Judged, released: Warehouse) -> None:
    """Not even where the snapshot's rows lie in other files, and where the catalogue has facts of that date."""
    before = versions(released)
    there = released.path(SEQUENCES)
    turned = spark.read.format("delta").load(there).orderBy(F.desc("user_id")).localCheckpoint().repartition(3)
    turned.write.format("delta").mode("overwrite").option("dataChange", "false").save(there)
    catalog = released.current(CATALOG).withColumn("snapshot_date", F.lit(world.END))
    changed = catalog.withColumns({"genres": F.array(F.lit("turned")), "kind": F.lit("turned")})
    changed.write.format("delta").mode("append").save(released.path(CATALOG))
    published(spark, here.run("publish"))
    assert versions(released) == before


def test_the_latest_facts_of_each_item_are_published(spark: SparkSession) -> None:
    facts = [{**row, "snapshot_date": START} for row in good_rows("catalog")]
    later = {**facts[0], "snapshot_date": START + timedelta(days=7), "genres": ["war"]}
    found = latest_snapshots(frame(spark, CATALOG, [later, *facts])).orderBy("item_id").collect()
    assert [(row.snapshot_date, row.genres) for row in found] == [
        (START + timedelta(days=7), ["war"]),
        (START, ["comedy", "drama"]),
    ]


def test_a_closed_week_is_skipped(spark: SparkSession, here: Judged) -> None:
    """It has no snapshot, and none is missing."""
    quality = here.domain.quality.model_copy(update={"closed_weeks": [world.LATER]})
    domain = here.domain.model_copy(update={"quality": quality})
    with pytest.raises(Skip, match=f"was closed from {world.LATER}"):
        published(spark, here.run("publish", world.LATER + timedelta(days=7), domain))


def test_no_champion_of_that_date_is_skipped(spark: SparkSession, here: Judged) -> None:
    with pytest.raises(Skip, match="no champion for 2026-08-24"):
        published(spark, here.run("publish", world.END - timedelta(days=7)))


def test_missing_snapshot_is_named(spark: SparkSession, here: Judged) -> None:
    with pytest.raises(PipelineError, match="no snapshot as of 2026-09-14"):
        published(spark, here.run("publish", world.LATER + timedelta(days=7)))
