"""A consumer's view: two releases in one table, a rollback, and a backfill that writes an older date afterwards."""

import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from intentrec.config import ROOT
from intentrec.contracts import RECOMMENDATIONS, RELEASES, USER_VECTORS
from intentrec.errors import PipelineError
from intentrec.storage import delta
from intentrec.storage.consumer import read
from intentrec.storage.delta import arrow_schema
from tests.storage.good_rows import rows

T0, T1, T2 = (date(2026, 8, 24) + timedelta(weeks=week) for week in range(3))
TITLES = {"old": ["x", "y"], "new": ["y", "z"], "again": ["z", "x"]}  # release -> ranked titles of both users


def release(name: str, day: date, version: int, active: bool) -> dict:
    row = dict.fromkeys(RELEASES.names, "-")
    tables = [("recommendations", version)]
    return row | {"release_id": name, "as_of": day, "active": active, "table_versions": tables, "metrics": []}


def publish(root: Path, name: str, day: date) -> None:
    """Replace the date's rows by those of a release, as the job does."""
    content = [
        {"as_of": day, "release_id": name, "user_id": user, "account_id": "a", "rank": rank, "title_id": title}
        | {"score": 1.0 / rank}
        for user in ("u1", "u2")
        for rank, title in enumerate(TITLES[name], start=1)
    ]
    table = pa.Table.from_pylist(content, arrow_schema(RECOMMENDATIONS))
    folder = root / "recommendations"
    where = {"predicate": f"as_of = '{day}'"} if folder.exists() else {}
    write_deltalake(folder, table, mode="overwrite", partition_by=["as_of"], **where)


def activate(root: Path, releases: list[dict]) -> None:
    write_deltalake(root / "releases", pa.Table.from_pylist(releases, arrow_schema(RELEASES)), mode="overwrite")


@pytest.fixture(params=["two releases", "rollback", "backfill"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str]]:
    """A warehouse, and the titles that every user has in its active release."""
    publish(tmp_path, "old", T1)
    publish(tmp_path, "new", T2)
    releases = [release("old", T1, 0, False), release("new", T2, 1, True)]
    if request.param == "rollback":
        releases = [release("old", T1, 0, True), release("new", T2, 1, False)]
    if request.param == "backfill":  # of the older date: the table has a newer version, and the release stays
        publish(tmp_path, "again", T1)
        publish(tmp_path, "again", T0)
        releases += [release("again", T1, 2, False)]
    activate(tmp_path, releases)
    return tmp_path, TITLES["old" if request.param == "rollback" else "new"]


def test_arrow_has_exactly_the_active_release(state: tuple[Path, list[str]]) -> None:
    root, titles = state
    table = read("recommendations", root)
    assert table.schema == arrow_schema(RECOMMENDATIONS)
    found = sorted((row["user_id"], row["rank"], row["title_id"]) for row in table.to_pylist())
    assert found == [(user, rank, titles[rank - 1]) for user in ("u1", "u2") for rank in (1, 2)]
    assert read("recommendations", root, ["title_id"]).column_names == ["title_id"]


def test_duckdb_reads_the_same_rows(state: tuple[Path, list[str]]) -> None:
    root, titles = state
    recommendations = read("recommendations", root)
    assert len(recommendations) == 4
    found = duckdb.sql("select user_id, title_id from recommendations where rank = 1 order by user_id limit 5")
    assert found.fetchall() == [("u1", titles[0]), ("u2", titles[0])]


def test_polars_reads_the_same_rows(state: tuple[Path, list[str]]) -> None:
    root, titles = state
    frame = polars.from_arrow(read("recommendations", root))
    assert isinstance(frame, polars.DataFrame)
    assert len(frame) == 4
    found = frame.filter(polars.col("rank") == 1).sort("user_id").select("user_id", "title_id").rows()
    assert found == [("u1", titles[0]), ("u2", titles[0])]


@pytest.mark.extended
@pytest.mark.timeout(900)
def test_the_recipes_of_the_page_end_cleanly_each_time(tmp_path: Path) -> None:
    """The Python blocks that need no Spark, as one program, in fifty processes."""
    publish(tmp_path, "old", T1)
    activate(tmp_path, [release("old", T1, 0, True)])
    page = (ROOT / "docs/bring-your-own-data.md").read_text("utf-8").partition("## 4. Read the result")[2]
    blocks = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "spark" not in block]
    assert [name in blocks[at] for at, name in enumerate(("read", "duckdb", "polars"))] == [True, True, True]
    program = "\n".join(blocks).replace("var/warehouse/streaming", str(tmp_path))
    assert "limit" in program
    for _ in range(50):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")


def test_spark_reads_the_same_rows(spark: SparkSession, state: tuple[Path, list[str]]) -> None:
    """With the query of the documentation, which needs no Python of ours."""
    root, titles = state
    active = spark.read.format("delta").load(f"{root}/releases").where("active").first()
    assert active is not None
    served = spark.sql(
        f"select * from delta.`{root}/recommendations` version as of {active.table_versions['recommendations']} "
        f"where release_id = '{active.release_id}'"
    )
    assert sorted((row.user_id, row.rank, row.title_id) for row in served.collect()) == [
        (user, rank, titles[rank - 1]) for user in ("u1", "u2") for rank in (1, 2)
    ]


def test_a_column_under_its_former_name_has_the_name_of_the_contract(tmp_path: Path) -> None:
    (row,) = rows("user_vectors")[:1]
    whole = pa.Table.from_pylist([{**row, "as_of": T1, "release_id": "old"}], arrow_schema(USER_VECTORS))
    former = whole.rename_columns(["boosts" if name == "logit_bias" else name for name in whole.column_names])
    write_deltalake(tmp_path / "user_vectors", former, partition_by=["as_of"])
    activate(tmp_path, [release("old", T1, 0, True) | {"table_versions": [("user_vectors", 0)]}])
    assert read("user_vectors", tmp_path).to_pylist() == whole.to_pylist()


def test_a_publication_meanwhile_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same date is published again between the look at the releases and the read."""
    publish(tmp_path, "old", T1)
    activate(tmp_path, [release("old", T1, 0, True)])
    original = delta.Snapshot.rows

    def then_published(self: delta.Snapshot, *args: object, **options: object) -> pa.Table:
        found = original(self, *args, **options)  # type: ignore[arg-type]
        if self.table is RELEASES:
            publish(tmp_path, "new", T1)
        return found

    monkeypatch.setattr(delta.Snapshot, "rows", then_published)
    assert set(read("recommendations", tmp_path)["title_id"].to_pylist()) == set(TITLES["old"])


@pytest.mark.parametrize(
    ("table", "releases", "message"),
    [
        (
            "recommendation",
            None,
            r"not a published table \(did you mean recommendations\?\); choose one of recommendations",
        ),
        ("releases", None, "releases is not a published table"),
        ("recommendations", None, "has no table releases: nothing was published"),
        ("recommendations", [release("old", T1, 0, False)], "no release of .* is active"),
    ],
)
def test_what_cannot_be_read_is_one_line(table: str, releases: list[dict] | None, message: str, tmp_path: Path) -> None:
    if releases is not None:
        activate(tmp_path, releases)
    with pytest.raises(PipelineError, match=message):
        read(table, tmp_path)
