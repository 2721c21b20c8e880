"""Figures 6 and 7 of the paper: clusters of intent embeddings by name, and where the attention of their users goes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.labels import cluster_name, common_labels

SHOWN = 1000  # users in the map; t-SNE takes seconds for as many


def draw_profiles(
    sequences: pa.RecordBatch,
    embedding_UP: NDArray,
    attention_UM: NDArray,
    cluster_U: NDArray[np.integer],
    names: Sequence[str],
    intents: Sequence[Intent],
    folder: Path,
    prefix: str = "",
) -> None:
    """Write `intent_clusters.png` (Figure 6) and `attention.png` (Figure 7) below `folder`.

    Args:
        sequences: a row per user, in the order of the arrays.
        embedding_UP: Z of each user.
        attention_UM: weight of each intent, in the order of `names`.
        cluster_U: cluster of each user.
        names: of the model's intents.
        intents: of the domain; their labels name the clusters.
        folder: exists.
        prefix: of the files' names.
    """
    import matplotlib

    matplotlib.use("Agg")
    if len(embedding_UP) < 3:  # no map of two
        return
    commons = common_labels(sequences, cluster_U, intents)
    sizes = np.bincount(cluster_U, minlength=len(commons))
    labels = [f"{k}: {cluster_name(common)} ({sizes[k]} users)" for k, common in enumerate(commons)]
    _clusters(embedding_UP[:SHOWN], cluster_U[:SHOWN], labels, folder / f"{prefix}intent_clusters.png")
    _attention(attention_UM, cluster_U, names, labels, folder / f"{prefix}attention.png")


def _clusters(embedding_UP: NDArray, cluster_U: NDArray[np.integer], labels: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        perplexity = min(30.0, max(1.0, (len(embedding_UP) - 1) / 3))
        place_U2 = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(embedding_UP)
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    for k, label in enumerate(labels):
        axes.scatter(place_U2[cluster_U == k, 0], place_U2[cluster_U == k, 1], s=9, color=f"C{k % 10}", label=label)
    axes.set(xticks=[], yticks=[], title=f"Intent embeddings (t-SNE) of {len(place_U2):,} users, by cluster")
    figure.legend(frameon=False, fontsize=8, loc="outside right upper", markerscale=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _attention(
    attention_UM: NDArray, cluster_U: NDArray[np.integer], names: Sequence[str], labels: Sequence[str], path: Path
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 1.5 + 0.4 * len(labels)), layout="constrained")
    spread, profile = figure.subplots(1, 2, width_ratios=(1, 1.4))
    spread.boxplot(list(attention_UM.T), whis=(1, 99), showfliers=False)
    spread.set_xticks(range(1, len(names) + 1), names)
    spread.set(ylabel="attention weight", title="Users (box: quartiles, whiskers: 1 % to 99 %)")
    mean_KM = np.stack([attention_UM[cluster_U == k].mean(axis=0) for k in range(len(labels))])
    shown = profile.imshow(mean_KM, aspect="auto", cmap="Blues", vmin=0)
    profile.set_xticks(range(len(names)), names)
    profile.set_yticks(range(len(labels)), labels, fontsize=7)
    profile.set(title="Mean by cluster")
    for k, m in np.ndindex(*mean_KM.shape):
        colour = "white" if mean_KM[k, m] > 0.6 * mean_KM.max() else "black"
        profile.text(m, k, f"{mean_KM[k, m]:.2f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(shown, ax=profile)
    figure.savefig(path, dpi=110, metadata={"Software": None})
