"""Tables at pinned versions as Arrow: what training and evaluation read. No Spark."""

from datetime import date

import pyarrow as pa
import pyarrow.dataset as ds

from intentrec.calendar import DAY, WEEK
from intentrec.contracts import CATALOG, SEQUENCES
from intentrec.storage.delta import Snapshot


def open_sequences(warehouse: str, version: int, cutoff: date, weeks: int = 1) -> ds.Dataset:
    """Rows of `sequences` with as_of in (cutoff - weeks, cutoff], to be read in record batches, in no order.

    Nothing after the cut-off is read.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    return Snapshot(warehouse, SEQUENCES, version).dataset(*_as_ofs(cutoff, weeks))


def read_sequences(warehouse: str, version: int, cutoff: date, weeks: int = 1) -> pa.Table:
    """The rows of `open_sequences`, sorted by as_of and user.

    One week is one snapshot: the users to score or to judge.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    rows = Snapshot(warehouse, SEQUENCES, version).rows(*_as_ofs(cutoff, weeks))
    return rows.sort_by([("as_of", "ascending"), ("user_id", "ascending")])


def read_catalog(warehouse: str, version: int, before: date) -> pa.Table:
    """Catalogue snapshots dated before `before`: what was known when the service day `before` began.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    rows = Snapshot(warehouse, CATALOG, version).rows(end=before)
    return rows.sort_by([("snapshot_date", "ascending"), ("item_id", "ascending")])


def _as_ofs(cutoff: date, weeks: int) -> tuple[date, date]:
    """The half-open interval of the weekly snapshots as of (cutoff - weeks, cutoff]."""
    return cutoff - WEEK * weeks + DAY, cutoff + DAY
