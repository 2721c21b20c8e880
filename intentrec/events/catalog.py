"""The catalogue: raw rows to typed items with the reasons for which they are refused, and the snapshot of a date.

On a service date, the latest snapshot on or before it holds. Later snapshots are not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from intentrec.contracts import CATALOG, QUARANTINE
from intentrec.errors import PipelineError
from intentrec.events.reasons import all_reasons, bad_id, bad_type, filled, label_too_long, missing, or_else
from intentrec.sources.text import integer, moment, number
from intentrec.storage.delta import rows_by_day
from intentrec.storage.warehouse import Warehouse, row_text

_REQUIRED = ("item_id",)
_IDS = ("item_id", "title_id")
_MOMENTS = ("release_ts", "available_from", "available_to")
_NUMBERS = ("runtime_s", "promotion")
_TYPED = (*_MOMENTS, *_NUMBERS, "episode", "genres")
_FACTS = [name for name in CATALOG.names if name not in ("snapshot_date", "item_id")]


@dataclass(frozen=True)
class Items:
    """Catalogue rows after the check.

    Attributes:
        rows: what `checked_items` returns, materialised.
        count: number of rows read, accepted, quarantined, and duplicates (copies of accepted rows).
        accepted_on: accepted rows by date of their snapshot.
        refused_on: quarantined rows by date of their snapshot.
    """

    rows: DataFrame
    count: dict[str, int]
    accepted_on: dict[date, int]
    refused_on: dict[date, int]

    @property
    def accepted(self) -> DataFrame:
        """Rows of CATALOG."""
        return self.rows.where((F.size("reasons") == 0) & ~F.col("is_copy")).select(*CATALOG.names)

    @property
    def refused_ids(self) -> DataFrame:
        """snapshot_date and item_id of refused rows that have an id, each once."""
        refused = self.rows.where((F.size("reasons") > 0) & filled(F.col("item_id")))
        return refused.select("snapshot_date", "item_id").distinct()

    @property
    def refused(self) -> DataFrame:
        """Rows of QUARANTINE."""
        snapshot = F.col("snapshot_date")
        return (
            self.rows.where(F.size("reasons") > 0)
            .withColumns({"event_date": snapshot, "record": F.lit("catalog"), "arrived_at": snapshot.cast("timestamp")})
            .select(*QUARANTINE.names)
        )


def check_catalog(raw: DataFrame) -> Items:
    """Check raw rows (`raw_rows.RAW_ITEM`) and count them. Reads the rows once."""
    rows = checked_items(raw).localCheckpoint()
    refused, copies = F.count_if(F.size("reasons") > 0), F.count_if("is_copy")
    found = rows.groupBy("snapshot_date").agg(F.count("*"), refused, copies).collect()
    read, quarantined, duplicates = (sum(row[column] for row in found) for column in (1, 2, 3))
    count = {"read": read, "accepted": read - quarantined - duplicates, "quarantined": quarantined}
    return Items(
        rows,
        {**count, "duplicates": duplicates},
        {day: of_day - bad - twice for day, of_day, bad, twice in found},
        {day: bad for day, _, bad, _ in found},
    )


def checked_items(raw: DataFrame) -> DataFrame:
    """Typed items with the reasons for which they are refused.

    If rows of one snapshot describe an item in the same way, the first is accepted and the others are copies. If they
    contradict each other, all are refused (`conflicting_item`).

    Args:
        raw: rows of `raw_rows.RAW_ITEM`.

    Returns:
        The columns of CATALOG, raw, source_file, source_line, `reasons` (sorted; empty if the row is valid) and
        `is_copy`. The genres of an item are a sorted set. An item without a title is a title of its own.
    """
    listed = F.coalesce(F.nullif(F.trim("genres"), F.lit("")), F.lit("[]"))
    genres = F.from_json(listed, "array<string>", {"mode": "PERMISSIVE"})
    no_blank = F.filter(genres, filled)
    made = {"title_id": or_else("title_id", F.col("item_id")), "kind": or_else("kind", F.lit(None).cast("string"))}
    typed = raw.withColumns(made).select(
        *(name for name in raw.columns if name not in _TYPED),
        *(F.col(name).alias(f"{name}_text") for name in _TYPED),
        *(moment(F.col(name)).alias(name) for name in _MOMENTS),
        *(number(F.col(name)).alias(name) for name in _NUMBERS),
        integer(F.col("episode"), "int").alias("episode"),
        F.array_sort(F.array_distinct(no_blank)).alias("genres"),
    )
    own = typed.withColumn("reasons", all_reasons(F.col("read_error"), _item_reasons()))
    same_item = Window.partitionBy("snapshot_date", F.when(F.size("reasons") == 0, F.col("item_id")))
    facts = F.xxhash64(row_text(_FACTS))
    valid = F.size("reasons") == 0
    compared = own.withColumn("facts", facts).withColumns(
        {
            "contradicted": valid & (F.min("facts").over(same_item) != F.max("facts").over(same_item)),
            "copy": F.row_number().over(same_item.orderBy("source_file", "source_line")),
        }
    )
    return compared.withColumns(
        {
            "reasons": F.when(F.col("contradicted"), F.array(F.lit("conflicting_item"))).otherwise(F.col("reasons")),
            "is_copy": valid & ~F.col("contradicted") & (F.col("copy") > 1),
        }
    ).select(*CATALOG.names, "raw", "source_file", "source_line", "reasons", "is_copy")


def _item_reasons() -> list[Column]:
    runtime, episode, promotion = F.col("runtime_s"), F.col("episode"), F.col("promotion")
    none = F.array().cast("array<string>")
    return [
        *(missing(name) for name in _REQUIRED),
        *(reason for name in _IDS for reason in bad_id(name)),
        *(bad_type(name, F.col(f"{name}_text"), F.col(name)) for name in _TYPED),
        F.when(F.isnan(runtime) | (runtime <= 0) | (runtime == float("inf")), "bad_runtime"),
        F.when(episode < 0, "bad_episode"),
        F.when(~promotion.between(0, 1), "bad_promotion"),
        F.when(F.col("available_to") < F.col("available_from"), "bad_availability"),
        label_too_long(F.concat(F.array("kind", "creator", "language"), F.coalesce("genres", none))),
    ]


def stored_snapshots(warehouse: Warehouse, before: date) -> DataFrame:
    """Snapshots dated before a date; none if there is no catalogue yet. The run records the version that it reads."""
    if not warehouse.exists(CATALOG):
        return warehouse.spark.createDataFrame([], CATALOG.schema)
    return warehouse.read(CATALOG, end=before)


def replace_catalog(warehouse: Warehouse, items: Items) -> None:
    """Write the snapshots of the run's interval. Delete those that are no longer delivered."""
    run = warehouse.run
    stored = [day for day in rows_by_day(run.warehouse, CATALOG) if run.start <= day < run.end]
    if items.count["read"] or stored:
        warehouse.replace(CATALOG, items.accepted, run.start, run.end)
    else:  # not a warning: some services deliver their catalogue only once
        run.say("no catalogue snapshot of these dates: the last one still holds")


