"""Clusters of users by predicted intent (section 4.4 of the paper): k-means++ on intent embeddings.

They are fitted once per model, on users of its training data, and travel with it: a cluster number then means the same
in every release of that model, whichever week is published first.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SAMPLE = 20_000


def sample(sequences: pa.Table, limit: int = SAMPLE) -> pa.Table:
    """At most `limit` rows, those with the smallest hash of the user: bounded, and the same whatever the order."""
    users = sequences["user_id"].to_pylist()
    order = sorted(range(len(users)), key=lambda row: (hashlib.blake2b(users[row].encode()).digest(), users[row]))
    return sequences.take(pa.array(order[:limit], pa.int64()))


def fit(embeddings_UD: NDArray, clusters: int, seed: int) -> NDArray:
    """Centres [clusters, D], the largest cluster first. Fewer users than clusters make fewer clusters."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    distinct = len(np.unique(embeddings_UD, axis=0))
    # Threads would add up the centres in an order that differs from run to run.
    with threadpool_limits(1):
        fitted = KMeans(min(clusters, distinct), init="k-means++", n_init=4, random_state=seed).fit(embeddings_UD)
    sizes = np.bincount(fitted.labels_, minlength=len(fitted.cluster_centers_))
    return fitted.cluster_centers_[np.argsort(-sizes, kind="stable")].astype(np.float32)


def assign(embeddings_UD: NDArray, centres_KD: NDArray) -> NDArray[np.int32]:
    """Number of the nearest centre of each embedding; of equals the first."""
    distances = [((embeddings_UD - centre) ** 2).sum(axis=1) for centre in centres_KD]
    return np.argmin(np.stack(distances, axis=1), axis=1).astype(np.int32)


def save(centres_KD: NDArray, path: Path) -> None:
    """Write as JSON."""
    path.write_text(json.dumps({"centres": centres_KD.tolist()}), encoding="utf-8")


def load(text: str | bytes) -> NDArray:
    """The inverse of `save`, from the file's content."""
    return np.asarray(json.loads(text)["centres"], dtype=np.float32)
