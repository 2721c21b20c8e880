"""Distributed scoring on Spark: the model is broadcast to the workers as bytes; users stay on the workers.

Each worker process keeps one loaded model in a global. Batches of the same package share it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, IntegerType, StringType, StructField, StructType

from intentrec.config import Publishing
from intentrec.contracts import (
    FLOAT,
    INTENT_RECOMMENDATIONS,
    ITEM_VECTORS,
    RECOMMENDATIONS,
    TEXT,
    USER_INTENTS,
    USER_VECTORS,
    array,
    text_map,
)
from intentrec.inference.scorer import Scorer
from intentrec.model.titles import SEEN

ROWS = 512  # users in a task and in a batch
ALL_CLASSES = 2**31 - 1  # more classes than any intent has

_CLASS = StructType(
    [
        StructField("label", StringType(), False),
        StructField("probability", FLOAT, False),
        StructField("log_weight", FLOAT, False),
        StructField("vector", array(FLOAT), False),
        StructField("logit_bias", text_map(FLOAT), False),
        StructField("title_ids", array(TEXT), False),
        StructField("scores", array(FLOAT), False),
    ]
)
SCORED = StructType(
    [
        StructField("user_id", StringType(), False),
        StructField("account_id", StringType(), False),
        StructField("intent_embedding", array(FLOAT), False),
        StructField("attention", text_map(FLOAT), False),
        StructField("primary_intent", StringType(), False),
        StructField("distinctive_intent", StringType()),
        StructField("top_labels", text_map(array(TEXT)), False),
        StructField("top_probabilities", text_map(array(FLOAT)), False),
        StructField("user_vector", array(FLOAT), False),
        StructField("logit_bias", text_map(FLOAT), False),
        StructField("title_ids", array(TEXT), False),
        StructField("scores", array(FLOAT), False),
        StructField("by_class", array(_CLASS), False),
        StructField("cluster", IntegerType(), False),
    ]
)


@dataclass(frozen=True)
class Package:
    """A model with everything it needs to score a snapshot, to be broadcast.

    Attributes:
        key: differs between packages that differ.
        files: of the registered model, by name.
        catalog: rows of `catalog` as an Arrow IPC stream.
        title_facts: rows of `title_facts` in the same way.
        as_of: date for which users are scored.
        top_k: length of each list of titles.
        top_labels: labels per intent.
        seen_titles: whether titles that the user has seen may be recommended.
        known_and_new: whether a user gets a list of seen titles and one of new titles.
        class_lists: classes of the lead intent that get a list, at most; conditional variants.
    """

    key: str
    files: dict[str, bytes]
    catalog: bytes
    title_facts: bytes
    as_of: date
    top_k: int
    top_labels: int
    seen_titles: bool
    known_and_new: bool
    class_lists: int

    @classmethod
    def of(
        cls,
        key: str,
        files: dict[str, bytes],
        catalog: pa.Table,
        title_facts: pa.Table,
        as_of: date,
        publishing: Publishing,
    ) -> "Package":
        """Pack a model; `publishing` gives the lengths of lists."""
        return cls(
            key,
            files,
            _stream(catalog),
            _stream(title_facts),
            as_of,
            publishing.top_k,
            publishing.top_labels,
            publishing.seen_titles,
            publishing.known_and_new,
            ALL_CLASSES if publishing.shown_classes else publishing.intent_lists,
        )

    def scorer(self) -> Scorer:
        """The model, loaded."""
        catalog, title_facts = (pa.ipc.open_stream(data).read_all() for data in (self.catalog, self.title_facts))
        return Scorer(self.files, catalog, title_facts, self.as_of)


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


_LOADED: dict[str, Scorer] = {}


def _scorer(package: Package) -> Scorer:
    if package.key not in _LOADED:
        import torch

        torch.set_num_threads(1)  # many tasks share a machine
        _LOADED.clear()
        _LOADED[package.key] = package.scorer()
    return _LOADED[package.key]


def seen_titles(state: DataFrame, since: datetime | None) -> DataFrame:
    """The pairs of user_id and title_id that count as seen by the rule of `intentrec.inference.seen`.

    Args:
        state: rows of `title_state` as of one date.
        since: what `seen.seen_since` says about it.
    """
    counted = state if since is None else state.where(F.col("last_touch_ts") >= F.lit(since))
    return counted.select("user_id", "title_id")


def with_seen_titles(sequences: DataFrame, seen: DataFrame) -> DataFrame:
    """Add the column SEEN: the titles that each row's user has seen; `seen` are pairs of `seen_titles`."""
    of_users = seen.join(sequences.select("user_id"), "user_id", "left_semi")
    titles = of_users.groupBy("user_id").agg(F.collect_set("title_id").alias(SEEN))
    none = F.array().cast("array<string>")
    return sequences.join(titles, "user_id", "left").withColumn(SEEN, F.coalesce(SEEN, none))


