"""From Arrow rows to tensors. Training, batch scoring and real time share this one encoder.

Rows are padded on the right. Under a causal mask a real position never attends to padding, so padding changes nothing.

Shape suffixes: N interactions of all rows in a line, or targets; B rows, L positions, G labels of one interaction,
C channels, F numeric features, S facts of a title's state, I titles, W weeks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from intentrec.model.arrow import Rows, column, flat, map_entry, offsets_of, padded
from intentrec.model.spec import IntentSpec, ModelSpec
from intentrec.model.vocabulary import FIRST, PAD, Vocabulary, token_columns

NO_LABEL = -1
STATE = ("begun", "fraction", "finished", "listed")  # of a title after an interaction
TIME_BUCKETS = 32  # powers of two of seconds: the last but one begins at 34 years
PERIODS = ((86_400, 2), (604_800, 3))  # seconds, harmonics: hour of the day, day of the week
PERIODIC_CHANNELS = 2 * sum(harmonics for _, harmonics in PERIODS)


@dataclass(frozen=True)
class Batch:
    """Interactions as tensors: flat (N, ...) inside an `Encoded`, or padded (B, L, ...) when taken out of it.

    Most fields describe the interaction at its position and what came before it. `label`, `weight` and `target`
    describe what the model has to predict of this interaction from earlier positions. Integers are int64, numbers
    float32.
    """

    valid_BL: Tensor  # bool: not padding
    title_BL: Tensor  # index of the vocabulary
    first_BL: Tensor  # position where the title occurs first in its row; it differs between unknown titles, too
    tokens: dict[str, Tensor]  # column -> indices (B, L), or (B, L, G) where an interaction has several
    numeric_BLF: Tensor
    time_BL: Tensor  # T_k in seconds since 1970, UTC
    periodic_BLC: Tensor  # hour and weekday of T_k in the service's zone
    gap_BL: Tensor  # bucket of T_k - T_{k-1}; 0 at a row's first position
    window: dict[str, Tensor]  # H -> first position of the window, counted from the row's start
    label: dict[str, Tensor]  # intent -> (B, L, G) classes, filled up with NO_LABEL
    weight_BL: Tensor  # duration weight d_k, not negative
    target_BL: Tensor  # bool: this interaction is to be predicted
    known_BL: Tensor  # how many interactions of the row ended before this one
    state_BLS: Tensor  # `STATE` of its title after it; S is 0 for a model that does not read it
    session_BL: Tensor  # number of its session in the row; 0 for a model that does not read it
    week_BL: Tensor  # number of the week that it lies in, among those of the titles' dated facts

    def targets(self) -> "TargetPositions":
        """The interactions to predict, in the order of the rows."""
        row_N, j_N = self.target_BL.nonzero(as_tuple=True)
        return TargetPositions(row_N, self.known_BL[row_N, j_N] - 1, j_N)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Apply a function to every tensor."""
        mapped: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            several = isinstance(value, dict)
            mapped[field.name] = {key: function(item) for key, item in value.items()} if several else function(value)
        return Batch(**mapped)


@dataclass(frozen=True)
class TargetPositions:
    """Interaction j of a row of a batch is to be predicted after position k of that row; int64 each.

    j is k + 1 unless several interactions ended at one moment, such as the lines of a basket. Each of those is
    predicted without the others.
    """

    row_N: Tensor
    k_N: Tensor
    j_N: Tensor

    def __len__(self) -> int:
        """Number of targets."""
        return len(self.row_N)

    def next_sessions(self, batch: Batch) -> tuple[Tensor, "TargetPositions"]:
        """Which targets are the first of their session (bool (N,)), and what was known before that session.

        In the positions, k is the last interaction before the session; it is negative where there is none.
        """
        session_NL, session_N1 = batch.session_BL[self.row_N], self.of(batch.session_BL)[:, None]
        place_L = torch.arange(session_NL.shape[1], device=session_NL.device)
        inside_NL = (session_NL == session_N1) & batch.target_BL[self.row_N]
        earlier_NL = inside_NL & (place_L < self.of(batch.known_BL)[:, None])
        before_N = ((session_NL < session_N1) & batch.valid_BL[self.row_N]).sum(-1) - 1
        return ~earlier_NL.any(-1) & (before_N >= 0), TargetPositions(self.row_N, before_N, self.j_N)

    def part(self, some: Tensor) -> "TargetPositions":
        """Some of the targets, chosen by a mask or by numbers."""
        return TargetPositions(self.row_N[some], self.k_N[some], self.j_N[some])

    def of(self, value: Tensor) -> Tensor:
        """The value (N, ...) at the target interactions of a batch's tensor (B, L, ...)."""
        return value[self.row_N, self.j_N]


