"""Tables with a column under its former name, brought to the contract."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from intentrec.config import Domain
from intentrec.contracts import CATALOG, PUBLISHED, RELEASES, TABLES, TEXT, USER_VECTORS, Column, Table
from intentrec.errors import PipelineError
from intentrec.registry import migration
from intentrec.registry.migration import migrate
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run
from intentrec.storage.schemas import require_migrated
from intentrec.storage.warehouse import Warehouse
from tests.conftest import profile_under, without_audits
from tests.storage.good_rows import END, START, frame, rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_audits")]
FORMER = USER_VECTORS.former_names
OLD = replace(
    USER_VECTORS,
    columns=tuple(
        replace(column, name=column.former, former=None) if column.former else column for column in USER_VECTORS.columns
    ),
)
NEW = Column("note", TEXT, "a column of a later version", nullable=True)
EARLIER = START - timedelta(days=7)
# Release -> date, and the version of the table that was its own. The second one of START replaced the first one's rows.
PUBLICATIONS = {"first": (START, 1), "earlier": (EARLIER, 2), "second": (START, 3)}
PROPERTIES = "delta.enableChangeDataFeed = true, of = 'a team'"


def vectors(release: str) -> list[dict[str, Any]]:
    day, _ = PUBLICATIONS[release]
    return [{**row, "as_of": day, "release_id": release} for row in rows("user_vectors")]


def frame_of(spark: SparkSession, table: Table, content: list[dict[str, Any]]) -> DataFrame:
    return spark.createDataFrame([tuple(row[name] for name in table.names) for row in content], table.schema)


@pytest.fixture(scope="module")
def made(spark: SparkSession, streaming: Domain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables as an earlier version left them: three publications of two dates."""
    profile = profile_under(tmp_path_factory.mktemp("made"))
    warehouse = Warehouse(spark, Run("migrate", EARLIER, START, streaming, profile))
    warehouse._create(OLD)
    path = warehouse.path(USER_VECTORS)
    releases = []
    for release, (day, version) in PUBLICATIONS.items():
        content = frame(spark, USER_VECTORS, vectors(release)).withColumnRenamed("logit_bias", "boosts")
        writer = content.write.format("delta").mode("overwrite").partitionBy("as_of")
        writer.option("replaceWhere", f"as_of = DATE'{day}'").save(path)
        template = {**rows("releases")[0], "release_id": release, "as_of": day, "active": release == "second"}
        releases.append({**template, "table_versions": {table.name: version for table in PUBLISHED}})
    with without_audits():
        warehouse.merge(RELEASES, frame(spark, RELEASES, releases))
    spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ({PROPERTIES})")
    return Path(warehouse.root)


@pytest.fixture
def old(spark: SparkSession, made: Path, new_run: Callable[..., Run]) -> Warehouse:
    """A copy of these tables."""
    warehouse = Warehouse(spark, new_run("migrate", EARLIER, START))
    shutil.copytree(made, warehouse.root)
    return reopened(warehouse)


def reopened(warehouse: Warehouse) -> Warehouse:
    """The warehouse as the next run finds it."""
    return Warehouse(warehouse.spark, replace(warehouse.run, inputs={}, outputs={}))


def pinned(warehouse: Warehouse) -> dict[str, int]:
    return {row.release_id: row.table_versions["user_vectors"] for row in warehouse.current(RELEASES).collect()}


def published(warehouse: Warehouse, release: str) -> list[Row]:
    """A consumer's read: rows of a release at the version that it names."""
    reader = warehouse.spark.read.format("delta").option("versionAsOf", pinned(warehouse)[release])
    return sorted(reader.load(warehouse.path(USER_VECTORS)).where(F.col("release_id") == release).collect())


def detail(warehouse: Warehouse) -> dict[str, Any]:
    found = warehouse.spark.sql(f"DESCRIBE DETAIL delta.`{warehouse.path(USER_VECTORS)}`").first()
    return {name: found[name] for name in ("properties", "description", "partitionColumns", "id")}


def test_columns_that_may_be_null_now_lose_their_constraint(spark: SparkSession, new_run: Callable[..., Run]) -> None:
    warehouse = Warehouse(spark, new_run("migrate", EARLIER, START))
    strict = StructType([StructField(f.name, f.dataType, f.nullable and f.name != "kind") for f in CATALOG.schema])
    builder = DeltaTable.create(spark).location(warehouse.path(CATALOG)).addColumns(strict)
    builder.partitionedBy(str(CATALOG.partition)).execute()
    frame(spark, CATALOG, rows("catalog")).write.format("delta").mode("append").save(warehouse.path(CATALOG))
    before = spark.read.format("delta").load(warehouse.path(CATALOG)).collect()
    unknown = [row | {"kind": None} for row in rows("catalog")]
    with pytest.raises(PipelineError, match=r"^catalog: its columns kind may not be null yet: run `intentrec migrate"):
        reopened(warehouse).replace(CATALOG, frame(spark, CATALOG, unknown), START, END)
    warehouse = reopened(warehouse)
    version = warehouse.version(CATALOG) + 1
    assert migrate(warehouse) == [f"catalog: kind may be null, now at version {version}"]
    assert warehouse.current(CATALOG).collect() == before
    assert migrate(reopened(warehouse)) == []
    reopened(warehouse).replace(CATALOG, frame(spark, CATALOG, unknown), START, END)
    assert {row.kind for row in warehouse.current(CATALOG).collect()} == {None}


