"""What users of one cluster of intent embeddings have in common (Figure 6): labels that they have more than others."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.labels import Labels

RECENT = 10  # interactions of a user that say what the user is about
SHARE = 0.1  # of a cluster's interactions: what is rarer names nobody
LIFT = 1.2  # what is hardly more frequent than among everyone names nobody either


@dataclass(frozen=True)
class Common:
    """A label's share of the interactions of a cluster's users, and how many times everyone's that is."""

    intent: str
    label: str
    share: float
    lift: float

    def __str__(self) -> str:
        return f"{self.label} x{self.lift:.1f}"


def in_common(
    sequences: pa.RecordBatch, cluster_U: NDArray[np.integer], intents: Iterable[Intent]
) -> list[list[Common]]:
    """Per cluster the over-represented labels of its users' last interactions, the largest lift first.

    Args:
        sequences: a row per user.
        cluster_U: number of each user's cluster, from 0.
        intents: whose labels are compared.
    """
    lengths = pc.list_value_length(sequences.column(sequences.schema.get_field_index("title_id")))
    lengths_U = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    user_of = np.repeat(np.arange(len(lengths_U)), lengths_U)
    to_end = np.cumsum(lengths_U)[user_of] - np.arange(len(user_of))
    count = int(cluster_U.max(initial=-1)) + 1
    found: list[list[Common]] = [[] for _ in range(count)]
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
            found[k].append(Common(intent.name, names[c], float(share_KC[k, c]), float(lift_KC[k, c])))
    return [sorted(each, key=lambda common: -common.lift) for each in found]


def name_of(common: Iterable[Common], words: int = 3) -> str:
    """A cluster's name: its first labels."""
    return ", ".join(str(each) for each in list(common)[:words]) or "like everyone"
