"""A preview of changed rules: made from the stored events, shown on a terminal, and nothing written."""

from intentrec.contracts import INTERACTIONS
from intentrec.interactions import rules
from intentrec.interactions.preview import Shift, shift
from intentrec.local.terminal import console, grid
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse
from jobs.build_interactions import build_from


def preview(warehouse: Warehouse, config: str) -> Shift:
    """Compare the stored interactions of the run's weeks with what the run's domain would make of the same events.

    Raises:
        ConfigError: a rule is wrong; names file and key.
        PipelineError: the weeks were not built yet.
    """
    run = warehouse.run
    rules.check(warehouse.spark, run.domain, config)
    _, built = build_from(warehouse, config)
    return shift(warehouse.read(INTERACTIONS, run.start, run.end), built.interactions)


def show(found: Shift, run: Run) -> None:
    """Print how changed rules shift the labels: shares, then where they go."""
    before, after = found.before, found.after
    title = f"{run.domain.domain} [{run.start}, {run.end}): action types"
    shares = grid(title, "label", "stored", "share", "tried", "share", "shift")
    for label in sorted(before.keys() | after.keys(), key=lambda name: (-before[name], name)):
        then, now = before[label] / max(1, before.total()), after[label] / max(1, after.total())
        shares.add_row(
            label, f"{before[label]:,}", f"{then:.1%}", f"{after[label]:,}", f"{now:.1%}", f"{100 * (now - then):+.1f}"
        )
    console.print(shares)
    moved = {pair: count for pair, count in found.labels.items() if pair[0] != pair[1]}
    if not moved:
        console.print("No interaction would get another label.")
    else:
        table = grid("Interactions that change", "from", "to", "rows")
        for (then_label, now_label), count in sorted(moved.items(), key=lambda item: -item[1]):
            table.add_row(then_label, now_label, f"{count:,}")
        console.print(table)
    gained, lost = found.targets.get((False, True), 0), found.targets.get((True, False), 0)
    console.print(f"Targets: {gained:,} gained, {lost:,} lost. Nothing was written.")