def test_columns_get_their_names_and_releases_the_version_that_has_them(old: Warehouse) -> None:
    assert FORMER == {"boosts": "logit_bias"}
    before = {release: published(old, release) for release in PUBLICATIONS}
    about, version, releases = detail(old), old.version(USER_VECTORS), old.version(RELEASES)
    said = migrate(old)
    assert said == [
        f"user_vectors: renamed boosts to logit_bias, now at version {version + 1}",
        f"releases: earlier, second moved to version {version + 1} of user_vectors",
    ]
    assert (old.version(USER_VECTORS), old.version(RELEASES)) == (version + 1, releases + 1)
    assert detail(old) == about
    assert old.current(USER_VECTORS).schema == USER_VECTORS.schema
    assert pinned(old) == {"first": 1, "earlier": version + 1, "second": version + 1}
    for release in ("earlier", "second"):
        assert [tuple(row) for row in published(old, release)] == [tuple(row) for row in before[release]]
    assert published(old, "first") == before["first"], "its rows were replaced before: it reads its own version"
    assert [row.release_id for row in old.current(RELEASES).where("active").collect()] == ["second"]
    history = old.spark.sql(f"DESCRIBE HISTORY delta.`{old.path(USER_VECTORS)}` LIMIT 1").first()
    assert json.loads(history.userMetadata)["run_id"] == old.run.run_id

    assert migrate(old) == []
    assert (old.version(USER_VECTORS), old.version(RELEASES)) == (version + 1, releases + 1)


def test_a_killed_migration_is_completed_by_the_next(old: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(migration, "_move_releases", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            migrate(old)
    version = old.version(USER_VECTORS)
    assert pinned(old)["second"] == 3
    assert migrate(old) == [f"releases: earlier, second moved to version {version} of user_vectors"]


def test_new_columns_are_added_and_releases_name_the_version_that_has_them(
    old: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This version has a new column in a published table, beside the renamed one, and in `releases` itself."""
    spark, day = old.spark, START
    later = [replace(table, columns=(*table.columns, NEW)) for table in (USER_VECTORS, RELEASES)]
    for table in later:
        monkeypatch.setitem(TABLES, table.name, table)
    monkeypatch.setattr(migration, "RELEASES", later[1])
    monkeypatch.setattr(migration, "PUBLISHED", tuple(TABLES[table.name] for table in PUBLISHED))
    vectors_now, releases_now = later
    version, told = old.version(USER_VECTORS), "run `intentrec migrate --config`"
    content = [{**row, "note": "x"} for row in vectors("second")]
    for meet in (
        lambda: old.read(releases_now),
        lambda: old.current(releases_now),
        lambda: old.replace(vectors_now, frame_of(spark, vectors_now, content), day, day + timedelta(days=1)),
        lambda: require_migrated(Snapshot(old.root, releases_now), "streaming"),
    ):
        with pytest.raises(PipelineError, match=rf"it has no column note yet: {told}"):
            meet()
    assert old.version(USER_VECTORS) == version

    said = migrate(old)
    assert said[0] == f"user_vectors: added note, empty in all rows, now at version {version + 1}"
    assert said[1] == f"user_vectors: renamed boosts to logit_bias, now at version {version + 2}"
    assert said[2].startswith("releases: added note, empty in all rows")
    assert said[3:] == [f"releases: earlier, second moved to version {version + 2} of user_vectors"]
    assert old.current(vectors_now).schema == vectors_now.schema
    assert {row.note for row in old.current(vectors_now).collect()} == {None}
    assert pinned(old) == {"first": 1, "earlier": version + 2, "second": version + 2}
    assert migrate(old) == []
    reopened(old).replace(vectors_now, frame_of(spark, vectors_now, content), day, day + timedelta(days=1))
    written = old.current(vectors_now, day, day + timedelta(days=1)).collect()
    assert {row.note for row in written} == {"x"}


def test_a_new_column_that_may_not_be_empty_says_what_to_build_again(
    old: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = replace(USER_VECTORS, columns=(*USER_VECTORS.columns, replace(NEW, nullable=False)))
    monkeypatch.setitem(TABLES, "user_vectors", needed)
    monkeypatch.setattr(migration, "PUBLISHED", (needed,))
    version = old.version(USER_VECTORS)
    command = rf'make backfill FROM={EARLIER} TO={START} DOMAIN=streaming OPTIONS="--publish"'
    with pytest.raises(
        PipelineError, match=rf"^user_vectors: its rows have no note, .*move .*user_vectors away.*{command}"
    ):
        migrate(old)
    assert old.version(USER_VECTORS) == version


def test_nothing_is_written_into_a_table_that_was_not_migrated(old: Warehouse) -> None:
    day: date = START
    written = frame(old.spark, USER_VECTORS, vectors("second")[:1])
    version = old.version(USER_VECTORS)
    message = (
        r"^user_vectors: its column boosts is called logit_bias now: run `intentrec migrate --config` with.*streaming"
    )
    with pytest.raises(PipelineError, match=message):
        old.replace(USER_VECTORS, written, day, day + timedelta(days=1))
    assert old.version(USER_VECTORS) == version
    migrate(old)
    reopened(old).replace(USER_VECTORS, written, day, day + timedelta(days=1))
    assert old.current(USER_VECTORS, day, day + timedelta(days=1)).count() == 1


def test_an_empty_warehouse_needs_no_migration(spark: SparkSession, new_run: Callable[..., Run]) -> None:
    assert migrate(Warehouse(spark, new_run("migrate", EARLIER, START))) == []
