"""Online Retail's files: small ones with faults, and the published ones and parts of them against DuckDB."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.config import ROOT, Domain, load_domain
from intentrec.errors import PipelineError
from intentrec.raw_rows import RAW_EVENT, RAW_ITEM
from intentrec.sources import online_retail as reader
from intentrec.storage.runs import Run
from tests.events.days import service_date_of
from tests.sources.landing import first_lines

WEEK = (date(2011, 5, 30), date(2011, 6, 6))
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "536365,85123A,WHITE HEART,6,2011-06-01 08:26:00,2.55,17850,United Kingdom"


@pytest.fixture(scope="module")
def both() -> Domain:
    """Both files, two years."""
    return load_domain(ROOT / "conf" / "online_retail.yaml")


@pytest.fixture(scope="module")
def retail(both: Domain) -> Domain:
    """The first file alone, whatever else is in the folder: its history begins with it."""
    return both.model_copy(update={"calendar": both.calendar.model_copy(update={"history_start": date(2010, 11, 29)})})


@pytest.fixture
def run(new_run: Callable[..., Run], retail: Domain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """An attempt over tmp_path."""
    monkeypatch.setenv("INTENTREC_DATA", str(tmp_path))
    return new_run("ingest", *WEEK, retail)


@pytest.fixture
def sheet(shared_data: Path) -> Path:
    """The sheet of the year before."""
    path = shared_data / "online-retail" / reader.SHEET
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def write(folder: Path, *lines: str, header: str = HEADER) -> None:
    (folder / reader.FILE).write_bytes(gzip.compress("".join(f"{line}\n" for line in (header, *lines)).encode()))


def events(spark: SparkSession, run: Run) -> DataFrame:
    return reader.read_events(spark, run, date(2009, 11, 1), date(2011, 12, 31))


def read(spark: SparkSession, run: Run) -> dict[int, dict]:
    frame = events(spark, run)
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_EVENT]
    return {row["source_line"]: row.asDict() for row in frame.collect()}


def test_a_row_is_a_purchase(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    """Half past eight on a summer morning in London is half past seven UTC."""
    write(tmp_path, GOOD)
    row = read(spark, run)[2]
    assert len(row.pop("event_id")) == 64
    assert row.pop("arrived_at").astimezone(UTC) == datetime(2011, 6, 1, 7, 26, tzinfo=UTC)
    assert row == {
        "raw": GOOD,
        "source_file": reader.FILE,
        "source_line": 2,
        "read_error": None,
        "user_id": "17850",
        "account_id": "17850",
        "item_id": "85123A",
        "event_ts": "2011-06-01T07:26:00.000000Z",
        "event_type": "purchase",
        "duration_s": None,
        "position_s": None,
        "surface": "shop",
        "device": "unknown",
        "extra": {"quantity": "6", "unit_price": "2.55"},
    }


def test_copies_and_faulty_rows(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    """Lines are copies if invoice, product, quantity and price agree. A line that cannot be read has a read error."""
    write(
        tmp_path,
        GOOD,
        GOOD.replace("WHITE HEART", "white heart"),
        GOOD.replace(",6,", ",7,"),
        GOOD.replace("2011-06-01 08:26:00", "yesterday"),
        "only,three,fields",
        '536365,22752,"SET 7, BOXES",2,2011-06-01 08:26:00,7.65,17850,United Kingdom',
        GOOD.replace("536365", "C536365").replace(",6,", ",-6,"),
        GOOD.replace("536365", "c536365"),
        GOOD.replace(",6,", ",-6,"),
        GOOD.replace(",6,", ",many,"),
    )
    rows = read(spark, run)
    assert len(rows) == 10
    assert rows[2]["event_id"] == rows[3]["event_id"] != rows[4]["event_id"]
    assert (rows[5]["read_error"], rows[5]["event_ts"]) == ("bad_type_arrived_at", "yesterday")
    assert rows[6]["read_error"] == "unreadable_line"
    assert rows[6]["event_id"] is None
    for refused in (rows[5], rows[6]):  # by the week that begins the history, whose run quarantines them
        arrived = refused["arrived_at"].astimezone(UTC)
        assert service_date_of(arrived, run.domain.calendar) == run.domain.calendar.history_start
    assert rows[7]["item_id"] == "22752"
    types = {line: rows[line]["event_type"] for line in rows if line != 6}
    assert types == {**dict.fromkeys((2, 3, 4, 5, 7, 11), "purchase"), **dict.fromkeys((8, 9, 10), "return")}
    late = reader.read_events(spark, run, date(2011, 11, 1), date(2011, 12, 1)).select("source_line").collect()
    assert sorted(row["source_line"] for row in late) == [5, 6], (
        "a line without a time is in no week, and read with each"
    )


def test_a_product_is_known_from_its_first_sale_on(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    write(
        tmp_path,
        GOOD.replace("2011-06-01", "2011-06-03").replace("WHITE HEART", "LATER NAME"),
        GOOD,
        GOOD.replace("85123A", "OLD").replace("2011-06-01", "2011-05-01"),
        GOOD.replace("85123A", "NEXT").replace("2011-06-01", "2011-06-06"),
    )
    frame = reader.read_catalog(spark, run)
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_ITEM]
    rows = [row.asDict() for row in frame.collect()]
    assert {(row["item_id"], row["snapshot_date"].day) for row in rows} == {
        ("OLD", 1),
        ("85123A", 1),
        ("OLD", 3),
        ("85123A", 3),
    }
    assert {row["snapshot_date"].month for row in rows} == {6}
    (item,) = [row for row in rows if (row["item_id"], row["snapshot_date"].day) == ("85123A", 3)]
    assert item["text"] == "WHITE HEART"
    assert item["release_ts"] == "2011-05-31T23:00:00.000000Z"


def test_missing_files_and_wrong_columns_are_refused(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"online_retail\.csv\.gz: no such file.*INTENTREC_DATA"):
        read(spark, run)
    write(tmp_path, header="InvoiceNo,StockCode")
    with pytest.raises(PipelineError, match=r"column Country, CustomerID, .* is missing"):
        read(spark, run)


def test_a_line_of_the_sheet(spark: SparkSession, run: Run, both: Domain, tmp_path: Path) -> None:
    """It has the fields of a line of the first file. Without a customer it has no user."""
    names = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
    rows = [
        ("536365", "85123A", "WHITE HEART", 6, "2011-06-01 08:26:00", 2.55, 17850, "United Kingdom"),
        ("C536366", "85123A", "WHITE HEART", -1, "2011-06-01 09:00:00", 2.0, None, "United Kingdom"),
    ]
    parquet.write_table(
        pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows]), tmp_path / reader.SHEET
    )
    two_years = replace(run, domain=both)
    purchase, cancelled = read(spark, two_years).values()
    write(tmp_path, GOOD)
    (row,) = (row for row in events(spark, two_years).collect() if row["source_file"] == reader.FILE)
    same = [name for name in RAW_EVENT.names if name not in ("raw", "source_file", "source_line")]
    assert {name: purchase[name] for name in same} == {name: row[name] for name in same}
    assert (cancelled["event_type"], cancelled["user_id"], cancelled["source_line"]) == ("return", None, 2)
    assert '"Customer ID":17850' in purchase["raw"]
    assert {row["source_file"] for row in events(spark, run).collect()} == {reader.FILE}


def test_both_files(spark: SparkSession, run: Run, both: Domain, sheet: Path, tmp_path: Path) -> None:
    """Days of either file and one of both: each line of the shared day is one event."""
    shared, alone = "'2010-12-01' and '2010-12-02'", "'2009-12-01' and '2009-12-02'"
    old = f"""from '{sheet}' where "InvoiceDate" between {shared} or "InvoiceDate" between {alone}"""
    new = f"""from read_csv('{sheet.parent / reader.FILE}', all_varchar = true) where "InvoiceDate" < '2010-12-03'"""
    duckdb.execute(f"copy ({old}) to '{tmp_path / reader.SHEET}'")
    duckdb.execute(f"copy ({new}) to '{tmp_path / reader.FILE}' (header, compression gzip)")
    frame = events(spark, replace(run, domain=both))
    facts = F.struct("arrived_at", "user_id", "item_id", "event_ts", "event_type", "extra")
    versions = frame.groupBy("event_id").agg(F.count_distinct(F.to_json(facts)).alias("versions"))
    got = frame.agg(
        F.count("*"), F.countDistinct("event_id"), F.count("user_id"), F.count_if(F.col("event_type") == "return")
    ).first()
    (expected,) = duckdb.sql(f"""
        with lines as (
            select "Invoice" as invoice, "StockCode" as item, "Quantity"::int as pieces, "Price"::double as price,
                   "Customer ID"::int as customer {old}
            union all
            select "InvoiceNo", "StockCode", "Quantity"::int, "UnitPrice"::double, "CustomerID"::int {new})
        select count(*), count(distinct (invoice, item, pieces, price, coalesce(customer, 0))), count(customer),
               count(*) filter (invoice like 'C%' or pieces < 0) from lines
    """).fetchall()
    assert got is not None
    assert tuple(got) == expected
    assert got[3] > 100
    assert got[0] - got[1] > 1000, "the lines of the shared day stand in both files"
    assert versions.where("versions > 1").count() == 0, "copies agree, so ingestion counts them as duplicates"


@pytest.mark.parametrize(
    "lines", [10_000, pytest.param(None, marks=pytest.mark.extended)], ids=["first lines", "whole"]
)
def test_the_published_file(
    spark: SparkSession,
    run: Run,
    shared_data: Path,
    lines: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    folder = shared_data / "online-retail"
    if lines is None:
        request.getfixturevalue("compiling")
        monkeypatch.setenv("INTENTREC_DATA", str(folder))
    else:
        first_lines(folder / reader.FILE, lines, tmp_path)
        folder = tmp_path
    frame = reader.read_events(spark, run, date(2010, 11, 1), date(2011, 12, 31))
    counts = frame.agg(
        F.count("*"), F.count("read_error"), F.countDistinct("event_id"), F.countDistinct("user_id", "item_id")
    ).first()
    assert counts is not None
    table = f"read_csv('{folder / reader.FILE}', all_varchar=true)"
    keys = '"InvoiceNo", "StockCode", "Quantity", "UnitPrice", "CustomerID"'
    (expected,) = duckdb.sql(
        f"""select count(*), 0, count(distinct ({keys})), count(distinct ("CustomerID", "StockCode")) from {table}"""
    ).fetchall()
    assert tuple(counts) == expected
    assert counts[2] < counts[0]
    whole = Run("ingest", date(2010, 11, 29), date(2011, 12, 12), run.domain, run.profile)
    known = reader.read_catalog(spark, whole).groupBy("item_id").agg(F.min("snapshot_date"), F.count("*")).collect()
    expected = duckdb.sql(
        f"""
        with sold as (select "StockCode" as item, "InvoiceDate"::date as day from {table}),
             days as (select distinct day from sold), firsts as (select item, min(day) as first from sold group by item)
        select item, if(first = date '2010-12-01', date '2010-11-29', first), count(*)
        from firsts join days on first <= day group by all
        """
    ).fetchall()
    assert sorted(map(tuple, known)) == sorted(expected)
    assert len({first for _, first, _ in known}) > 2
