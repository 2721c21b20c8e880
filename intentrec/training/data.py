"""Tables at pinned versions as Arrow: what training and evaluation read. No Spark."""

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from intentrec.calendar import DAY, WEEK
from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS
from intentrec.model.titles import LOOKBACK_WEEKS
from intentrec.storage.delta import Snapshot


def open_sequences(warehouse: str, version: int, cutoff: date, weeks: int = 1) -> ds.Dataset:
    """Rows of `sequences` of the last `weeks` weekly snapshots up to the cut-off, in no order.

    They are those with as_of in (cutoff - `weeks` weeks, cutoff]. The caller reads them in record batches.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    return Snapshot(warehouse, SEQUENCES, version).dataset(cutoff - WEEK * weeks + DAY, cutoff + DAY)


def read_sequences(warehouse: str, version: int, as_of: date) -> pa.Table:
    """The snapshot of `sequences` as of a date, sorted by user: the users to score or to judge.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    return Snapshot(warehouse, SEQUENCES, version).rows(as_of, as_of + DAY).sort_by("user_id")


def served_from(as_of: date, active_weeks: int) -> date:
    """First as_of of the sequences that are served as of a date: a user's latest row of so many weeks counts."""
    return as_of - WEEK * (active_weeks - 1)


def latest_sequences(warehouse: str, version: int, as_of: date, active_weeks: int) -> pa.Table:
    """The latest row of each user who was active in so many weeks before a date, sorted by user.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    found = [read_sequences(warehouse, version, as_of)]
    for ago in range(1, active_weeks):
        earlier = read_sequences(warehouse, version, as_of - WEEK * ago)
        known = pa.concat_arrays([chunk for part in found for chunk in part["user_id"].chunks])
        found.append(earlier.filter(pc.invert(pc.is_in(earlier["user_id"], value_set=known))))
    return pa.concat_tables(found).sort_by("user_id")


def known_from(as_of: date, weeks: int = 1) -> date:
    """First as_of of `title_facts` that the dated facts of `weeks` weeks up to a date rest on."""
    return as_of - WEEK * (weeks - 1 + LOOKBACK_WEEKS)


def read_title_facts(warehouse: str, version: int, as_of: date, weeks: int = 1) -> pa.Table:
    """Rows of `title_facts` that the dated facts of `weeks` weeks up to a date rest on.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    rows = Snapshot(warehouse, TITLE_FACTS, version).rows(known_from(as_of, weeks), as_of + DAY)
    return rows.sort_by([("as_of", "ascending"), ("title_id", "ascending")])


def read_catalog(warehouse: str, version: int, before: date) -> pa.Table:
    """Catalogue snapshots dated before `before`: what was known when the service day `before` began.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    rows = Snapshot(warehouse, CATALOG, version).rows(end=before)
    return rows.sort_by([("snapshot_date", "ascending"), ("item_id", "ascending")])


def title_names(catalog: pa.Table) -> dict[str, str]:
    """The text of each title's latest snapshot; titles without a text are left out."""
    rows = catalog.select(["snapshot_date", "title_id", "text"]).sort_by([("snapshot_date", "ascending")])
    return {row["title_id"]: row["text"] for row in rows.to_pylist() if row["text"]}
