"""Token to index, and statistics of numeric columns. Fitted on training data only, and saved with the model.

Shape suffixes: N interactions of all rows in a line.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intentrec.model.arrow import Rows, column, flat
from intentrec.model.spec import IntentSpec, ModelSpec

PAD, OOV = 0, 1
FIRST = 2  # index of the first token


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their indices, from 2. Index 0 is padding, and 1 is any token the vocabulary lacks.

    Titles that training learns from come first, then those of the catalogue or of validation alone. Both parts, and
    every other list, are sorted, so that the same data give the same indices. The empty text stands for an unknown fact
    and is never a token.
    """

    titles: tuple[str, ...]
    n_seen: int  # titles that training learns from
    tokens: dict[str, tuple[str, ...]]  # column -> tokens
    numeric: dict[str, tuple[float, float]]  # column -> mean and standard deviation of log(1 + x)

    def index(self, name: str, values: pa.Array) -> np.ndarray:
        """Indices of tokens of a column (`title_id` or one of `tokens`): int64, OOV where unknown."""
        known = self.titles if name == "title_id" else self.tokens[name]
        found = pc.index_in(values, value_set=pa.array(known, values.type))
        return pc.fill_null(found, OOV - FIRST).to_numpy(zero_copy_only=False).astype(np.int64) + FIRST

    def size(self, name: str) -> int:
        """Rows of an embedding table of the column."""
        return FIRST + len(self.titles if name == "title_id" else self.tokens[name])

    def labels(self, intent: IntentSpec) -> tuple[str, ...]:
        """The intent's classes, in the order of its head's outputs."""
        return intent.labels or self.tokens[intent.column]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"titles": self.titles, "n_seen": self.n_seen, "tokens": self.tokens, "numeric": self.numeric}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Vocabulary":
        """The inverse of `to_dict`, also after a trip through JSON."""
        return cls(
            titles=tuple(value["titles"]),
            n_seen=value["n_seen"],
            tokens={name: tuple(tokens) for name, tokens in value["tokens"].items()},
            numeric={name: (mean, std) for name, (mean, std) in value["numeric"].items()},
        )


class Tally:
    """Gathers a vocabulary from any number of parts of the sequences, in memory of the vocabulary's size."""

    def __init__(self, spec: ModelSpec) -> None:
        self._seen: set[str] = set()
        self._named: set[str] = set()
        self._tokens: dict[str, set[str]] = {name: set() for name in token_columns(spec)}
        # Columns that are cut into classes -> whether any value is known.
        self._binned = {intent.column: False for intent in spec.intents if intent.bins}
        # Per numeric column, of log(1 + x) over known values: how many, their mean, squared distances to it.
        self._logs: dict[str, tuple[int, float, float]] = dict.fromkeys(spec.numeric, (0, 0.0, 0.0))

    def add(self, sequences: Rows, learned: pa.Array | None = None) -> None:
        """Take in rows of `sequences`.

        Args:
            sequences: rows of the table.
            learned: whether training learns from each interaction, bool (N,), all rows in a line; default: all. From
                the other interactions only titles are taken, so that they get an index.

        Raises:
            ValueError: a column that the spec names is missing.
        """

        def values(name: str) -> pa.Array:
            return flat(sequences, name) if learned is None else flat(sequences, name).filter(learned)

        self._seen |= _tokens(values("title_id"))
        self._named |= _tokens(flat(sequences, "title_id"))
        for name, tokens in self._tokens.items():
            tokens |= _tokens(_leaves(values(name)))
        for name in self._binned:
            self._binned[name] |= bool(pc.any(pc.greater_equal(values(name), 0.0)).as_py())
        for name, (count, mean, squares) in self._logs.items():
            numbers = values(name).to_numpy(zero_copy_only=False)
            logs = np.log1p(numbers[numbers >= 0])  # negative means unknown
            if len(logs):
                total, difference = count + len(logs), float(logs.mean()) - mean
                squares += float(logs.var()) * len(logs) + difference**2 * count * len(logs) / total
                self._logs[name] = total, mean + difference * len(logs) / total, squares

    def labelled(self, intent: IntentSpec) -> bool:
        """Whether any interaction that training learns from has a label of the intent."""
        return self._binned[intent.column] if intent.bins else bool(self._tokens[intent.column])

    def vocabulary(self, titles: Rows) -> Vocabulary:
        """The vocabulary of all added rows and of the catalogue's titles."""
        named = self._named | _tokens(column(titles, "title_id"))
        return Vocabulary(
            titles=(*sorted(self._seen), *sorted(named - self._seen)),
            n_seen=len(self._seen),
            tokens={name: tuple(sorted(tokens)) for name, tokens in self._tokens.items()},
            numeric={
                name: (mean, math.sqrt(squares / count) if squares else 1.0)
                for name, (count, mean, squares) in self._logs.items()
            },
        )


def token_columns(spec: ModelSpec) -> list[str]:
    """Columns that need a token list: inputs, facts of the item tower, categorical intents."""
    labels = [intent.column for intent in spec.intents if not intent.bins]
    return sorted({*spec.categorical, *spec.multi_label, *spec.item_features, *labels})


def _leaves(values: pa.Array) -> pa.Array:
    return values.flatten() if pa.types.is_list(values.type) else values


def _tokens(values: pa.Array) -> set[str]:
    return {token for token in pc.unique(values).to_pylist() if token}
