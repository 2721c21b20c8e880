"""The split of leave-one-out as in the published figures: raw files to rows of `sequences`, without Spark.

Of each user with at least three interactions the last is held out for the test, and the one before it for validation.
The data sets give the order of a user's interactions and only some of the times. The protocol uses the order alone, so
times are made up: training interactions lie before `VALIDATION`, validation interactions after it.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.calendar import WEEK
from intentrec.contracts import CATALOG, SEQUENCES
from intentrec.errors import PipelineError

Histories: TypeAlias = dict[str, list[str]]  # user -> items, oldest first

START = datetime(2020, 1, 1, tzinfo=UTC)
CUTOFF = date(2020, 2, 1)  # after every interaction but the test's
VALIDATION_DAYS = 10
VALIDATION = START + timedelta(days=25)
FEWEST = 3  # interactions; users with fewer are only for training
_TEXTS = {"action_type": "play", "kind": "", "creator": "", "language": "", "surface": "", "device": ""}


@dataclass(frozen=True)
class Split:
    """A data set in its parts."""

    train: pa.Table  # rows of `sequences`: training targets before VALIDATION, validation targets after it
    before: pa.Table  # one row per tested user: everything before the held-out interaction
    held_out: pa.Array  # its title, in the rows' order
    catalog: pa.Table  # every title, without facts


def read_games(folder: Path) -> Histories:
    """`Video.txt.gz` of the SASRec paper: a line per interaction, user and item, in the order of time.

    Raises:
        PipelineError: the file is not there.
    """
    path = _existing(folder / "Video.txt.gz")
    pairs = [line.split() for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    return {user: [item for _, item in lines] for user, lines in groupby(pairs, itemgetter(0))}


def read_movielens(folder: Path) -> Histories:
    """`u.data` of MovieLens 100K: user, film, rating, second; every rating is an interaction.

    Many ratings of a user share a second. They keep the order of the file, which was shuffled before publication, so
    that it says nothing about the film.

    Raises:
        PipelineError: the file is not there.
    """
    lines = [line.split("\t") for line in _existing(folder / "u.data").read_text().splitlines()]
    lines.sort(key=lambda line: (int(line[0]), int(line[3])))  # stable
    return {user: [item for _, item, *_ in rated] for user, rated in groupby(lines, itemgetter(0))}


def split(histories: Histories, length: int, stride: int) -> Split:
    """Split a data set into training, prefixes to test and held-out titles.

    Args:
        histories: what each user did.
        length: interactions of a training row, the last target among them; a prefix to test has one less.
        stride: training targets of a row at most where a history is longer than `length`. Every target is in one row.
    """
    train: list[_Span] = []
    tested: list[_Span] = []
    for user, items in histories.items():
        has_test = len(items) >= FEWEST
        known = len(items) - has_test
        if has_test:
            tested.append(_Span(user, max(0, known - length + 1), known, 0, CUTOFF))
        end, as_of = known, CUTOFF
        while end > 1:
            begin = max(0, end - length)
            targets = min(stride, end - begin) if begin else end
            train.append(_Span(user, begin, end, targets, as_of))
            end, as_of = end - targets, as_of - WEEK
    held_out = [histories[span.user][span.end] for span in tested]
    titles = sorted({item for items in histories.values() for item in items})
    return Split(_rows(histories, train), _rows(histories, tested), pa.array(held_out, pa.string()), _catalog(titles))


@dataclass(frozen=True)
class _Span:
    """Interactions [begin, end) of a user as one row, of which the last `targets` are targets."""

    user: str
    begin: int
    end: int
    targets: int
    as_of: date


def _rows(histories: Histories, spans: Sequence[_Span]) -> pa.Table:
    """Rows of `sequences`."""
    lengths = np.array([span.end - span.begin for span in spans], np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    titles = [item for span in spans for item in histories[span.user][span.begin : span.end]]
    seconds = np.concatenate([np.empty(0, int), *(_seconds(span, len(histories[span.user])) for span in spans)])
    n = len(titles)
    users = pa.array([span.user for span in spans])
    flat: dict[str, pa.Array] = {
        name: pa.array([text]).take(pa.array(np.zeros(n, int))) for name, text in _TEXTS.items()
    }
    flat |= {"title_id": pa.array(titles, pa.string()), "genres": pa.array([[]] * n, pa.list_(pa.string()))}
    flat |= dict.fromkeys(("start_ts", "end_ts"), pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC")))
    flat |= dict.fromkeys(("duration_s", "weight"), pa.array(np.ones(n)))
    flat |= {"release_age_days": pa.array(np.full(n, -1.0)), "last_fraction": pa.array(np.full(n, -1.0))}
    flat |= dict.fromkeys(("is_target", "opens_session"), pa.array(np.ones(n, bool)))
    flat |= dict.fromkeys(("last_finished", "listed"), pa.array(np.zeros(n, bool)))
    columns = {
        "as_of": pa.array([span.as_of for span in spans]),
        "user_id": users,
        "account_id": users,
        "n_new": pa.array([span.targets for span in spans]),
        "window_start": pa.array([[]] * len(spans), pa.map_(pa.string(), pa.list_(pa.int32()))),
    } | {name: pa.ListArray.from_arrays(offsets, values) for name, values in flat.items()}
    return pa.table({name: columns[name] for name in SEQUENCES.names}).cast(to_arrow_schema(SEQUENCES.schema))


def _seconds(span: _Span, events: int) -> np.ndarray:
    """When each interaction of the span happened: a minute apart, and the validation interaction a month later."""
    k = np.arange(span.begin, span.end)
    validates = (k == events - 2) & (events >= FEWEST)
    return int(START.timestamp()) + 60 * k + np.where(validates, int((VALIDATION - START).total_seconds()), 0)


def _catalog(titles: Sequence[str]) -> pa.Table:
    """Titles without a fact."""
    schema = to_arrow_schema(CATALOG.schema)
    given = {"snapshot_date": START.date(), "kind": "", "genres": []}
    return pa.Table.from_pylist([{**given, "item_id": title, "title_id": title} for title in titles], schema=schema)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise PipelineError(f"{path} does not exist: name the data set's folder with --data")
    return path
