"""What a publication reads: the users who are served, the titles they have seen, and the titles on offer."""

from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY
from intentrec.contracts import CATALOG, POPULAR_TITLES, SEQUENCES, TITLE_FACTS, TITLE_STATE
from intentrec.errors import PipelineError, Skip
from intentrec.evaluation.candidates import Titles
from intentrec.inference import spark_scoring
from intentrec.inference.seen import no_state, seen_since
from intentrec.sequences.arrays import latest
from intentrec.storage.audit import closed
from intentrec.storage.delta import Snapshot
from intentrec.storage.warehouse import Warehouse, fingerprint
from intentrec.training.data import known_from, served_from


@dataclass(frozen=True)
class Served:
    """The inputs of one publication, at the versions that the run recorded.

    Attributes:
        as_of: the date that is published.
        sequences: the latest row of each user who is served; with the column `titles.SEEN` where lists depend on it.
        seen: pairs of user_id and title_id that count as seen.
        catalog: the latest row of each item.
        title_facts: rows of `title_facts` up to that date.
        users: number of users who are served.
        active: number of those who were active in the last week.
        checksums: of the content of each table, by its name.
    """

    as_of: date
    sequences: DataFrame
    seen: DataFrame
    catalog: pa.Table
    title_facts: pa.Table
    users: int
    active: int
    checksums: dict[str, str]


def read_served(warehouse: Warehouse) -> Served:
    """Read what is served as of the run's end.

    Raises:
        Skip: the service was closed all week.
        PipelineError: there is no such snapshot, or no state as of that date.
    """
    run, as_of = warehouse.run, warehouse.run.end
    first = served_from(as_of, run.domain.publishing.active_weeks)
    sequences = latest(warehouse.read(SEQUENCES, first, as_of + DAY))
    catalog = latest_snapshots(warehouse.read(CATALOG, end=as_of))
    active = Snapshot(run.warehouse, SEQUENCES, run.inputs["sequences"]).count(as_of, as_of + DAY)
    if not active and closed(run):
        raise Skip(f"{run.domain.domain} was closed from {run.start} to {run.end}: nothing new to publish")
    if not active:
        raise PipelineError(f"sequences has no snapshot as of {as_of}: run build_sequences over the week before it")
    state = warehouse.read(TITLE_STATE, as_of, as_of + DAY)
    touched = state.select("user_id", "title_id", "last_touch_ts")
    title_facts = warehouse.read(TITLE_FACTS, known_from(as_of), as_of + DAY)
    frames = {"sequences": sequences, "catalog": catalog, "title_state": touched, "title_facts": title_facts}
    content = {name: fingerprint(frame) for name, frame in frames.items()}
    if not content["title_state"].rows:
        raise no_state(as_of)
    seen = spark_scoring.seen_titles(state, seen_since(as_of, run.domain))
    if run.domain.publishing.tells_known:
        sequences = spark_scoring.with_seen_titles(sequences, seen)
    return Served(
        as_of,
        sequences,
        seen,
        catalog.toArrow(),
        title_facts.toArrow(),
        content["sequences"].rows,
        active,
        {name: f"{found.rows}:{found.checksum}" for name, found in content.items()},
    )


def latest_snapshots(catalog: DataFrame) -> DataFrame:
    """The latest row of each item: the model reads no others, and the driver collects no others."""
    newest = F.max_by(F.struct(*CATALOG.names), "snapshot_date").alias("row")
    return catalog.groupBy("item_id").agg(newest).select("row.*")


def popular_rows(warehouse: Warehouse, served: Served, offered: Titles, release: str) -> DataFrame:
    """Rows of `popular_titles`: the `top_k` titles on offer that most users engaged.

    Of equals the earlier in `offered` comes first. The driver makes them: they do not grow with users.
    """
    week = served.title_facts.filter(pc.equal(served.title_facts["as_of"], served.as_of))
    users = dict(zip(*(week[name].to_pylist() for name in ("title_id", "users")), strict=True))
    counted = [(title, users[title]) for title in offered.ids.to_pylist() if title in users]
    best = sorted(counted, key=lambda pair: -pair[1])[: warehouse.run.domain.publishing.top_k]
    rows = [(served.as_of, release, rank, *pair) for rank, pair in enumerate(best, start=1)]
    return warehouse.spark.createDataFrame(rows, POPULAR_TITLES.schema)
