"""One publication: score the snapshot once, write the four tables, then the release that names them."""

import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY
from intentrec.contracts import (
    CATALOG,
    ITEM_VECTORS,
    PUBLISHED,
    RECOMMENDATIONS,
    RELEASES,
    SEQUENCES,
    TITLE_STATE,
    USER_INTENTS,
    USER_VECTORS,
)
from intentrec.errors import PipelineError, Skip
from intentrec.inference import spark_scoring
from intentrec.inference.scorer import read_files
from intentrec.inference.seen import no_state, seen_since
from intentrec.registry.health import existing_champion, require_usable
from intentrec.registry.pending import complete
from intentrec.registry.releases import Release, release_id, updated
from intentrec.registry.rollback import rolled_back
from intentrec.registry.verdicts import settle
from intentrec.registry.versions import CHAMPION, Registry, Version
from intentrec.sequences.arrays import latest
from intentrec.storage.audit import closed
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version
from intentrec.storage.warehouse import Fingerprint, Warehouse, fingerprint
from intentrec.training.data import served_from


def publish(warehouse: Warehouse, activate: bool, even_if_older: bool) -> Release:
    """Publish the snapshot as of the run's end with the champion of that date.

    Args:
        warehouse: of a run over the week that ends there.
        activate: make the release the active one, unless a later one is active or this one was rolled back.
        even_if_older: activate it although a later one is active.

    Raises:
        Skip: there is no champion for that date, or the service was closed all week.
        PipelineError: there is no such snapshot or state, there was a champion and it or its files are gone, or another
            run moved the active release at the same time.
    """
    run, as_of = warehouse.run, warehouse.run.end
    # Read before the champion: after a rollback meanwhile the version differs, and the merge below refuses.
    since = warehouse.version(RELEASES) if warehouse.exists(RELEASES) else None
    registry = Registry(run.profile, run.domain)
    for line in complete(run, registry) + settle(registry):
        run.say(line)
    existing_champion(run, registry)
    champion = registry.champion_for(as_of)
    if champion is None:
        raise Skip(
            f"{run.domain.model_name} has no champion for {as_of}, so nothing is published. The gate's table says why "
            f"no version was promoted; `intentrec review approve VERSION --config conf/{run.domain.domain}.yaml` makes "
            "one champion nevertheless, and then this job publishes"
        )
    require_usable(registry, champion, CHAMPION)
    run.say(f"champion: version {champion.number}, trained for {champion.trained_for}")
    first = served_from(as_of, run.domain.publishing.active_weeks)
    sequences = latest(warehouse.read(SEQUENCES, first, as_of + DAY))
    catalog = latest_snapshots(warehouse.read(CATALOG, end=as_of))
    active = Snapshot(run.warehouse, SEQUENCES, run.inputs["sequences"]).count(as_of, as_of + DAY)
    if not active and closed(run):
        raise Skip(f"{run.domain.domain} was closed from {run.start} to {run.end}: nothing new to publish")
    if not active:
        raise PipelineError(f"sequences has no snapshot as of {as_of}: run build_sequences over the week before it")
    seen, state = _seen_titles(warehouse)
    content = {"sequences": fingerprint(sequences), "catalog": fingerprint(catalog), "title_state": state}
    if run.domain.publishing.tells_known:
        sequences = spark_scoring.with_seen_titles(sequences, seen)
    checksums = {name: f"{found.rows}:{found.checksum}" for name, found in content.items()}
    release = release_id(run.domain, as_of, champion.name, champion.number, checksums)
    with tempfile.TemporaryDirectory() as folder:
        files = read_files(registry.artifacts(champion, Path(folder)))
    package = spark_scoring.Package.of(release, files, catalog.toArrow(), as_of, run.domain.publishing)
    users = content["sequences"].rows
    run.say(f"scoring {users:,} users, of whom {active:,} were active in the week")
    rewritten = _write(warehouse, package, sequences, seen, users, as_of, release, champion)
    row = _release(run, registry, champion, release)
    if left := activate and since is not None and release in rolled_back(Snapshot(run.warehouse, RELEASES)):
        run.warn(
            f"release {release} was rolled back: it is published, but not made active (`make rollback TO={release}`)"
        )
    rows = updated(_existing(warehouse), row, activate and not left, even_if_older, rewritten)
    frame = warehouse.spark.createDataFrame([tuple(r[n] for n in RELEASES.names) for r in rows], RELEASES.schema)
    warehouse.merge(RELEASES, frame, since)
    in_use = next((r["as_of"] for r in rows if r["active"]), None)
    run.say(f"release {release} as of {as_of}; the active release is as of {in_use}")
    return row


def _seen_titles(warehouse: Warehouse) -> tuple[DataFrame, Fingerprint]:
    """The titles that users had seen as of the run's end, and a fingerprint of the state."""
    run, as_of = warehouse.run, warehouse.run.end
    state = warehouse.read(TITLE_STATE, as_of, as_of + DAY)
    content = fingerprint(state.select("user_id", "title_id", "last_touch_ts"))
    if not content.rows:
        raise no_state(as_of)
    return spark_scoring.seen_titles(state, seen_since(as_of, run.domain)), content


def latest_snapshots(catalog: DataFrame) -> DataFrame:
    """The latest row of each item: the model reads no others, and the driver collects no others."""
    newest = F.max_by(F.struct(*CATALOG.names), "snapshot_date").alias("row")
    return catalog.groupBy("item_id").agg(newest).select("row.*")


def _write(
    warehouse: Warehouse,
    package: spark_scoring.Package,
    sequences: DataFrame,
    seen: DataFrame,
    users: int,
    as_of: date,
    release: str,
    champion: Version,
) -> bool:
    """Write the four tables, and return whether any of them got other rows."""
    until = as_of + DAY
    before = {table.name: warehouse.version(table) if warehouse.exists(table) else None for table in PUBLISHED}
    with warehouse.scratch("scored", spark_scoring.score(sequences, package, users)) as scored:
        for table, rows in (
            (USER_INTENTS, spark_scoring.user_intents(scored, as_of, release, space_id(champion))),
            (RECOMMENDATIONS, spark_scoring.recommendations(scored, seen, as_of, release)),
            (USER_VECTORS, spark_scoring.user_vectors(scored, as_of, release)),
            (ITEM_VECTORS, spark_scoring.item_vectors(package, warehouse.spark, as_of, release)),
        ):
            warehouse.replace(table, rows, as_of, until)
    return any(warehouse.run.outputs[name] != version for name, version in before.items())


def space_id(version: Version) -> str:
    """Name of the space in which embeddings and clusters are comparable: one model version."""
    return f"{version.name}/{version.number}"


def _release(run: Run, registry: Registry, champion: Version, release: str) -> Release:
    versions = {name: run.outputs[name] for name in (table.name for table in PUBLISHED)}
    return Release(
        release,
        run.end,
        champion.name,
        champion.number,
        champion.run_id,
        {**versions, **run.inputs},
        _gate_metrics(run, registry, champion),
        run.domain.hash,
        code_version(),
    )


def _gate_metrics(run: Run, registry: Registry, champion: Version) -> dict[str, float]:
    try:
        return registry.gate_metrics(champion)
    except PipelineError as error:
        run.warn(f"{error}; the release is published without the gate's metrics")
        return {}


def _existing(warehouse: Warehouse) -> list[dict[str, Any]]:
    if not warehouse.exists(RELEASES):
        return []
    return [row.asDict() for row in warehouse.current(RELEASES).collect()]