@dataclass(frozen=True)
class Encoded:
    """Rows of `sequences` in flat tensors, and where each row starts: (B + 1,) int64 offsets."""

    flat: Batch
    offsets: Tensor

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Positions of each row."""
        return self.offsets.diff()

    def with_targets(self, target_N: Tensor) -> "Encoded":
        """The same rows with other targets."""
        return replace(self, flat=replace(self.flat, target_BL=target_N))

    def pad(self, rows: Tensor) -> Batch:
        """The chosen rows side by side, padded on the right to the longest."""
        kept = self.offsets[rows + 1] - self.offsets[rows]
        position_L = torch.arange(int(kept.max()))
        valid_BL = position_L < kept[:, None]
        index_BL = torch.where(valid_BL, self.offsets[rows, None] + position_L, 0)

        def gather(flat: Tensor) -> Tensor:
            found = flat[index_BL]
            return found * valid_BL.view(*valid_BL.shape, *[1] * (found.dim() - 2))

        return self.flat.map(gather)


@dataclass(frozen=True)
class Items:
    """Titles as tensors: index of the id embedding and the facts that enter the item tower."""

    title_I: Tensor  # int64
    tokens: dict[str, Tensor]  # column -> indices (I,), or (I, G) where a title has several
    dated_IWC: Tensor | None = None  # `dated_facts` of W weeks; None for a model without them

    def in_week(self, vector_ID: Tensor) -> Tensor:
        """Output vectors (I, E) followed by the dated facts of the only week, if there are any."""
        if self.dated_IWC is None:
            return vector_ID
        (fact_IC,) = self.dated_IWC.unbind(1)
        return torch.cat([vector_ID, fact_IC.to(vector_ID)], -1)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Items":
        """Apply a function to every tensor, such as one that picks some of the titles."""
        dated = None if self.dated_IWC is None else function(self.dated_IWC)
        return Items(function(self.title_I), {name: function(value) for name, value in self.tokens.items()}, dated)


class FeatureEncoder:
    """Arrow rows to tensors, by a spec and a fitted vocabulary."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary, weeks: Sequence[datetime] = ()) -> None:
        self.spec = spec
        self.vocabulary = vocabulary
        self.weeks = np.array([int(moment.timestamp() * 1_000_000) for moment in weeks], np.int64)

    def encode(self, sequences: Rows) -> Encoded:
        """Encode rows of `sequences`.

        A position is a target if `is_target` holds, it is among the row's `n_new` last ones, and an earlier interaction
        of the row ended before it.

        Raises:
            ValueError: a column is missing, an array is not aligned with the others, or a window was not built.
        """
        offsets = offsets_of(column(sequences, "title_id"))
        if not (np.diff(offsets) > 0).all():
            raise ValueError("a row of sequences holds no interaction")
        self._require_aligned(sequences, offsets)
        position_N = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
        from_end_N = np.repeat(offsets[1:], np.diff(offsets)) - np.arange(offsets[-1])
        n_new_N = np.repeat(column(sequences, "n_new").to_numpy(zero_copy_only=False), np.diff(offsets))
        title_N = self.vocabulary.index("title_id", flat(sequences, "title_id"))
        is_target_N = flat(sequences, "is_target").to_numpy(zero_copy_only=False)
        ended_N = flat(sequences, "end_ts").cast(pa.timestamp("us", "UTC"))
        moment_N = ended_N.cast(pa.int64()).to_numpy()
        known_N = known_before(moment_N, position_N)
        target_N = is_target_N & (from_end_N <= n_new_N) & (known_N > 0)
        seconds_N = moment_N // 1_000_000
        tokens = {
            name: torch.from_numpy(self._tokens(flat(sequences, name), name)) for name in token_columns(self.spec)
        }
        batch = Batch(
            valid_BL=torch.ones(len(title_N), dtype=torch.bool),
            title_BL=torch.from_numpy(title_N),
            first_BL=torch.from_numpy(first_positions(flat(sequences, "title_id"), offsets)),
            tokens=tokens,
            numeric_BLF=torch.from_numpy(self._numbers(sequences, len(title_N))),
            time_BL=torch.from_numpy(seconds_N),
            periodic_BLC=torch.from_numpy(periodic(local_seconds(ended_N, self.spec.zone))),
            gap_BL=torch.from_numpy(gap_buckets(seconds_N, position_N)),
            window={h: _window(sequences, h, len(title_N)) for h in self.spec.windows},
            label={intent.name: self._labels(sequences, intent, tokens) for intent in self.spec.intents},
            weight_BL=torch.from_numpy(flat(sequences, "weight").to_numpy(zero_copy_only=False).astype(np.float32)),
            target_BL=torch.from_numpy(target_N),
            known_BL=torch.from_numpy(known_N),
            state_BLS=torch.from_numpy(self._states(sequences, len(title_N))),
            session_BL=torch.from_numpy(self._sessions(sequences, len(title_N))),
            week_BL=torch.from_numpy(self._weeks(sequences)),
        )
        return Encoded(batch, torch.from_numpy(offsets))

    def _weeks(self, sequences: Rows) -> np.ndarray:
        started_N = flat(sequences, "start_ts").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        return (np.searchsorted(self.weeks, started_N, side="right") - 1).clip(min=0)

    def _states(self, sequences: Rows, n: int) -> np.ndarray:
        if not self.spec.title_state:
            return np.zeros((n, 0), np.float32)
        fraction, finished, listed = (
            flat(sequences, name).to_numpy(zero_copy_only=False)
            for name in ("last_fraction", "last_finished", "listed")
        )
        return np.stack([fraction >= 0, fraction.clip(min=0), finished, listed], -1).astype(np.float32)

    def _sessions(self, sequences: Rows, n: int) -> np.ndarray:
        if not self.spec.next_session:
            return np.zeros(n, np.int64)
        return np.cumsum(flat(sequences, "opens_session").to_numpy(zero_copy_only=False))

    def items(self, titles: Rows) -> Items:
        """Encode a table of titles (`intentrec.model.titles`), in its order."""
        return Items(
            title_I=torch.from_numpy(self.vocabulary.index("title_id", column(titles, "title_id"))),
            tokens={
                name: torch.from_numpy(self._tokens(column(titles, name), name)) for name in self.spec.item_features
            },
        )

    def _tokens(self, values: pa.Array, name: str) -> np.ndarray:
        if pa.types.is_list(values.type):
            return padded(values, self.vocabulary.index(name, values.flatten()), PAD)
        return self.vocabulary.index(name, values)

    def _numbers(self, sequences: Rows, n: int) -> np.ndarray:
        """Two features per column (N, F): log1p, standardised and clipped to 5 deviations, and a flag for unknown."""
        out = np.zeros((n, 2 * len(self.spec.numeric)), np.float32)
        for i, name in enumerate(self.spec.numeric):
            values = flat(sequences, name).to_numpy(zero_copy_only=False)
            mean, std = self.vocabulary.numeric[name]
            known = values >= 0
            standard = (np.log1p(np.where(known, values, 0.0)) - mean) / std
            out[:, 2 * i] = np.where(known, standard.clip(-5, 5), 0.0)
            out[:, 2 * i + 1] = ~known
        return out

    def _labels(self, sequences: Rows, intent: IntentSpec, tokens: dict[str, Tensor]) -> Tensor:
        if intent.bins:
            values = flat(sequences, intent.column).to_numpy(zero_copy_only=False)
            classes = np.searchsorted(np.array(intent.bins), values, side="left").astype(np.int64)
            return torch.from_numpy(np.where(values >= 0, classes, NO_LABEL))[:, None]
        index = tokens[intent.column]
        index_NG = index if index.dim() == 2 else index[:, None]
        return (index_NG - FIRST).clamp(min=NO_LABEL)

    def _require_aligned(self, sequences: Rows, offsets: np.ndarray) -> None:
        used = {*token_columns(self.spec), *self.spec.numeric, "start_ts", "end_ts", "weight", "is_target"}
        used |= {"last_fraction", "last_finished", "listed"} if self.spec.title_state else set()
        used |= {"opens_session"} if self.spec.next_session else set()
        used |= {intent.column for intent in self.spec.intents}
        wrong = [name for name in sorted(used) if not np.array_equal(offsets_of(column(sequences, name)), offsets)]
        if wrong:
            raise ValueError(f"arrays {', '.join(wrong)} are not as long as title_id in every row")


