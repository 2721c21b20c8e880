"""The catalogue per title: what the item tower needs, and when the title may be offered.

Shape suffixes: N rows.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intentrec.model.arrow import Rows, column, flat

FACTS = ("kind", "genres", "creator", "language")
LOOKBACK_WEEKS = 26  # before a week: dated facts of its titles rest on so many weeks of `title_facts`
SEEN = "seen_title_ids"  # optional column of `sequences` rows: the titles that the user has seen


def titles_of(catalog: Rows) -> pa.Table:
    """One row per title, sorted: title_id, the facts, available_from and available_to.

    Of each item the latest row counts. A title has the facts of its first item by item_id. It is available from the
    start of its earliest item to the end of its latest one; an open end stays null. A snapshot is complete: an item
    that the newest one does not list is no longer available. A title without any listed item keeps its facts.
    """
    newest = pc.max(column(catalog, "snapshot_date"))
    items = pa.table({name: column(catalog, name) for name in catalog.schema.names})
    items = items.sort_by([("title_id", "ascending"), ("item_id", "ascending"), ("snapshot_date", "descending")])
    items = items.filter(pa.array(_starts_group(items["item_id"]) | _starts_group(items["title_id"])))
    items = items.filter(pa.array(_latest_title(items)))
    first = items.filter(pa.array(_starts_group(items["title_id"])))
    listed = pc.equal(items["snapshot_date"], newest)
    going = pc.or_(listed, pc.invert(pc.is_in(items["title_id"], value_set=items.filter(listed)["title_id"])))
    until = pc.if_else(listed, items["available_to"], newest.cast(items["available_to"].type))
    items = items.set_column(items.column_names.index("available_to"), "available_to", until).filter(going)
    ends = items.group_by("title_id", use_threads=False).aggregate(
        [(name, function, pc.ScalarAggregateOptions(skip_nulls=name == "release_ts")) for name, function in _ENDS]
    )
    ends = ends.sort_by("title_id")  # groups come in no particular order
    facts = first.select(["title_id", *FACTS])
    for name, function in _ENDS:
        facts = facts.append_column(name, ends[f"{name}_{function}"])
    return _without_null_facts(facts)


def latest_rows(catalog: pa.Table) -> pa.Table:
    """The latest row of each item, sorted by item_id. `titles_of` needs no other rows.

    Args:
        catalog: one row of an item per snapshot.
    """
    order = [("item_id", "ascending"), ("snapshot_date", "descending")]
    rows = catalog.take(pc.sort_indices(catalog.select(["item_id", "snapshot_date"]), sort_keys=order))
    return rows.filter(pa.array(_starts_group(rows["item_id"])))


def available(titles: pa.Table, moment: datetime) -> pa.ChunkedArray:
    """Whether each title may be offered at a moment: bool (N,).

    Args:
        titles: as `titles_of` gives them.
        moment: with a time zone.
    """
    now = pa.scalar(moment, pa.timestamp("us", "UTC"))
    begun = pc.fill_null(pc.less_equal(titles["available_from"], now), True)
    not_over = pc.fill_null(pc.greater(titles["available_to"], now), True)
    return pc.and_(begun, not_over)


def last_played(titles: pa.Table, sequences: Rows, others: pa.Table | None = None) -> pa.Table:
    """title_id, end_ts and facts of the last interaction with each title that `titles` lacks.

    Args:
        titles: as `titles_of` gives them.
        sequences: rows of the table.
        others: result of this function for other rows, to merge.
    """
    played = pa.table({name: flat(sequences, name) for name in ("title_id", "end_ts", *FACTS)})
    played = played.filter(pc.invert(pc.is_in(played["title_id"], value_set=titles["title_id"].combine_chunks())))
    played = played if others is None else pa.concat_tables([others, played])
    order = pc.sort_indices(
        played.select(["title_id", "end_ts"]), sort_keys=[("title_id", "ascending"), ("end_ts", "descending")]
    )
    played = played.take(order)
    return played.filter(pa.array(_starts_group(played["title_id"])))


def with_titles(titles: pa.Table, played: pa.Table) -> pa.Table:
    """The rows of `titles` and those of `last_played`, sorted by title; titles that were only played have no dates."""
    for name, _ in _ENDS:
        played = played.append_column(name, pa.nulls(len(played), titles[name].type))
    return pa.concat_tables([titles, played.select(titles.column_names).cast(titles.schema)]).sort_by("title_id")


def in_order(titles: pa.Table, title_ids: Sequence[str]) -> pa.Table:
    """The rows of these titles, in this order.

    Raises:
        ValueError: a title has no row.
    """
    found = pc.index_in(pa.array(title_ids, titles["title_id"].type), value_set=titles["title_id"].combine_chunks())
    if found.null_count:
        missing = pa.array(title_ids).filter(pc.is_null(found)).to_pylist()
        raise ValueError(f"{len(missing)} titles have no facts, such as {', '.join(missing[:3])}")
    return titles.take(found)


def in_hash_order(title_ids: Iterable[str]) -> list[str]:
    """Distinct titles in the order of a hash, so that ties favour no title by its id or popularity."""
    return sorted(set(title_ids), key=lambda title: (hashlib.blake2b(title.encode()).digest(), title))


_ENDS = (("available_from", "min"), ("available_to", "max"), ("release_ts", "min"))


def _starts_group(values: pa.ChunkedArray) -> np.ndarray:
    """Whether each value of a sorted column differs from the one before it: (N,) bool."""
    codes = pc.dictionary_encode(values.combine_chunks()).indices.to_numpy(zero_copy_only=False)
    return np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)]


def _latest_title(items: pa.Table) -> np.ndarray:
    """Whether each row has its item's latest date, bool (N,): an item counts for its latest title only."""
    item = pc.dictionary_encode(items["item_id"].combine_chunks()).indices.to_numpy(zero_copy_only=False)
    date = items["snapshot_date"].cast(pa.int32()).to_numpy()
    latest = np.full(item.max(initial=-1) + 1, np.iinfo(np.int32).min, np.int32)
    np.maximum.at(latest, item, date)
    return date == latest[item]


def _without_null_facts(titles: pa.Table) -> pa.Table:
    """Unknown facts as empty text, the way sequences hold them."""
    for name in ("kind", "creator", "language"):
        filled = pc.fill_null(titles[name], "")
        titles = titles.set_column(titles.column_names.index(name), name, filled)
    return titles


def seen_titles(sequences: Rows) -> pa.ListArray:
    """The titles that the user of each row has seen: the column SEEN, or without it those of the row."""
    return column(sequences, SEEN if SEEN in sequences.schema.names else "title_id")
