"""The guarantees of a write: exactly the interval, all or nothing, and no commit if no row changed."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.contracts import CATALOG, INTERACTIONS, RELEASES, TITLE_STATE, Table
from intentrec.errors import AuditFailed, PipelineError, Superseded, lost_file
from intentrec.storage import audit, delta, liveness, staging
from intentrec.storage.audit import Audit
from intentrec.storage.concurrency import ConcurrencyCheck
from intentrec.storage.runs import Run, _record
from intentrec.storage.warehouse import Warehouse, fingerprint
from tests.storage.good_rows import END, START, frame, rows

pytestmark = pytest.mark.slow

WEEK = timedelta(days=7)


def passing(table: Table, staged: DataFrame, run: Run) -> Audit:
    """An audit that finds nothing."""
    return Audit(table.name, 0, 0.0, [])


@pytest.fixture
def warehouse(spark: SparkSession, new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """An empty warehouse whose audits pass everything. They have their own tests, and take seconds each."""
    monkeypatch.setattr(audit, "audit", passing)
    return Warehouse(spark, new_run("test", START, END))


def on_days(spark: SparkSession, *days: date, duration: float = 600.0) -> DataFrame:
    """One interaction a day."""
    template = rows("interactions")[0]
    content = [
        {**template, "event_date": day, "user_id": f"u{day}", "duration_s": duration, "event_counts": {"b": 1, "a": 2}}
        for day in days
    ]
    return frame(spark, INTERACTIONS, content)


def found(warehouse: Warehouse, table: Table = INTERACTIONS) -> list[tuple[date, float]]:
    selected = warehouse.current(table).select("event_date", "duration_s").collect()
    return sorted((row[0], row[1]) for row in selected)


def staged(warehouse: Warehouse) -> list[Path]:
    """What is left in the staging area."""
    return list(Path(warehouse.root, "_staging").rglob("*"))


def test_only_the_interval_is_replaced(warehouse: Warehouse) -> None:
    spark, before, after = warehouse.spark, START - timedelta(days=1), END
    days = [before, START, END - timedelta(days=1), after]
    warehouse.replace(INTERACTIONS, on_days(spark, *days), before, after + timedelta(days=1))
    warehouse.replace(INTERACTIONS, on_days(spark, START + timedelta(days=2), duration=5.0), START, END)
    assert found(warehouse) == [(before, 600.0), (START + timedelta(days=2), 5.0), (after, 600.0)]
    assert warehouse.run.counts["interactions.rows"] == 1
    assert warehouse.run.outputs["interactions"] == warehouse.version(INTERACTIONS)
    assert staged(warehouse) == []
    # An empty frame clears the interval.
    warehouse.replace(INTERACTIONS, on_days(spark, START).where("false"), START, END)
    assert found(warehouse) == [(before, 600.0), (after, 600.0)]


def test_equal_rows_keep_the_version(warehouse: Warehouse) -> None:
    spark = warehouse.spark
    days = [START + timedelta(days=n) for n in range(3)]
    version = warehouse.replace(INTERACTIONS, on_days(spark, *days), START, END)
    shuffled = on_days(spark, *reversed(days)).repartition(3)
    other_map = F.map_from_entries(F.reverse(F.map_entries("event_counts")))
    assert warehouse.replace(INTERACTIONS, shuffled.withColumn("event_counts", other_map), START, END) == version
    assert warehouse.replace(INTERACTIONS, on_days(spark, *days, duration=1.0), START, END) > version


def test_rows_outside_the_interval_are_refused(warehouse: Warehouse) -> None:
    spark = warehouse.spark
    warehouse.replace(INTERACTIONS, on_days(spark, START), START, END)
    version = warehouse.version(INTERACTIONS)
    with pytest.raises(PipelineError, match=r"interactions \[2026-08-10, 2026-08-17\): .*event_date outside"):
        warehouse.replace(INTERACTIONS, on_days(spark, START, END), START, END)
    assert warehouse.version(INTERACTIONS) == version
    assert found(warehouse) == [(START, 600.0)]
    assert staged(warehouse) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows.drop("creator"), "missing creator"),
        (lambda rows: rows.withColumn("extra", F.lit(1)), "unexpected extra"),
        (lambda rows: rows.withColumn("tie", F.col("tie").cast("int")), "tie is int, not bigint"),
        (lambda rows: rows.withColumn("genres", F.array(F.lit(1))), "genres is array<int>, not array<string>"),
    ],
)
def test_another_schema_is_refused(
    warehouse: Warehouse, change: Callable[[DataFrame], DataFrame], complaint: str
) -> None:
    with pytest.raises(PipelineError, match=f"frame for interactions does not fit its contract: {complaint}"):
        warehouse.replace(INTERACTIONS, change(on_days(warehouse.spark, START)), START, END)
    assert not warehouse.exists(INTERACTIONS)


def test_a_table_is_read_at_the_version_first_seen(warehouse: Warehouse) -> None:
    spark = warehouse.spark
    with pytest.raises(PipelineError, match=r"interactions does not exist in .*run the jobs before"):
        warehouse.read(INTERACTIONS)
    version = warehouse.replace(INTERACTIONS, on_days(spark, START, START + timedelta(days=1)), START, END)
    assert warehouse.read(INTERACTIONS).count() == 2
    warehouse.replace(INTERACTIONS, on_days(spark, START), START, END)
    assert warehouse.read(INTERACTIONS).count() == 2
    assert warehouse.read(INTERACTIONS, START + timedelta(days=1), END).count() == 1
    assert warehouse.run.inputs == {"interactions": version}


def test_a_version_of_weeks_ago_is_read_as_it_was(warehouse: Warehouse) -> None:
    """Releases name versions. By default, Delta refuses replaced versions that are older than a week."""
    spark = warehouse.spark
    for duration in (600.0, 5.0):
        warehouse.replace(INTERACTIONS, on_days(spark, START, duration=duration), START, END)
    old, path = warehouse.version(INTERACTIONS) - 1, warehouse.path(INTERACTIONS)
    past = time.time() - 200 * 24 * 3600
    for version in range(old + 1):
        os.utime(Path(path, "_delta_log", f"{version:020}.json"), (past + version, past + version))
    read = spark.read.format("delta").option("versionAsOf", old).load(path)
    assert [row["duration_s"] for row in read.collect()] == [600.0]


def test_one_of_two_concurrent_writers_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    """The second commits while the first still writes its files."""
    spark = warehouse.spark
    warehouse.replace(INTERACTIONS, on_days(spark, START), START, END)
    other = Warehouse(spark, Run("other", START, END, warehouse.run.domain, warehouse.run.profile))
    started, go = tmp_path / "started", tmp_path / "go"

    def hold(value: float) -> float:
        started.touch()
        while not go.exists():
            time.sleep(0.05)
        return value

    rows_held_up = on_days(spark, START, duration=1.0).coalesce(1)
    rows_held_up = rows_held_up.withColumn("duration_s", F.udf(hold, "double", useArrow=False)("duration_s"))
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(warehouse._commit, INTERACTIONS, rows_held_up, START, END)
            while not started.exists() and not first.done():
                time.sleep(0.05)
            other.replace(INTERACTIONS, on_days(spark, START, duration=2.0), START, END)
        finally:
            go.touch()
        with pytest.raises(PipelineError, match=r"interactions \[2026-08-10, 2026-08-17\): another run wrote this"):
            first.result(60)
    assert found(warehouse) == [(START, 2.0)]


def test_a_late_attempt_commits_nothing_of_what_it_read_before(warehouse: Warehouse) -> None:
    """Airflow gave it up, and its retry read newer interactions. Another week's interactions change nothing for it."""
    spark = warehouse.spark
    week, before, after = (START, END), (START - WEEK, START), (END, END + WEEK)
    state = frame(spark, TITLE_STATE, rows("title_state")[:1])
    warehouse.replace(INTERACTIONS, on_days(spark, START), *week)

    def attempt() -> Warehouse:
        return Warehouse(spark, Run("test", *week, warehouse.run.domain, warehouse.run.profile))

    late, other, retry = attempt(), attempt(), attempt()
    for each in (late, other):
        assert each.read(INTERACTIONS, *week).count() == 1
    warehouse.replace(INTERACTIONS, on_days(spark, before[0]), *before)
    spark.sql(f"OPTIMIZE delta.`{warehouse.path(INTERACTIONS)}`")
    other.replace(TITLE_STATE, state, *week)
    assert other.run.outputs["title_state"] == warehouse.version(TITLE_STATE)

    retry.replace(INTERACTIONS, on_days(spark, START, duration=2.0), *week)
    changed = (
        r"^title_state \[2026-08-17, 2026-08-24\): another run changed interactions .* since this run read it; this"
    )
    with pytest.raises(Superseded, match=changed):
        late.replace(TITLE_STATE, state.withColumn("as_of", F.lit(END)), *after)
    with pytest.raises(Superseded, match=r"interactions \[2026-08-10, 2026-08-17\): another run wrote this since"):
        late.replace(INTERACTIONS, on_days(spark, START, duration=1.0), *week)
    assert found(warehouse) == [(before[0], 600.0), (START, 2.0)]
    version = warehouse.version(INTERACTIONS)
    assert late.replace(INTERACTIONS, on_days(spark, START, duration=2.0), *week) == version, "the same rows"
    with pytest.raises(Superseded, match=r"releases rows: another run changed interactions"):
        other.merge(RELEASES, frame(spark, RELEASES, rows("releases")))


