"""Rows of `sequences` and of the catalogue from arrays, so that a benchmark needs no pipeline.

Shape suffixes: N interactions of all users in a line.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS

START = datetime(2026, 8, 3, tzinfo=UTC)
NO_TITLE_FACTS = to_arrow_schema(TITLE_FACTS.schema).empty_table()
_NOTHING = {"kind": "", "creator": "", "language": "", "surface": "", "device": "", "action_type": "play"}


def sequences(
    offsets: np.ndarray,
    title_N: Sequence[str] | pa.Array,
    second_N: np.ndarray,
    as_of: date,
    facts: Mapping[str, pa.Array] | None = None,
    windows: Mapping[str, np.ndarray] | None = None,
) -> pa.Table:
    """One row per user, in which every interaction is new and a target.

    Args:
        offsets: positions where the interactions of each user begin: (users + 1,).
        title_N: titles of all users, one user after another.
        second_N: when each interaction ended, in seconds from START.
        as_of: of all rows.
        facts: columns (N,) of facts; the other columns get empty values.
        windows: by width, the position in its row where the window of each interaction begins: (N,).
    """
    n, users = int(offsets[-1]), len(offsets) - 1
    micros_N = (int(START.timestamp()) + second_N.astype(np.int64)) * 1_000_000
    ended = pa.array(micros_N, pa.timestamp("us", "UTC"))
    flat: dict[str, pa.Array] = {name: pa.repeat(text, n) for name, text in _NOTHING.items()}
    flat |= {"genres": pa.ListArray.from_arrays(np.zeros(n + 1, np.int32), pa.array([], pa.string()))}
    flat |= {"title_id": pa.array(title_N), "start_ts": ended, "end_ts": ended, "is_target": pa.repeat(True, n)}
    flat |= {name: pa.repeat(False, n) for name in ("last_finished", "listed")}
    flat |= {"last_fraction": pa.repeat(-1.0, n), "opens_session": pa.repeat(True, n)}
    flat |= {"duration_s": pa.repeat(1.0, n), "weight": pa.repeat(1.0, n), "release_age_days": pa.repeat(-1.0, n)}
    flat |= facts or {}
    names = pa.array([f"u{user:08d}" for user in range(users)])
    columns = {
        "as_of": pa.repeat(pa.scalar(as_of), users),
        "user_id": names,
        "account_id": names,
        "n_new": pa.array(np.diff(offsets)),
        "window_start": _maps(offsets, windows or {}),
    } | {name: pa.ListArray.from_arrays(offsets.astype(np.int32), values) for name, values in flat.items()}
    return pa.table({name: columns[name] for name in SEQUENCES.names}).cast(to_arrow_schema(SEQUENCES.schema))


def _maps(offsets: np.ndarray, windows: Mapping[str, np.ndarray]) -> pa.MapArray:
    """Per user a map from each width to the starts of its own interactions."""
    users, count = len(offsets) - 1, len(windows)
    by_width = [np.split(start_N.astype(np.int32), offsets[1:-1]) for start_N in windows.values()]
    starts = [by_width[w][user] for user in range(users) for w in range(count)]
    keys = pa.array(list(windows) * users, pa.string())
    ends = np.arange(users + 1, dtype=np.int32) * count
    return pa.MapArray.from_arrays(ends, keys, pa.array(starts, pa.list_(pa.int32())))


def catalog(titles: Sequence[str], facts: Mapping[str, pa.Array] | None = None) -> pa.Table:
    """One item per title, with these facts and without the others."""
    schema = to_arrow_schema(CATALOG.schema)
    n = len(titles)
    known: dict[str, pa.Array] = {"item_id": pa.array(titles), "title_id": pa.array(titles)}
    known |= {"snapshot_date": pa.repeat(pa.scalar(START.date()), n), "kind": pa.repeat("", n)}
    known |= {"genres": pa.ListArray.from_arrays(np.zeros(n + 1, np.int32), pa.array([], pa.string()))}
    known |= facts or {}
    return pa.table({name: known.get(name, pa.nulls(n, schema.field(name).type)) for name in schema.names}).cast(schema)