def score(sequences: DataFrame, package: Package, rows: int) -> DataFrame:
    """Score a snapshot of `rows` users: schema SCORED.

    Where the package tells seen from new titles, the rows carry the seen ones (`with_seen_titles`).
    """
    shared = sequences.sparkSession.sparkContext.broadcast(package)

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held = shared.value
        scorer = _scorer(held)
        for batch in batches:
            for start in range(0, batch.num_rows, ROWS):
                users = batch.slice(start, ROWS)
                yield scorer.score(
                    users, held.top_k, held.seen_titles, held.top_labels, held.known_and_new, held.class_lists
                )

    return spread(sequences, rows).mapInArrow(work, SCORED)


def spread(sequences: DataFrame, rows: int) -> DataFrame:
    """A snapshot of `rows` users in tasks of about ROWS users, by hash, sorted within a task.

    A batch then holds the same users whatever files they came from. This matters because the last bits of a matrix
    product depend on the rows that are multiplied together.
    """
    parts = max(1, -(-rows // ROWS))
    return sequences.repartition(parts, "user_id").sortWithinPartitions("user_id")


def _stamp(as_of: date, release_id: str) -> list[Column]:
    return [F.lit(as_of).alias("as_of"), F.lit(release_id).alias("release_id")]


def user_intents(scored: DataFrame, as_of: date, release_id: str, space_id: str) -> DataFrame:
    """Rows of `user_intents`."""
    columns = scored.select("*", *_stamp(as_of, release_id), F.lit(space_id).alias("space_id"))
    return columns.select(*USER_INTENTS.names)


def user_vectors(scored: DataFrame, as_of: date, release_id: str) -> DataFrame:
    """Rows of `user_vectors`: one of each user or, of a conditional variant, one of each user and class."""
    rows = scored.select("*", *_stamp(as_of, release_id), F.explode_outer("by_class").alias("given")).select(
        "as_of",
        "release_id",
        "user_id",
        "account_id",
        F.coalesce("given.vector", "user_vector").alias("vector"),
        F.col("given.label").alias("label"),
        F.col("given.log_weight").alias("log_weight"),
        F.coalesce("given.logit_bias", "logit_bias").alias("logit_bias"),
    )
    return rows.select(*USER_VECTORS.names)


def intent_recommendations(
    scored: DataFrame, as_of: date, release_id: str, intent: str, publishing: Publishing
) -> DataFrame:
    """Rows of `intent_recommendations`: the titles of each user's likeliest classes of the lead intent."""
    shown = F.array(*map(F.lit, publishing.shown_classes))
    classes = F.filter("by_class", lambda each: F.array_contains(shown, each["label"]))
    chosen = F.slice(classes if publishing.shown_classes else F.col("by_class"), 1, publishing.intent_lists)
    rows = scored.select("user_id", "account_id", *_stamp(as_of, release_id), F.explode(chosen).alias("given"))
    ranked = rows.select("*", F.posexplode(F.arrays_zip("given.title_ids", "given.scores")).alias("position", "entry"))
    return ranked.select(
        "*",
        F.lit(intent).alias("intent"),
        F.col("given.label").alias("label"),
        F.col("given.probability").alias("probability"),
        (F.col("position") + 1).alias("rank"),
        F.col("entry.title_ids").alias("title_id"),
        F.col("entry.scores").alias("score"),
    ).select(*INTENT_RECOMMENDATIONS.names)


def recommendations(scored: DataFrame, seen: DataFrame, as_of: date, release_id: str) -> DataFrame:
    """Rows of `recommendations`, rank 1 first in each user's list; `seen` are pairs of `seen_titles`."""
    ranked = scored.select(
        "user_id",
        "account_id",
        *_stamp(as_of, release_id),
        F.posexplode(F.arrays_zip("title_ids", "scores")).alias("position", "entry"),
    )
    named = ranked.select(
        "*",
        (F.col("position") + 1).alias("rank"),
        F.col("entry.title_ids").alias("title_id"),
        F.col("entry.scores").alias("score"),
    )
    touched = seen.select("user_id", "title_id", F.lit(True).alias("touched"))
    joined = named.join(touched, ["user_id", "title_id"], "left")
    return joined.withColumn("known", F.coalesce("touched", F.lit(False))).select(*RECOMMENDATIONS.names)


def item_vectors(scorer: Scorer, spark: Any, as_of: date, release_id: str) -> DataFrame:
    """Rows of `item_vectors`: titles on offer on `as_of`. The driver makes them: they grow with the catalogue only."""
    found = scorer.predictor.item_vectors(scorer.items).cast(
        pa.schema([("title_id", pa.string()), ("vector", pa.list_(pa.float32()))])
    )
    schema = StructType([StructField("title_id", StringType(), False), StructField("vector", ArrayType(FLOAT, False))])
    frame = spark.createDataFrame(found.to_pandas(), schema)
    return frame.select("*", *_stamp(as_of, release_id)).select(*ITEM_VECTORS.names)
