"""Raw catalogue rows to typed items, each with the reasons why it is refused (none for most)."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from intentrec.contracts import CATALOG
from intentrec.events.reasons import all_reasons, bad_type, missing
from intentrec.row_text import row_text
from intentrec.sources.text import integer, moment, number

_REQUIRED = ("item_id", "title_id", "kind")
_MOMENTS = ("release_ts", "available_from", "available_to")
_TYPED = (*_MOMENTS, "runtime_s", "episode", "genres")
_FACTS = [name for name in CATALOG.names if name not in ("snapshot_date", "item_id")]


def checked_items(raw: DataFrame) -> DataFrame:
    """CATALOG columns, provenance (raw, source_file, source_line), `reasons` and `is_copy`.

    Rows of one snapshot that describe the same item alike are one item and its copies; where they contradict each
    other all are refused (`conflicting_item`). The genres of an item are a sorted set.
    """
    listed = F.coalesce(F.nullif(F.trim("genres"), F.lit("")), F.lit("[]"))
    genres = F.from_json(listed, "array<string>", {"mode": "PERMISSIVE"})
    no_blank = F.filter(genres, lambda genre: F.trim(genre) != "")
    typed = raw.select(
        *(name for name in raw.columns if name not in _TYPED),
        *(F.col(name).alias(f"{name}_text") for name in _TYPED),
        *(moment(F.col(name)).alias(name) for name in _MOMENTS),
        number(F.col("runtime_s")).alias("runtime_s"),
        integer(F.col("episode"), "int").alias("episode"),
        F.array_sort(F.array_distinct(no_blank)).alias("genres"),
    )
    own = typed.withColumn("reasons", all_reasons(F.col("read_error"), _item_reasons()))
    same_item = Window.partitionBy("snapshot_date", F.when(F.size("reasons") == 0, F.col("item_id")))
    facts = F.xxhash64(row_text(_FACTS))
    valid = F.size("reasons") == 0
    alike = own.withColumn("facts", facts).withColumns(
        {
            "contradicted": valid & (F.min("facts").over(same_item) != F.max("facts").over(same_item)),
            "copy": F.row_number().over(same_item.orderBy("source_file", "source_line")),
        }
    )
    return alike.withColumns(
        {
            "reasons": F.when(F.col("contradicted"), F.array(F.lit("conflicting_item"))).otherwise(F.col("reasons")),
            "is_copy": valid & ~F.col("contradicted") & (F.col("copy") > 1),
        }
    ).select(*CATALOG.names, "raw", "source_file", "source_line", "reasons", "is_copy")


def _item_reasons() -> list[Column]:
    runtime, episode = F.col("runtime_s"), F.col("episode")
    return [
        *(missing(name) for name in _REQUIRED),
        *(bad_type(name, F.col(f"{name}_text"), F.col(name)) for name in (*_MOMENTS, "runtime_s", "episode", "genres")),
        F.when(F.isnan(runtime) | (runtime <= 0) | (runtime == float("inf")), "bad_runtime"),
        F.when(episode < 0, "bad_episode"),
        F.when(F.col("available_to") < F.col("available_from"), "bad_availability"),
    ]
