"""Pictures of a training as PNG files: loss curves, metrics beside naive baselines, clusters of intent embeddings.

Shape suffixes: U users, P width of the intent embedding, M intents, K clusters.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.labels import cluster_name, common_labels
from intentrec.evaluation.metrics import Result
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 1000  # users in the map of clusters; t-SNE takes seconds for them


def draw(
    history: Mapping[str, Sequence[Mapping[str, float]]],
    results: Mapping[str, Result],
    intents: Sequence[str],
    folder: Path,
) -> None:
    """Write `training.png`, `intents.png` and `week_ahead.png` below `folder`, which is made.

    Args:
        history: the epochs of each trained model, by its name: `train_item` and `val_item` (losses), `val_mrr`.
        results: metrics by system; the challenger and the naive baselines for intents are among them.
        intents: names of the model's intents.
        folder: of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save(curves(history), folder / "training.png")
    _save(intent_accuracy(results, intents), folder / "intents.png")
    _save(systems(results), folder / "week_ahead.png")


def draw_profiles(
    sequences: pa.RecordBatch,
    embedding_UP: NDArray,
    attention_UM: NDArray,
    cluster_U: NDArray[np.integer],
    names: Sequence[str],
    intents: Sequence[Intent],
    folder: Path,
) -> None:
    """Write `intent_clusters.png` (Figure 6 of the paper) and `attention.png` (Figure 7).

    Nothing is written where fewer than three users differ.

    Args:
        sequences: a row per user, in the order of the arrays.
        embedding_UP: Z of each user.
        attention_UM: weight of each intent, in the order of `names`.
        cluster_U: cluster of each user.
        names: of the model's intents.
        intents: of the domain; their labels name the clusters.
        folder: exists.
    """
    if len(np.unique(embedding_UP, axis=0)) < 3:  # t-SNE needs three
        return
    commons = common_labels(sequences, cluster_U, intents)
    sizes = np.bincount(cluster_U, minlength=len(commons))
    labels = [f"{k}: {cluster_name(common)} ({sizes[k]} users)" for k, common in enumerate(commons)]
    _save(clusters(embedding_UP[:SHOWN], cluster_U[:SHOWN], labels), folder / "intent_clusters.png")
    _save(attention(attention_UM, cluster_U, names, labels), folder / "attention.png")


def curves(history: Mapping[str, Sequence[Mapping[str, float]]]) -> "Figure":
    """Losses and the validation MRR by epoch, a colour per model."""
    figure = _figure(10, 4)
    loss, quality = figure.subplots(1, 2)
    for name, epochs in history.items():
        x = range(1, len(epochs) + 1)
        (line,) = loss.plot(x, [epoch["train_item"] for epoch in epochs], "--", label=f"{name}, training")
        colour = line.get_color()
        loss.plot(x, [epoch["val_item"] for epoch in epochs], color=colour, label=f"{name}, validation")
        quality.plot(x, [epoch["val_mrr"] for epoch in epochs], color=colour, label=name)
    loss.set(xlabel="epoch", ylabel="loss of the next item (Eq. 3)")
    quality.set(xlabel="epoch", ylabel="MRR on the validation days")
    for axes in (loss, quality):
        axes.legend(frameon=False)
        _hide_frame(axes)
    return figure


def intent_accuracy(results: Mapping[str, Result], intents: Sequence[str]) -> "Figure":
    """Accuracy of every intent on next events, beside the naive baselines."""
    figure = _figure(7, 3.5)
    axes = figure.subplots()
    for place, system in enumerate(("challenger", *INTENT_NAIVE_BASELINES)):
        values = [results[system].metrics.get(f"intent_{intent}_accuracy", 0.0) for intent in intents]
        axes.bar([x + 0.27 * (place - 1) for x in range(len(intents))], values, 0.25, label=system)
    axes.set_xticks(range(len(intents)), [_escaped(intent) for intent in intents])
    axes.set(ylabel="accuracy on next events", ylim=(0, 1))
    axes.legend(frameon=False)
    _hide_frame(axes)
    return figure


def systems(results: Mapping[str, Result]) -> "Figure":
    """NDCG@10 of the week ahead for every system that has it."""
    rows = {name: result.metrics["ndcg_at_10"] for name, result in results.items() if "ndcg_at_10" in result.metrics}
    names = sorted(rows, key=lambda name: rows[name])
    figure = _figure(7, 0.6 + 0.4 * len(names))
    axes = figure.subplots()
    bars = axes.barh(names, [rows[name] for name in names])
    axes.bar_label(bars, fmt="%.4f", padding=3)
    axes.set(xlabel="NDCG@10, week ahead")
    _hide_frame(axes)
    return figure


def clusters(embedding_UP: NDArray, cluster_U: NDArray[np.integer], labels: Sequence[str]) -> "Figure":
    """A t-SNE map of intent embeddings, coloured by cluster. At least three users; `labels` holds one per cluster."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        perplexity = min(30.0, max(1.0, (len(embedding_UP) - 1) / 3))
        place_U2 = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(embedding_UP)
    figure = _figure(11, 5.5)
    axes = figure.subplots()
    for k, label in enumerate(labels):
        mine = place_U2[cluster_U == k]
        axes.scatter(mine[:, 0], mine[:, 1], s=9, color=f"C{k % 10}", label=_escaped(label))
    axes.set(xticks=[], yticks=[], title=f"Intent embeddings (t-SNE) of {len(place_U2):,} users, by cluster")
    figure.legend(frameon=False, fontsize=8, loc="outside right upper", markerscale=2)
    return figure


def attention(
    attention_UM: NDArray, cluster_U: NDArray[np.integer], names: Sequence[str], labels: Sequence[str]
) -> "Figure":
    """Attention weights of users by intent, and their means by cluster; `labels` holds one text per cluster."""
    figure = _figure(12, 1.5 + 0.4 * len(labels))
    spread, profile = figure.subplots(1, 2, width_ratios=(1, 1.4))
    spread.boxplot(list(attention_UM.T), whis=(1, 99), showfliers=False)
    spread.set_xticks(range(1, len(names) + 1), [_escaped(name) for name in names])
    spread.set(ylabel="attention weight", title="Users (box: quartiles, whiskers: 1 % to 99 %)")
    mean_KM = np.stack([attention_UM[cluster_U == k].mean(axis=0) for k in range(len(labels))])
    shown = profile.imshow(mean_KM, aspect="auto", cmap="Blues", vmin=0)
    profile.set_xticks(range(len(names)), [_escaped(name) for name in names])
    profile.set_yticks(range(len(labels)), [_escaped(label) for label in labels], fontsize=7)
    profile.set(title="Mean by cluster")
    for k, m in np.ndindex(*mean_KM.shape):
        colour = "white" if mean_KM[k, m] > 0.6 * mean_KM.max() else "black"
        profile.text(m, k, f"{mean_KM[k, m]:.2f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(shown, ax=profile)
    return figure


def _figure(width: float, height: float) -> "Figure":
    """An empty figure; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _hide_frame(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _escaped(text: str) -> str:
    """The text with escaped dollar signs, between which matplotlib would read a formula."""
    return text.replace("$", r"\$")


def _save(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
