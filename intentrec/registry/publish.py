"""One publication: score the snapshot once, write the published tables, then the release that names them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

from intentrec.calendar import DAY
from intentrec.contracts import (
    INTENT_RECOMMENDATIONS,
    ITEM_VECTORS,
    POPULAR_TITLES,
    PUBLISHED,
    RECOMMENDATIONS,
    RELEASES,
    USER_INTENTS,
    USER_VECTORS,
    Table,
)
from intentrec.errors import PipelineError, Skip
from intentrec.inference import spark_scoring
from intentrec.inference.scorer import read_files
from intentrec.registry.health import existing_champion, require_usable
from intentrec.registry.naive_release import Leader, candidates, leader, learned_from, score, scorer_of
from intentrec.registry.pending import complete
from intentrec.registry.releases import NO_VERSION, Release, release_id, updated
from intentrec.registry.rollback import rolled_back
from intentrec.registry.served import popular_rows, read_served
from intentrec.registry.verdicts import settle
from intentrec.registry.versions import CHAMPION, Registry, Version
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version
from intentrec.storage.warehouse import Warehouse


def publish(warehouse: Warehouse, activate: bool, even_if_older: bool) -> Release:
    """Publish the snapshot as of the run's end with the champion of that date, or with the naive baseline that leads.

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
    naive = leader(run, registry, champion)
    if naive is not None:
        row, rewritten = _publish_naive(warehouse, naive)
    elif champion is not None:
        require_usable(registry, champion, CHAMPION)
        row, rewritten = _publish_model(warehouse, registry, champion)
    else:
        raise Skip(
            f"{run.domain.model_name} has no champion for {as_of}, so nothing is published. The gate's table says why "
            f"no version was promoted; `intentrec review approve VERSION --config conf/{run.domain.domain}.yaml` makes "
            "one champion nevertheless, and then this job publishes"
        )
    release = row.release_id
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


def _publish_model(warehouse: Warehouse, registry: Registry, champion: Version) -> tuple[Release, bool]:
    """Write what the champion predicts: the release, and whether any table got other rows."""
    run = warehouse.run
    run.say(f"champion: version {champion.number}, trained for {champion.trained_for}")
    served = read_served(warehouse)
    as_of, users = served.as_of, served.users
    release = release_id(run.domain, as_of, champion.name, champion.number, served.checksums)
    with tempfile.TemporaryDirectory() as folder:
        files = read_files(registry.artifacts(champion, Path(folder)))
    package = spark_scoring.Package.of(release, files, served.catalog, served.title_facts, as_of, run.domain.publishing)
    run.say(f"scoring {users:,} users, of whom {served.active:,} were active in the week")
    scorer = package.scorer()
    lead = scorer.predictor.spec.lead_intent
    with warehouse.scratch("scored", spark_scoring.score(served.sequences, package, users)) as scored:
        lists = spark_scoring.intent_recommendations(scored, as_of, release, lead, run.domain.publishing)
        rewritten = _write(
            warehouse,
            (RECOMMENDATIONS, spark_scoring.recommendations(scored, served.seen, as_of, release)),
            (POPULAR_TITLES, popular_rows(warehouse, served, candidates(run, served.catalog), release)),
            (USER_INTENTS, spark_scoring.user_intents(scored, as_of, release, space_id(champion))),
            (USER_VECTORS, spark_scoring.user_vectors(scored, as_of, release)),
            (ITEM_VECTORS, spark_scoring.item_vectors(scorer, warehouse.spark, as_of, release)),
            *([(INTENT_RECOMMENDATIONS, lists)] if lead else []),
        )
    metrics = _gate_metrics(run, registry, champion)
    return _release(run, release, champion.name, champion.number, champion.run_id, metrics), rewritten


def _publish_naive(warehouse: Warehouse, naive: Leader) -> tuple[Release, bool]:
    """Write what the naive baseline recommends: the release, and whether any table got other rows."""
    run = warehouse.run
    run.say(
        f"the naive baseline {naive.name} publishes: the gate found it better than the champion, or there is none "
        f"(judged with version {naive.judged_with.number}, trained for {naive.judged_with.trained_for})"
    )
    served = read_served(warehouse)
    as_of, checksums = served.as_of, {**served.checksums, **learned_from(run, naive.name)}
    release = release_id(run.domain, as_of, naive.name, NO_VERSION, checksums)
    titles = candidates(run, served.catalog)
    scored = score(served, scorer_of(run, naive.name, served, titles), titles, run.domain.publishing)
    run.say(f"scoring {served.users:,} users, of whom {served.active:,} were active in the week")
    with warehouse.scratch("scored", scored) as rows:
        rewritten = _write(
            warehouse,
            (RECOMMENDATIONS, spark_scoring.recommendations(rows, served.seen, as_of, release)),
            (POPULAR_TITLES, popular_rows(warehouse, served, titles, release)),
        )
    return _release(run, release, naive.name, NO_VERSION, naive.judged_with.run_id, naive.metrics), rewritten


def _write(warehouse: Warehouse, *content: tuple[Table, DataFrame]) -> bool:
    """Write the tables as of the run's end, and return whether any of them got other rows."""
    before = {table.name: warehouse.version(table) if warehouse.exists(table) else None for table, _ in content}
    for table, rows in content:
        warehouse.replace(table, rows, warehouse.run.end, warehouse.run.end + DAY)
    return any(warehouse.run.outputs[name] != version for name, version in before.items())


def space_id(version: Version) -> str:
    """Name of the space in which embeddings and clusters are comparable: one model version."""
    return f"{version.name}/{version.number}"


def _release(
    run: Run, release: str, made_by: str, version: str, mlflow_run_id: str, metrics: Mapping[str, float]
) -> Release:
    published = {table.name for table in PUBLISHED}
    versions = {name: number for name, number in run.outputs.items() if name in published}
    tables = {**versions, **run.inputs}
    return Release(release, run.end, made_by, version, mlflow_run_id, tables, metrics, run.domain.hash, code_version())


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
