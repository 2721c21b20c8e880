"""A registered model at work on a snapshot: what batch publication, the registry's pyfunc and a test all call."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.inference import clusters
from intentrec.inference.predictor import PREDICTIONS, ItemIndex, Predictor
from intentrec.training.checkpoint import read_model

CLUSTERS = "clusters.json"
SCORED = PREDICTIONS.append(pa.field("cluster", pa.int32()))


def read_files(artifacts: Path) -> dict[str, bytes]:
    """All files of a registered model by name: the model directory's and the cluster centres."""
    return {**read_model(artifacts / "model"), CLUSTERS: (artifacts / CLUSTERS).read_bytes()}


class Scorer:
    """A model with its clusters and the titles offered on a date."""

    def __init__(self, files: Mapping[str, bytes], catalog: pa.Table, as_of: date) -> None:
        self.predictor = Predictor.from_bytes({name: data for name, data in files.items() if name != CLUSTERS})
        self.centres_KD: NDArray = clusters.load(files[CLUSTERS])
        self.items: ItemIndex = self.predictor.items(catalog, as_of)

    def score(
        self, sequences: pa.RecordBatch, top_k: int, seen_titles: bool = True, top_labels: int = 3
    ) -> pa.RecordBatch:
        """A row per row of `sequences`, schema SCORED: predictions and the cluster of the intent embedding."""
        found = self.predictor.predict(sequences, self.items, top_k, not seen_titles, top_labels)
        column = found.column(found.schema.get_field_index("intent_embedding"))
        embeddings = column.flatten().to_numpy(zero_copy_only=False).reshape(len(found), -1)
        assigned = clusters.assign(embeddings, self.centres_KD) if len(found) else np.empty(0, np.int32)
        return pa.RecordBatch.from_arrays([*found.columns, pa.array(assigned, pa.int32())], schema=SCORED)