def test_rows_that_are_lost_in_the_moment_before_a_commit_are_told(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run writes after the last look at the interval. Its own week is lost, another one is not."""
    spark, require = warehouse.spark, ConcurrencyCheck.require

    def amid(first: date) -> None:
        def then(self: ConcurrencyCheck, *what: Any) -> None:
            require(self, *what)
            monkeypatch.setattr(ConcurrencyCheck, "require", require)
            other = Warehouse(spark, Run("test", START, END, warehouse.run.domain, warehouse.run.profile))
            other.replace(INTERACTIONS, on_days(spark, first, duration=2.0), first, first + WEEK)

        monkeypatch.setattr(ConcurrencyCheck, "require", then)

    warehouse.replace(INTERACTIONS, on_days(spark, START), START, END)
    amid(END)
    warehouse.replace(INTERACTIONS, on_days(spark, START, duration=1.0), START, END)
    amid(START)
    with pytest.raises(Superseded, match=r"wrote this in the moment before version 5, which replaced its rows"):
        warehouse.replace(INTERACTIONS, on_days(spark, START, duration=3.0), START, END)
    assert found(warehouse) == [(START, 3.0), (END, 2.0)]


def test_what_killed_attempts_staged_is_cleared(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what a living attempt staged, nor one on another machine, nor one that the ledger does not know."""
    run = warehouse.run
    here = liveness.this_process()
    kinds = {
        "ended": ("failed", here),
        "living": ("running", here),
        "killed": ("running", {**here, "pid": 2**22 + 1}),
        "elsewhere": ("running", {**here, "host": "elsewhere"}),
    }
    for kind, (status, process) in kinds.items():
        monkeypatch.setattr(liveness, "this_process", lambda process=process: process)
        one = replace(run, run_id=f"{kind}0")
        _record(one, "running")
        if status != "running":
            _record(one, status)
    for kind in (*kinds, "unknown"):
        Path(staging.folder(replace(run, run_id=f"{kind}0"), "interactions")).mkdir(parents=True)
    staging.clear(warehouse.spark, run)
    left = ["elsewhere0-interactions", "living0-interactions", "unknown0-interactions"]
    assert sorted(path.name for path in staged(warehouse)) == left


def test_a_merge_touches_only_rows_that_differ(warehouse: Warehouse) -> None:
    spark = warehouse.spark
    first, second = rows("releases")
    version = warehouse.merge(RELEASES, frame(spark, RELEASES, [first, second]))
    assert warehouse.merge(RELEASES, frame(spark, RELEASES, [second, first])) == version
    assert warehouse.merge(RELEASES, frame(spark, RELEASES, [{**second, "active": False}])) == version + 1
    active = {row["release_id"]: row["active"] for row in warehouse.current(RELEASES).collect()}
    assert active == {"r0": False, "r1": False}


def test_new_wording_in_the_contract_fits_existing_tables(warehouse: Warehouse) -> None:
    """Comments of tables and columns come from the contract; existing tables keep theirs."""
    spark = warehouse.spark

    def worded(table: Table) -> Table:
        return replace(table, row="other words", columns=tuple(replace(c, doc="other words") for c in table.columns))

    warehouse._create(worded(INTERACTIONS))
    warehouse.replace(INTERACTIONS, on_days(spark, START, duration=1.0), START, END)
    assert found(warehouse) == [(START, 1.0)]
    warehouse._create(worded(RELEASES))
    warehouse.merge(RELEASES, frame(spark, RELEASES, rows("releases")))
    assert warehouse.current(RELEASES).count() == 2


def test_a_failed_audit_leaves_the_table_untouched(
    spark: SparkSession, new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(spark, new_run("test", START, END))
    releases = [{**row, "active": True} for row in rows("releases")]
    good = rows("catalog")
    bad = frame(spark, CATALOG, [{**good[0], "runtime_s": -1.0}, good[1]])
    with pytest.raises(AuditFailed):
        warehouse.replace(CATALOG, bad, START, END)
    assert not warehouse.exists(CATALOG)
    with monkeypatch.context() as unaudited:
        unaudited.setattr(audit, "audit", passing)
        version = warehouse.replace(CATALOG, frame(spark, CATALOG, good), START, END)
        first = warehouse.merge(RELEASES, frame(spark, RELEASES, releases[:1]))
    before = warehouse.checksums()
    with pytest.raises(AuditFailed, match=r"the table is unchanged"):
        warehouse.replace(CATALOG, bad, START, END)
    assert (warehouse.version(CATALOG), warehouse.checksums()) == (version, before)
    with pytest.raises(AuditFailed, match=r"the table is unchanged"):
        warehouse.merge(RELEASES, frame(spark, RELEASES, releases))
    assert warehouse.version(RELEASES) == first
    assert staged(warehouse) == []


def test_building_an_interval_again_repairs_a_lost_data_file(warehouse: Warehouse) -> None:
    """The other interval is unchanged. Before the repair, an error says which file is lost and what to do."""
    spark, before = warehouse.spark, START - WEEK
    for first in (before, START):
        warehouse.replace(INTERACTIONS, on_days(spark, first, first + timedelta(days=1)), first, first + WEEK)
    lost = next(Path(warehouse.path(INTERACTIONS), f"event_date={START}").glob("*.parquet"))
    lost.unlink()
    with pytest.raises(Py4JJavaError) as error:
        warehouse.current(INTERACTIONS).collect()
    with pytest.raises(FileNotFoundError) as elsewhere:
        delta.Snapshot(warehouse.root, INTERACTIONS).rows()
    message, other = lost_file(error.value), lost_file(elsewhere.value)
    assert message is not None
    assert other is not None
    assert message.split(" is lost: ")[1] == other.split(" is lost: ")[1]
    assert f"event_date={START}/{lost.name}" in message
    assert "again" in message
    assert lost_file(ValueError("something else")) is None
    warehouse.replace(INTERACTIONS, on_days(spark, START, START + timedelta(days=1)), START, END)
    assert [day for day, _ in found(warehouse)] == [
        before,
        before + timedelta(days=1),
        START,
        START + timedelta(days=1),
    ]


def test_a_fingerprint_depends_on_the_rows_and_not_on_their_order(spark: SparkSession) -> None:
    content = [("a", {"x": 1, "y": 2}, [1, 2]), ("a", {"x": 1, "y": 2}, [1, 2]), ("b", None, [2, 1])]
    schema = "k string, m map<string,int>, a array<int>"
    one = fingerprint(spark.createDataFrame(content, schema))
    turned = [("b", None, [2, 1])] + [("a", {"y": 2, "x": 1}, [1, 2])] * 2
    assert fingerprint(spark.createDataFrame(turned, schema).repartition(3)) == one
    for other in (content[:2], [*content, content[2]], [*content[:2], ("b", None, [1, 2])], [*content[:2], content[1]]):
        assert fingerprint(spark.createDataFrame(other, schema)) != one


def test_rows_a_microsecond_apart_are_two(spark: SparkSession) -> None:
    moment = datetime(2026, 8, 10, 12, 0, 0, 123_456, tzinfo=UTC)
    one, other = (spark.createDataFrame([(at,)], "t timestamp") for at in (moment, moment + timedelta(microseconds=1)))
    assert fingerprint(one) != fingerprint(other)
