"""`published.json` and `published.md`: what was measured, beside what was published."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lab.benchmarks.blocks import BLOCKS, Block

Rows = list[dict[str, Any]]


def write(folder: Path, name: str, row: dict[str, Any]) -> None:
    """Add a measurement of block `name`, in place of an earlier one of the same system and seed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "published.json"
    results: dict[str, Rows] = json.loads(path.read_text()) if path.exists() else {}
    kept = [old for old in results.get(name, []) if (old["system"], old["seed"]) != (row["system"], row["seed"])]
    results[name] = sorted([*kept, row], key=lambda each: (each["system"], each["seed"]))
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    (folder / "published.md").write_text(text(results))


def text(results: dict[str, Rows]) -> str:
    """Markdown of all blocks that were measured."""
    head = (
        "# Published figures\n\nMeasured by `python -m lab.benchmarks.published BLOCK --data DIR`, which writes this "
        "page and `published.json` (settings, epochs, seeds, commits). Mean over seeds, and the standard deviation "
        "where there are several."
    )
    return "\n\n".join([head, *(_block(BLOCKS[name], rows) for name, rows in sorted(results.items()))]) + "\n"


def _block(block: Block, rows: Rows) -> str:
    systems: dict[str, Rows] = {}
    for row in rows:
        systems.setdefault(row["system"], []).append(row)
    first = next(iter(block.candidates))
    parts = [f"## {block.title}", block.protocol, _verdict(block, systems, first)]
    names = list(block.published)
    for against in block.candidates:
        published = [f"**{value:.4f}**" for value in block.published.values()] if against == first else []
        lines = [
            f"| {against} | seeds | {' | '.join(names)} | epochs | seconds per epoch |",
            "|---" * (4 + len(names)) + "|",
        ]
        if published:
            lines.append(f"| published | | {' | '.join(published)} | | |")
        order = sorted(systems, key=lambda system: -_mean(systems[system], against, names[0]))
        lines += [_line(system, systems[system], against, names) for system in order]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(system: str, rows: Rows, against: str, names: list[str]) -> str:
    cells = [_spread([row["metrics"][against][name] for row in rows], 4) for name in names]
    trained = [row for row in rows if "epochs" in row]
    epochs = " / ".join(str(row["epochs"]) for row in trained)
    seconds = f"{mean(row['seconds_per_epoch'] for row in trained):.1f}" if trained else ""
    return f"| {system} | {len(rows)} | {' | '.join(cells)} | {epochs} | {seconds} |"


def _verdict(block: Block, systems: dict[str, Rows], against: str) -> str:
    """Whether the published figures were reached, and by how much not."""
    trained = {name: rows for name, rows in systems.items() if "epochs" in rows[0]}
    if block.system != "best":
        trained = {name: rows for name, rows in trained.items() if name == block.system}
    if not trained:
        return "Not measured yet."
    chosen = max(trained, key=lambda system: [_mean(trained[system], against, metric) for metric in block.published])
    said = []
    for name, published in block.published.items():
        found = _mean(trained[chosen], against, name)
        word = "reached" if found >= published else "missed"
        said.append(f"{name} {found:.4f} against {published:.4f}: {word}, {found - published:+.4f}")
    of = f", the best of {len(trained)}" if block.system == "best" else ""
    return f"{chosen}{of}: {'; '.join(said)}."


def _mean(rows: Rows, against: str, metric: str) -> float:
    return mean(row["metrics"][against][metric] for row in rows)


def _spread(values: list[float], digits: int) -> str:
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")
