"""Pictures of a training run: its loss curves, and its intents beside their naive baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from intentrec.evaluation.metrics import Result
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES


def draw(
    history: Mapping[str, Sequence[Mapping[str, float]]],
    results: Mapping[str, Result],
    intents: Sequence[str],
    folder: Path,
) -> None:
    """Write PNGs below `folder`; `history` holds the epochs of each trained model by name."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    _curves(history, folder / "training.png")
    _intents(results, intents, folder / "intents.png")
    _systems(results, folder / "week_ahead.png")


def _curves(history: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
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
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _intents(results: Mapping[str, Result], intents: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    systems = ("challenger", *INTENT_NAIVE_BASELINES)
    for place, system in enumerate(systems):
        values = [results[system].metrics.get(f"intent_{intent}_accuracy", 0.0) for intent in intents]
        axes.bar([x + 0.27 * (place - 1) for x in range(len(intents))], values, 0.25, label=system)
    axes.set_xticks(range(len(intents)), intents)
    axes.set(ylabel="accuracy on next events", ylim=(0, 1))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _systems(results: Mapping[str, Result], path: Path) -> None:
    from matplotlib.figure import Figure

    rows = {name: result.metrics["ndcg_at_10"] for name, result in results.items() if "ndcg_at_10" in result.metrics}
    names = sorted(rows, key=lambda name: rows[name])
    figure = Figure(figsize=(7, 0.6 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, [rows[name] for name in names])
    axes.bar_label(bars, fmt="%.4f", padding=3)
    axes.set(xlabel="NDCG@10, week ahead")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
