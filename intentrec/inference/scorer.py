"""A registered model on a snapshot: predictions, cluster of the intent embedding, and distinctive intent of each user.

Batch publication, the registry's pyfunc and the review page all call `Scorer`.

Clusters of users by predicted intent (section 4.4 of the paper) come from k-means++ on intent embeddings. They are
fitted once per model, on users of its training data, and stored with it. A cluster number therefore means the same in
every release of that model.

Shape suffixes: U users, P width of the intent embedding, M intents, K clusters.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.inference.distinctive import Typical
from intentrec.inference.lists import Lists
from intentrec.inference.predictor import PREDICTIONS, ItemIndex, Predictor
from intentrec.training.checkpoint import read_model

CLUSTERS, TYPICAL = "clusters.json", "typical.json"
SCORED = PREDICTIONS.append(pa.field("cluster", pa.int32()))
SAMPLE = 20_000  # users on which clusters are fitted, at most


class Scorer:
    """A model with its clusters and the titles on offer on a date."""

    def __init__(self, files: Mapping[str, bytes], catalog: pa.Table, title_facts: pa.Table, as_of: date) -> None:
        self.predictor = Predictor({name: data for name, data in files.items() if name not in (CLUSTERS, TYPICAL)})
        self.centres_KP: NDArray[np.float32] = load_clusters(files[CLUSTERS])
        if TYPICAL in files:  # models of before it was made have none
            self.predictor.typical = Typical.load(files[TYPICAL])
        self.items: ItemIndex = self.predictor.items(catalog, title_facts, as_of)

    def score(
        self,
        sequences: pa.RecordBatch,
        top_k: int,
        seen_titles: bool = True,
        top_labels: int = 3,
        known_and_new: bool = False,
        class_lists: int = 0,
    ) -> pa.RecordBatch:
        """One row per row of `sequences`, schema SCORED.

        Args:
            sequences: one row per user; the column `titles.SEEN` has the titles that the user has seen.
            top_k: length of each list of titles.
            seen_titles: whether titles that the user has seen may be recommended.
            top_labels: labels per intent.
            known_and_new: a list of seen titles and one of new titles, of up to `top_k` each.
            class_lists: classes of the lead intent that get a list, the likeliest of each user; conditional variants.

        The code that a model registered earlier brings with it passes the first three.
        """
        lists: Lists = "new" if not seen_titles else "known_and_new" if known_and_new else "all"
        found = self.predictor.predict(sequences, self.items, top_k, lists, top_labels, class_lists)
        assigned = assign_clusters(embeddings(found), self.centres_KP) if len(found) else np.empty(0, np.int32)
        return pa.RecordBatch.from_arrays([*found.columns, pa.array(assigned, pa.int32())], schema=SCORED)


def read_files(artifacts: Path) -> dict[str, bytes]:
    """All files of a registered model by name: those of the model directory, cluster centres and typical intents.

    Raises:
        PipelineError: a file of the model directory is missing.
    """
    beside = {name: artifacts / name for name in (CLUSTERS, TYPICAL)}
    found = {name: path.read_bytes() for name, path in beside.items() if name == CLUSTERS or path.exists()}
    return {**read_model(artifacts / "model"), **found}


def embeddings(predictions: pa.RecordBatch) -> NDArray[np.float32]:
    """The intent embeddings (U, P) of U > 0 predictions."""
    column = predictions.column(predictions.schema.get_field_index("intent_embedding"))
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(predictions), -1)


def attention_weights(predictions: pa.RecordBatch) -> NDArray[np.float32]:
    """The attention weights (U, M) of U > 0 predictions, in the order of the model's intents."""
    maps = predictions.column(predictions.schema.get_field_index("attention"))
    return maps.items.to_numpy(zero_copy_only=False).reshape(len(predictions), -1)


def sample_users(sequences: pa.Table, limit: int = SAMPLE) -> pa.Table:
    """At most `limit` rows, those with the smallest hash of the user: the same whatever their order."""
    users = sequences["user_id"].to_pylist()
    order = sorted(range(len(users)), key=lambda row: (hashlib.blake2b(users[row].encode()).digest(), users[row]))
    return sequences.take(pa.array(order[:limit], pa.int64()))


def fit_clusters(embeddings_UP: NDArray, clusters: int, seed: int) -> NDArray[np.float32]:
    """Centres (K, P), that of the largest cluster first. K is `clusters`, or the number of distinct embeddings."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    distinct = len(np.unique(embeddings_UP, axis=0))
    # Threads would add up the centres in an order that differs from run to run.
    with threadpool_limits(1):
        fitted = KMeans(min(clusters, distinct), init="k-means++", n_init=4, random_state=seed).fit(embeddings_UP)
    sizes = np.bincount(fitted.labels_, minlength=len(fitted.cluster_centers_))
    return fitted.cluster_centers_[np.argsort(-sizes, kind="stable")].astype(np.float32)


def assign_clusters(embeddings_UP: NDArray, centres_KP: NDArray) -> NDArray[np.int32]:
    """Number of the nearest centre of each embedding (U,); of equals the first."""
    distances = [((embeddings_UP - centre) ** 2).sum(axis=1) for centre in centres_KP]
    return np.argmin(np.stack(distances, axis=1), axis=1).astype(np.int32)


def save_clusters(centres_KP: NDArray, path: Path) -> None:
    """Write the centres as JSON."""
    path.write_text(json.dumps({"centres": centres_KP.tolist()}), encoding="utf-8")


def load_clusters(text: str | bytes) -> NDArray[np.float32]:
    """The inverse of `save_clusters`, from the content of the file."""
    return np.asarray(json.loads(text)["centres"], dtype=np.float32)