def snapshot_dates(catalog: DataFrame, start: date, end: date) -> list[date]:
    """Snapshots that events of [start, end) need, oldest first: the last one on or before `start`, and all later ones.

    Executes one query, which collects one date per snapshot.
    """
    found = catalog.where(F.col("snapshot_date") < F.lit(end)).select("snapshot_date").distinct().collect()
    dates = sorted(row["snapshot_date"] for row in found)
    known_at_start = [day for day in dates if day <= start]
    return known_at_start[-1:] + [day for day in dates if start < day < end]


def required_snapshots(catalog: DataFrame, start: date, end: date) -> list[date]:
    """`snapshot_dates`, after checking that a snapshot holds on the first date.

    Raises:
        PipelineError: there is no snapshot on or before `start`.
    """
    dates = snapshot_dates(catalog, start, end)
    if not dates or dates[0] > start:
        raise PipelineError(
            f"no catalogue snapshot on or before {start}, so every item of that day is unknown: deliver the "
            "snapshot of that date, or ingest the earlier weeks first"
        )
    return dates


def snapshot_as_of(day: Column, dates: Sequence[date]) -> Column:
    """The last of `dates` that is not after `day`; null if all of them are."""
    passed = [F.when(day >= F.lit(known), F.lit(known)) for known in dates]
    return F.greatest(*passed, F.lit(None).cast("date"), F.lit(None).cast("date"))