def _window(sequences: Rows, h: str, n: int) -> Tensor:
    starts = map_entry(sequences, "window_start", h).to_numpy(zero_copy_only=False).astype(np.int64)
    if len(starts) != n:
        raise ValueError(f"window_start[{h!r}] is not as long as title_id in every row")
    return torch.from_numpy(starts)


def first_positions(title_ids: pa.Array, offsets: np.ndarray) -> np.ndarray:
    """The position in its row at which each interaction's title occurs first: (N,) int64."""
    title_N = pc.dictionary_encode(title_ids).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    row_N = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    _, first, place_N = np.unique(
        row_N * (title_N.max(initial=0) + 1) + title_N, return_index=True, return_inverse=True
    )
    return first[place_N] - offsets[:-1][row_N]


def known_before(moment_N: np.ndarray, position_N: np.ndarray) -> np.ndarray:
    """How many interactions of the row ended before each one: (N,) int64. Moments never decrease within a row."""
    begins_N = (position_N == 0) | np.append(True, moment_N[1:] != moment_N[:-1])[: len(moment_N)]
    place_N = np.arange(len(moment_N))
    return position_N - (place_N - np.maximum.accumulate(np.where(begins_N, place_N, 0)))


def local_seconds(moments: pa.Array, zone: str) -> np.ndarray:
    """What a clock in the zone shows, as seconds since it showed the start of 1970: (N,) int64.

    Args:
        moments: timestamps in UTC (N,).
        zone: name of a time zone, such as `Europe/London`.
    """
    local = pc.local_timestamp(moments.cast(pa.timestamp("us", zone)))
    return local.cast(pa.int64()).to_numpy() // 1_000_000


def periodic(seconds_N: np.ndarray) -> np.ndarray:
    """Sine and cosine of the hour of the day and the day of the week: (N, C) float32.

    Args:
        seconds_N: local times, as `local_seconds` returns them.
    """
    angles = [
        2 * np.pi * h * (seconds_N % period) / period for period, harmonics in PERIODS for h in range(1, harmonics + 1)
    ]
    return np.stack([f(angle) for angle in angles for f in (np.sin, np.cos)], -1).astype(np.float32)


def gap_buckets(seconds_N: np.ndarray, position_N: np.ndarray) -> np.ndarray:
    """1 + floor(log2(1 + seconds since the interaction before)); 0 at a row's first position."""
    gap_N = np.diff(seconds_N, prepend=seconds_N[:1]).clip(min=0)
    bucket_N = 1 + np.floor(np.log2(1 + gap_N)).astype(np.int64)
    return np.where(position_N == 0, 0, bucket_N.clip(max=TIME_BUCKETS - 1))
