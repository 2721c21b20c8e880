"""Titles that a user had seen as of a date: what `publishing.seen_titles: false` leaves out, in scoring and in metrics.

The rule: a user has seen a title that `title_state` as of the date holds for the user, unless the last visit ended
earlier than `publishing.seen_for` before the date. The state holds every title of the user's sequence, because
`sequences.lookback` is at most `interactions.state_weeks` where this matters (`config.Domain`).

Rows of `sequences` carry the titles in the column SEEN, which `model.titles.seen_titles` reads. Spark joins it for a
publication (`spark_scoring.with_seen_titles`), `SeenTitles` for the users of an evaluation.

Shape suffixes: U users, P pairs of a user and a title, B rows.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.calendar import DAY, day_start_of
from intentrec.config import Domain, seconds
from intentrec.contracts import TITLE_STATE
from intentrec.errors import PipelineError
from intentrec.model.arrow import column
from intentrec.model.titles import SEEN
from intentrec.storage.delta import Snapshot


def seen_since(as_of: date, domain: Domain) -> datetime | None:
    """The moment (UTC) from which on a title's last visit must have ended to count; None: any that the state knows."""
    if domain.publishing.seen_for is None:
        return None
    return day_start_of(as_of, domain.calendar) - timedelta(seconds=seconds(domain.publishing.seen_for))


def no_state(as_of: date) -> PipelineError:
    """The error of a date that has sequences but no state."""
    return PipelineError(
        f"title_state has no rows as of {as_of}, though sequences has: run build_interactions over the week before it"
    )


@dataclass(frozen=True)
class SeenTitles:
    """The seen titles of U users as of one date. Memory is 8 bytes per pair beside the names.

    Attributes:
        users: user ids (U,).
        offsets: where each user's titles begin, and the end of the last: (U + 1,).
        title_ids: dictionary-encoded ids (P,), all titles of the first user first.
    """

    users: pa.Array
    offsets: NDArray[np.int64]
    title_ids: pa.DictionaryArray

    @classmethod
    def read(cls, warehouse: str, version: int, as_of: date, users: pa.Array, domain: Domain) -> "SeenTitles":
        """Read them from the state as of a date, which is streamed; only pairs of `users` are kept.

        Args:
            warehouse: root of the tables.
            version: of `title_state`.
            as_of: the date.
            users: distinct user ids.
            domain: says how long a title counts as seen.

        Raises:
            PipelineError: the state of that date, or the table, does not exist.
        """
        state, users = Snapshot(warehouse, TITLE_STATE, version), users.cast(pa.string())
        if not state.count(as_of, as_of + DAY):
            raise no_state(as_of)
        wanted = pc.field("user_id").isin(users)
        if (since := seen_since(as_of, domain)) is not None:
            wanted &= pc.field("last_touch_ts") >= pa.scalar(since, pa.timestamp("us", "UTC"))
        user_P, title_P = [np.empty(0, np.int32)], [pa.array([], pa.string()).dictionary_encode()]
        for batch in state.dataset(as_of, as_of + DAY).to_batches(columns=["user_id", "title_id"], filter=wanted):
            user_P.append(pc.index_in(batch["user_id"].cast(pa.string()), value_set=users).to_numpy())
            title_P.append(batch["title_id"].cast(pa.string()).dictionary_encode())
        order = np.argsort(np.concatenate(user_P), kind="stable")
        offsets = np.searchsorted(np.concatenate(user_P)[order], np.arange(len(users) + 1))
        titles = pa.chunked_array(title_P).unify_dictionaries().combine_chunks()
        return cls(users, offsets.astype(np.int64), titles.take(pa.array(order)))

    def holds(self, user_ids: pa.Array, title_ids: pa.Array) -> NDArray[np.bool_]:
        """Whether each user had seen the title beside it: bool (N,) of ids (N,) each."""
        names = self.title_ids.dictionary
        user_N, title_N = (
            pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy(zero_copy_only=False).astype(np.int64)
            for ids, known in ((user_ids, self.users), (title_ids, names))
        )
        user_P = np.repeat(np.arange(len(self.users)), np.diff(self.offsets))
        seen_P = user_P * len(names) + self.title_ids.indices.to_numpy()
        return (user_N >= 0) & (title_N >= 0) & np.isin(user_N * len(names) + title_N, seen_P)

    def add_to(self, sequences: pa.RecordBatch) -> pa.RecordBatch:
        """The rows (B) with the column SEEN; it is empty for a user who is not among `users`."""
        user_B = pc.fill_null(pc.index_in(column(sequences, "user_id"), value_set=self.users), -1).to_numpy()
        length_B = np.where(user_B >= 0, np.diff(self.offsets)[user_B] if len(self.users) else 0, 0)
        offsets = np.concatenate([[0], np.cumsum(length_B)])
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], length_B)
        chosen = self.title_ids.take(pa.array(np.repeat(self.offsets[user_B], length_B) + inside))
        lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), chosen.cast(pa.string()))
        return sequences.append_column(SEEN, lists)
