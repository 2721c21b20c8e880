"""Online Retail (D. Chen, UCI 2015, doi 10.24432/C5BW33): lines of invoices of a British wholesaler of gifts.

    {data}/online_retail.csv.gz                 December 2010 to December 2011: only purchases of known customers
    {data}/online_retail_2009_2010.parquet      the year before, all lines: the first sheet of Online Retail II

One of the files may be missing. A domain whose history begins on 29 November 2010 or later reads the first file alone.

An event is a line of an invoice. Invoice, product, quantity, price and customer identify it: lines that agree in all
of them are copies. All lines of an invoice have the time of the invoice, to the minute, so their order is unknown. A
purchase has no measured duration: duration_s is null. Quantity and price are signals.

1 to 9 December 2010 stand in both files. The sheet has every line that the first file has of these days, and also their
cancellations. So it decides: the lines of the first file are copies, which ingestion counts as duplicates.

A line is a return, not a purchase, if its invoice is a cancellation (its number begins with C) or its quantity is
negative. The sheet has lines without a customer. Ingestion refuses them (`missing_user_id`).

There is no catalogue. The reader makes a snapshot for every day of sales: the products sold until then, each with the
description of its first line. So a product is known from the day of its first sale. The products of the first day are
known from the start of the history. The data set has no surfaces, devices, languages, genres or kinds.
"""

from datetime import date
from functools import reduce

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from intentrec.raw_rows import RAW_ITEM
from intentrec.sources import data_folder, published_file
from intentrec.sources.files import csv_rows, listing
from intentrec.sources.parquet import parquet_rows
from intentrec.sources.text import arrived_within, instant_events, iso, number, parsed_once
from intentrec.storage.runs import Run

FILE, SHEET = "online_retail.csv.gz", "online_retail_2009_2010.parquet"
_RELEASE = date(2010, 11, 29)  # Monday of the week in which FILE begins
_SHEET_NAMES = {"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"}  # the others agree
_COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
_KEY = ("InvoiceNo", "StockCode", "Quantity", "UnitPrice", "CustomerID")


def read_events(spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
    """Raw purchases and returns of the UTC dates [arrived_from, arrived_until). They arrive at their own time.

    Raises:
        PipelineError: there is no such file, a column is missing, or it cannot be read.
    """
    fields = F.col("fields")
    returned = F.upper(fields["InvoiceNo"]).startswith("C") | (number(fields["Quantity"]) < 0)
    frame = instant_events(
        _lines(spark, run),
        run,
        kind=F.when(returned, "return").otherwise("purchase"),
        surface="shop",
        user="CustomerID",
        item="StockCode",
        when="InvoiceDate",
        key=_KEY,
        signals={"quantity": "Quantity", "unit_price": "UnitPrice"},
    )
    return arrived_within(frame, arrived_from, arrived_until)


def read_catalog(spark: SparkSession, run: Run) -> DataFrame:
    """The snapshots of the days of sales in [run.start, run.end).

    Raises:
        PipelineError: there is no such file, a column is missing, or it cannot be read.
    """
    calendar, fields, nothing = run.domain.calendar, F.col("fields"), F.lit(None).cast("string")
    day = F.to_date(F.from_utc_timestamp("moment", calendar.zone))
    sold = _lines(spark, run).where(F.col("moment").isNotNull()).select("*", day.alias("day"))
    opening = F.min("day").over(Window.partitionBy())  # one partition is enough: there is one row per day
    dated = F.when(F.col("day") == opening, F.lit(calendar.history_start)).otherwise(F.col("day"))
    days = sold.select("day").distinct().select(dated.alias("snapshot_date"), F.col("day").alias("until"))
    within = F.col("snapshot_date").between(F.lit(run.start), F.date_sub(F.lit(run.end), 1))
    first = Window.partitionBy("fields.StockCode").orderBy("moment", "source_file", "source_line")
    products = sold.where(fields["StockCode"].isNotNull()).withColumn("place", F.row_number().over(first))
    known = F.col("day") <= F.col("until")
    frame = (
        products.where("place = 1")
        .join(F.broadcast(days.where(within)), known, "inner")
        .select(
            "raw",
            "source_file",
            "source_line",
            "snapshot_date",
            "read_error",
            fields["StockCode"].alias("item_id"),
            fields["StockCode"].alias("title_id"),
            F.lit("product").alias("kind"),
            F.lit("[]").alias("genres"),
            nothing.alias("creator"),
            nothing.alias("episode"),
            iso(F.to_utc_timestamp(F.col("day").cast("timestamp"), calendar.zone)).alias("release_ts"),
            nothing.alias("runtime_s"),
            nothing.alias("language"),
            fields["Description"].alias("text"),
            nothing.alias("available_from"),
            nothing.alias("available_to"),
            nothing.alias("promotion"),
        )
    )
    assert frame.columns == RAW_ITEM.names
    return frame


def _lines(spark: SparkSession, run: Run) -> DataFrame:
    """The lines of all files with `moment`, the time of their invoice; null if it cannot be parsed."""
    there = {file.name: file for file in listing(spark, data_folder(run))}
    frames = []
    if SHEET in there and run.domain.calendar.history_start < _RELEASE:
        frames.append(parquet_rows(spark, there[SHEET], {name: _SHEET_NAMES.get(name, name) for name in _COLUMNS}))
    if FILE in there or not frames:
        frames.append(_file_rows(spark, run))
    rows = reduce(DataFrame.unionByName, frames)
    local = F.try_to_timestamp(F.col("fields.InvoiceDate"), F.lit("yyyy-MM-dd HH:mm:ss"))
    moment = F.to_utc_timestamp(local, run.domain.calendar.zone)
    return parsed_once(rows, "moment", moment)


def _file_rows(spark: SparkSession, run: Run) -> DataFrame:
    rows = csv_rows(spark, run, published_file(spark, run, FILE, "Online Retail"), _COLUMNS)
    fields = F.col("fields")
    named = F.struct(*[fields[name].alias(name) for name in _COLUMNS])
    return rows.withColumn("fields", F.when(fields.isNotNull(), named))
