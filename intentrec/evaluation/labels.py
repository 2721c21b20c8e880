"""Intent labels of interactions as the domain file defines them, straight from `sequences` columns.

Independent of the model's own encoder on purpose: an encoder that mislabels must lose accuracy here.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intentrec.config import Intent
from intentrec.evaluation.metrics import Ints


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
