"""Online Retail's file: a small one with faults, and the published one and its first lines against DuckDB."""

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession
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
def retail() -> Domain:
    return load_domain(ROOT / "conf" / "online_retail.yaml")


@pytest.fixture
def run(new_run: Callable[..., Run], retail: Domain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """An attempt over tmp_path."""
    monkeypatch.setenv("INTENTREC_DATA", str(tmp_path))
    return new_run("ingest", *WEEK, retail)


def write(folder: Path, *lines: str, header: str = HEADER) -> None:
    (folder / reader.FILE).write_bytes(gzip.compress("".join(f"{line}\n" for line in (header, *lines)).encode()))


def read(spark: SparkSession, run: Run) -> dict[int, dict]:
    frame = reader.read_events(spark, run, date(2010, 11, 1), date(2011, 12, 31))
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
        "duration_s": "0",
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


def test_the_year_before_has_returns(spark: SparkSession, run: Run, shared_data: Path, tmp_path: Path) -> None:
    """Three days of Online Retail II in the columns of the first release: cancelled lines have invoices C… ."""
    sheet = shared_data / "online-retail" / "online_retail_2009_2010.parquet"
    if not sheet.exists():
        pytest.skip(f"{sheet} is not there")
    names = dict(zip(("Invoice", "Price", "Customer ID"), ("InvoiceNo", "UnitPrice", "CustomerID"), strict=True))
    columns = ", ".join(f'"{name}" as "{new}"' for name, new in names.items())
    lines = f"""
        select {columns}, "StockCode", replace("Description", '"', '') as "Description", "Quantity", "InvoiceDate",
               "Country"
        from '{sheet}' where "InvoiceDate" < '2009-12-04'
    """
    duckdb.execute(f"copy ({lines}) to '{tmp_path / 'lines.csv'}' (header, delimiter ',')")
    (tmp_path / reader.FILE).write_bytes(gzip.compress((tmp_path / "lines.csv").read_bytes()))
    frame = reader.read_events(spark, run, date(2009, 11, 1), date(2009, 12, 31))
    got = {row["event_type"]: row["count"] for row in frame.groupBy("event_type").count().collect()}
    expected = duckdb.sql(f"""
        select count(*) filter ("InvoiceNo" like 'C%' or "Quantity" < 0), count(*) from ({lines})
    """).fetchall()[0]
    assert got == {"return": expected[0], "purchase": expected[1] - expected[0]}
    assert expected[0] > 100


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
