"""The cost of training IntentRec and its baselines: seconds per epoch and memory, on the tables that the jobs left.

    python -m lab.benchmarks.cost --cutoff 2026-09-21

All have the same rows, facts, batches, loss and width. Each has its own process, one after the other. Accuracy is not
measured, because a few epochs are too few for it.
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

from intentrec.config import COMPARISON, ROOT, Domain, load_domain, load_profile
from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS
from intentrec.model.spec import VARIANTS
from intentrec.reports.markdown import table
from intentrec.sources.delivery import simulated_weeks
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import ledger
from intentrec.training.data import open_sequences, read_catalog, read_title_facts
from intentrec.training.distributed import set_threads
from intentrec.training.loop import fit
from intentrec.training.prepare import load, prepare
from intentrec.training.settings import with_variant
from lab.baselines import BASELINES
from lab.benchmarks.report import RESULTS, code, machine, publish


def measure(domain: Domain, warehouse: str, cutoff: date, folder: Path) -> dict[str, Any]:
    """Train the domain's system: seconds per epoch, its validation included, and the peak memory of the process."""
    threads = set_threads()
    versions = [Snapshot(warehouse, table).version for table in (SEQUENCES, CATALOG, TITLE_FACTS)]
    sequences = open_sequences(warehouse, versions[0], cutoff, domain.training.weeks)
    catalog = read_catalog(warehouse, versions[1], cutoff)
    title_facts = read_title_facts(warehouse, versions[2], cutoff, domain.training.weeks)
    prepare(domain, sequences, catalog, title_facts, cutoff, folder / "about")
    data = load(folder / "about")
    lines: list[str] = []
    found = fit(domain, sequences, catalog, title_facts, cutoff, folder / "fit", lines.append)
    seconds = median(row["seconds"] for row in found.history)
    positions = int(data.train.lengths.sum())
    return {
        "system": domain.model.variant,
        "about": lines[0],
        "rows": len(data.train),
        "positions": positions,
        "targets": int(data.count_I.sum()),
        "titles": len(data.vocabulary.titles),
        "dim": domain.model.dim,
        "seconds_per_epoch": seconds,
        "positions_per_second": positions / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": threads,
    }


def values(results: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of the results."""
    first = results["runs"][0]
    rows = [
        [
            each["system"],
            each["about"].split(": ", 1)[1].split(" ", 1)[0],
            f"{each['seconds_per_epoch']:.1f}",
            f"{each['positions_per_second']:,.0f}",
            f"{each['peak_mb']:,.0f}",
        ]
        for each in results["runs"]
    ]
    return {
        "threads": first["threads"],
        "data": f"{first['rows']:,} rows of {first['positions']:,} interactions, {first['targets']:,} targets, "
        f"{first['titles']:,} titles, d = {first['dim']}.",
        "table": table(["system", "parameters", "s per epoch", "interactions/s", "peak MB"], rows, "lr"),
    }


def main(
    cutoff: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="service date from which nothing is known")],
    config: Annotated[Path, typer.Option(help="domain whose tables are there")] = ROOT / "conf" / "streaming.yaml",
    epochs: int = 3,
    system: Annotated[list[str], typer.Option()] = [*VARIANTS, *BASELINES],  # noqa: B006
    out: Path = RESULTS,
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
        print(f"{name}: {runs[-1]['seconds_per_epoch']:.1f} s per epoch", flush=True)
    results = {
        "code": code(),
        "machine": machine(),
        "domain": domain.domain,
        "simulated": bool(simulated_weeks(ledger(profile, domain))),
        "cutoff": f"{cutoff:%Y-%m-%d}",
        "runs": runs,
    }
    print(publish("cost", results, out))


if __name__ == "__main__":
    typer.run(main)
