"""A preview of rules on a terminal."""

from datetime import date

from intentrec.config import Domain
from intentrec.interactions.preview import Shift
from intentrec.operate.terminal import console, grid


def rules_preview(domain: Domain, found: Shift, start: date, end: date) -> None:
    """Print how changed rules shift the labels: shares, then where they go."""
    before, after = found.before, found.after
    shares = grid(
        f"{domain.domain} [{start}, {end}): action types", "label", "stored", "share", "tried", "share", "shift"
    )
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
