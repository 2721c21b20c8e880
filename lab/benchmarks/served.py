"""The cost of a publication by the number of users who are served, with the champion and tables that a demo left.

    python -m lab.benchmarks.served --as-of 2026-09-21

The demo's users are copied under other names, and each size is published into a warehouse of its own. The first
publication warms the JVM up and does not count.
"""

import tempfile
import time
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY, WEEK
from intentrec.config import ROOT, Domain, Profile, load_domain, load_profile
from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS, TITLE_STATE, USER_INTENTS, Table
from intentrec.registry.publish import publish as publish_snapshot
from intentrec.reports.markdown import table
from intentrec.sources.delivery import simulated_weeks
from intentrec.storage import spark as spark_module
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, ledger
from intentrec.storage.warehouse import Warehouse
from intentrec.training.data import known_from, served_from
from lab.benchmarks.report import RESULTS, code, machine, publish

OF_USERS = (SEQUENCES, TITLE_STATE)


def copy(source: Warehouse, root: str, as_of: date, times: int) -> None:
    """Write what a publication reads, with every user `times` times."""
    first = {SEQUENCES: served_from(as_of, source.run.domain.publishing.active_weeks), TITLE_STATE: as_of}
    first |= {TITLE_FACTS: known_from(as_of), CATALOG: date.min}
    for each, start in first.items():
        rows = source.current(each, None if start == date.min else start, as_of + DAY)
        _multiplied(rows, each, times).write.format("delta").partitionBy(str(each.partition)).save(
            f"{root}/{each.name}"
        )


def _multiplied(rows: DataFrame, of: Table, times: int) -> DataFrame:
    if of not in OF_USERS:
        return rows
    copies = rows.withColumn("copy", F.explode(F.sequence(F.lit(1), F.lit(times))))
    return copies.withColumn("user_id", F.concat_ws("-", "user_id", "copy")).drop("copy")


def measure(domain: Domain, profile: Profile, as_of: date, times: int, folder: Path) -> dict[str, Any]:
    """Publish `times` the users into a warehouse of its own: users, and seconds of the publication."""
    here = profile.model_copy(update={"warehouse": str(folder / f"x{times}")})
    spark = spark_module.start(profile, "served")
    source = Warehouse(spark, Run("served", as_of - WEEK, as_of, domain, profile))
    copy(source, f"{here.warehouse}/{domain.domain}", as_of, times)
    run = Run("publish", as_of - WEEK, as_of, domain, here)
    begun = time.perf_counter()
    publish_snapshot(Warehouse(spark, run), activate=True, even_if_older=False)
    seconds = time.perf_counter() - begun
    return {"users": Snapshot(run.warehouse, USER_INTENTS).count(as_of, as_of + DAY), "seconds": seconds}


def values(results: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of the results: the cost of each size, and of a further thousand users."""
    runs = results["runs"]
    rows = []
    for before, each in zip([None, *runs], runs, strict=False):
        further = ""
        if before is not None:
            further = f"{1000 * (each['seconds'] - before['seconds']) / (each['users'] - before['users']):.2f}"
        rows.append([f"{each['users']:,}", f"{each['seconds']:.0f}", further])
    return {"table": table(["users", "seconds", "seconds per further 1,000 users"], rows, "r")}


def main(
    as_of: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="date that is published")],
    config: Annotated[Path, typer.Option(help="domain whose tables are there")] = ROOT / "conf" / "streaming.yaml",
    times: Annotated[list[int], typer.Option(help="copies of every user")] = [1, 8, 16, 32],  # noqa: B006
    out: Path = RESULTS,
) -> None:
    """Measure every size."""
    domain, profile, day = load_domain(config), load_profile(), as_of.date()
    runs = []
    for number, each in enumerate([times[0], *times]):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(domain, profile, day, each, Path(folder))
        print(f"{found['users']:,} users: {found['seconds']:.0f} s", flush=True)
        if number:
            runs.append(found)
    results = {
        "code": code(),
        "machine": machine(),
        "domain": domain.domain,
        "simulated": bool(simulated_weeks(ledger(profile, domain))),
        "as_of": str(day),
        "runs": runs,
    }
    print(publish("served", results, out))


if __name__ == "__main__":
    typer.run(main)
