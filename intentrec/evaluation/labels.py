"""Intent labels of interactions as the domain file defines them, read from the columns of `sequences`.

They do not use the model's encoder: if it mislabels, accuracy must fall. Clusters of users are named by the same
labels.

Shape suffixes: U users, K clusters, C labels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.candidates import row_lengths
from intentrec.evaluation.metrics import Ints

RECENT = 10  # last interactions of a user that describe the user
SHARE = 0.1  # least share of a cluster's interactions of a label that names it
LIFT = 1.2  # least lift of a label that names a cluster
NAMED = 3  # labels in a cluster's name


@dataclass(frozen=True)
class Labels:
    """Pairs: interaction `at[i]` (its place in the flattened batch, ascending) carries label `names[i]`.

    An interaction may carry several labels, or none where the fact is unknown.
    """

    at: Ints
    names: pa.Array

    @classmethod
    def of(cls, sequences: pa.RecordBatch, intent: Intent) -> "Labels":
        """The intent's labels of every interaction of the rows."""
        values = sequences.column(sequences.schema.get_field_index(intent.column)).flatten()
        if intent.multi_label:
            lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
            at, names = np.repeat(np.arange(len(values)), lengths), values.flatten()
        elif intent.bins:
            numbers = values.to_numpy(zero_copy_only=False)
            at = np.arange(len(values))
            classes = np.searchsorted(np.asarray(intent.bins), numbers, side="left")
            names = pa.array(np.asarray(intent.labels, dtype=object)[classes], pa.string())
            known = numbers >= 0
            return cls(at[known], names.filter(pa.array(known)))
        else:
            at, names = np.arange(len(values)), values
        known = pc.not_equal(names, "")
        return cls(at[known.to_numpy(zero_copy_only=False)], names.filter(known).cast(pa.string()))

    def select(self, flat: Ints) -> "Labels":
        """Only the interactions `flat` (ascending places, each once); `at` then counts within `flat`."""
        place = np.searchsorted(flat, self.at)
        inside = np.isin(self.at, flat)
        return Labels(place[inside], self.names.filter(pa.array(inside)))

    def first(self, flat: Ints) -> pa.Array:
        """The first label of each interaction `flat`, null where there is none. Places may repeat."""
        found = np.searchsorted(self.at, flat)
        known = found < len(self.at)
        known[known] = self.at[found[known]] == flat[known]
        return self.names.take(pa.array(found, pa.int64(), mask=~known))


@dataclass(frozen=True)
class CommonLabel:
    """A label's share of the interactions of a cluster's users, and its lift over everyone's share."""

    intent: str
    label: str
    share: float
    lift: float

    def __str__(self) -> str:
        return f"{self.label} x{self.lift:.1f}"


def common_labels(
    sequences: pa.RecordBatch, cluster_U: NDArray[np.integer], intents: Iterable[Intent]
) -> list[list[CommonLabel]]:
    """Per cluster the over-represented labels of its users' last interactions, the largest lift first (Figure 6).

    Args:
        sequences: one row per user.
        cluster_U: number of each user's cluster, from 0.
        intents: whose labels are compared.
    """
    lengths_U = row_lengths(sequences)
    user_of = np.repeat(np.arange(len(lengths_U)), lengths_U)
    to_end = np.cumsum(lengths_U)[user_of] - np.arange(len(user_of))
    count = int(cluster_U.max(initial=-1)) + 1
    found: list[list[CommonLabel]] = [[] for _ in range(count)]
    for intent in intents:
        labels = Labels.of(sequences, intent)
        recent = to_end[labels.at] <= RECENT
        coded = pc.dictionary_encode(labels.names.filter(pa.array(recent)))
        names = coded.dictionary.to_pylist()
        times_KC = np.zeros((count, len(names)))
        np.add.at(times_KC, (cluster_U[user_of[labels.at[recent]]], coded.indices.to_numpy(zero_copy_only=False)), 1)
        share_KC = times_KC / np.maximum(times_KC.sum(axis=1, keepdims=True), 1)
        lift_KC = share_KC / np.maximum(times_KC.sum(axis=0) / max(times_KC.sum(), 1), 1e-12)
        for k, c in zip(*np.nonzero((share_KC >= SHARE) & (lift_KC >= LIFT)), strict=True):
            found[k].append(CommonLabel(intent.name, names[c], float(share_KC[k, c]), float(lift_KC[k, c])))
    return [sorted(each, key=lambda common: -common.lift) for each in found]


def cluster_name(common: Iterable[CommonLabel]) -> str:
    """A cluster's name: its first NAMED labels."""
    return ", ".join(str(each) for each in list(common)[:NAMED]) or "like everyone"
