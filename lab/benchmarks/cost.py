"""What IntentRec and its baselines cost to train: seconds an epoch and memory, on the tables of the last runs.

    python -m lab.benchmarks.cost --cutoff 2026-09-21

All see the same rows, facts, batches, loss and width. Each has a process of its own, one after the other; writes
lab/results/cost.json and cost.md. How well they predict is no matter here: a few epochs say nothing about it.
"""

import json
import resource
import subprocess
import sys
import tempfile
from datetime import date, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from deltalake import DeltaTable

from intentrec.config import COMPARISON, ROOT, Domain, load_domain, load_profile
from intentrec.contracts import CATALOG, SEQUENCES
from intentrec.model.spec import BASELINES, VARIANTS
from intentrec.sources.simulated import simulated
from intentrec.training.data import open_sequences, read_catalog
from intentrec.training.distributed import set_threads
from intentrec.training.loop import fit
from intentrec.training.prepare import load, prepare
from intentrec.training.spec import with_variant
from lab.benchmarks.machine import code, machine, made_by


def measure(domain: Domain, warehouse: str, cutoff: date, folder: Path) -> dict[str, Any]:
    """Train the domain's system and say what an epoch took, its validation included, and the process at its peak."""
    threads = set_threads()
    versions = [DeltaTable(f"{warehouse}/{table.name}").version() for table in (SEQUENCES, CATALOG)]
    sequences = open_sequences(warehouse, versions[0], cutoff, domain.training.weeks)
    catalog = read_catalog(warehouse, versions[1], cutoff)
    prepare(domain, sequences, catalog, cutoff, folder / "about")
    data = load(folder / "about")
    lines: list[str] = []
    found = fit(domain, sequences, catalog, cutoff, folder / "fit", lines.append)
    seconds = median(row["seconds"] for row in found.history)
    positions = int(data.train.lengths.sum())
    return {
        "system": domain.model.variant,
        "about": lines[0],
        "rows": len(data.train),
        "positions": positions,
        "targets": int(data.asked_I.sum()),
        "titles": len(data.vocabulary.titles),
        "dim": domain.model.dim,
        "seconds_per_epoch": seconds,
        "positions_per_second": positions / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": threads,
    }


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    about, first = results["machine"], results["runs"][0]
    lines = [
        "# What a week's training costs",
        "",
        f"{made_by('python -m lab.benchmarks.cost', results['code'])}: {about['gpu'] or about['processor']}, "
        f"{first['threads']} threads, torch {about['torch']}.",
        "",
        f"Domain {results['domain']}{' (simulated)' if results['simulated'] else ''}, cut-off {results['cutoff']}: "
        f"{first['rows']:,} rows of {first['positions']:,} interactions, {first['targets']:,} targets, "
        f"{first['titles']:,} titles, d = {first['dim']}. All have the same facts. An epoch includes its validation; "
        "the peak is that of the whole process.",
        "",
        "| system | parameters | s an epoch | interactions/s | peak MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for each in results["runs"]:
        parameters = each["about"].split(": ", 1)[1].split(" ", 1)[0]
        lines.append(
            f"| {each['system']} | {parameters} | {each['seconds_per_epoch']:.1f} "
            f"| {each['positions_per_second']:,.0f} | {each['peak_mb']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(
    cutoff: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="service date from which nothing is known")],
    config: Annotated[Path, typer.Option(help="domain whose tables are there")] = ROOT / "conf" / "streaming.yaml",
    epochs: int = 3,
    system: Annotated[list[str], typer.Option()] = [*VARIANTS, *BASELINES],  # noqa: B006
    out: Path = ROOT / "lab" / "results",
    only: Annotated[bool, typer.Option(hidden=True, help="measure the first system here and print it")] = False,
) -> None:
    """Measure every system."""
    domain, profile = load_domain(config), load_profile()
    warehouse = f"{profile.warehouse}/{domain.domain}"
    if only:
        value = domain.model_dump(mode="json")
        value["training"]["epochs"] = epochs
        chosen = with_variant(Domain.model_validate(value, context=COMPARISON), system[0])
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(chosen, warehouse, cutoff.date(), Path(folder))))
        return
    runs = []
    for name in system:
        program = [sys.executable, "-m", "lab.benchmarks.cost", "--only", f"--system={name}", f"--epochs={epochs}"]
        program += [f"--cutoff={cutoff:%Y-%m-%d}", f"--config={config}"]
        done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(f"{name}: {runs[-1]['seconds_per_epoch']:.1f} s an epoch", flush=True)
    results = {
        "code": code(),
        "machine": machine(),
        "domain": domain.domain,
        "simulated": simulated(profile, domain),
        "cutoff": f"{cutoff:%Y-%m-%d}",
        "runs": runs,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "cost.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "cost.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    typer.run(main)
