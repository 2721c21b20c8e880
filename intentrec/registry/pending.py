"""Rollbacks that the registry has not followed yet: the release is back, the alias `champion` and the tags are not.

A rollback leaves a trail in its commit of `releases`. It is pending if its attempt did not end, or ended without the
registry, and no later attempt has completed it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from intentrec.config import Domain, Profile
from intentrec.contracts import RELEASES
from intentrec.errors import PipelineError
from intentrec.registry.releases import Row, is_of_model, publication_order
from intentrec.registry.versions import Registry
from intentrec.storage import delta
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, ledger

OWED = "registry.owed"  # count of a rollback whose registry did not follow
COMPLETED = "registry.completed."  # and the run id of a rollback: count of the attempt that completed it


@dataclass(frozen=True)
class Trail:
    """Who rolled back, when and why, from release `left` to release `target`."""

    run_id: str
    left: str
    target: str
    by: str
    at: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """As metadata of the commit and as a tag. `registry` says that it is changed after the commit."""
        about = {"from": self.left, "to": self.target, "by": self.by, "at": self.at, "reason": self.reason}
        return {**about, "registry": "follows"}


@dataclass(frozen=True)
class Pending:
    """A rollback that the registry has not followed; `interrupted` if its attempt did not end."""

    trail: Trail
    interrupted: bool

    def __str__(self) -> str:
        trail = self.trail
        return (
            f"the rollback of {trail.at} by {trail.by} (release {trail.left} to {trail.target}: {trail.reason}) is not "
            "in MLflow yet, so the champion may still be the version that was left; the next gate or publication "
            "completes it, or `intentrec review settle`"
        )


def trails(table: Snapshot, follows: bool = False) -> list[Trail]:
    """The rollbacks in the history of `releases`, oldest first; with `follows` those that change the registry last."""
    found = [commit.about for commit in reversed(table.history()) if {"from", "to"} <= commit.about.keys()]
    return [
        Trail(about["run_id"], about["from"], about["to"], about["by"], about["at"], about["reason"])
        for about in found
        if not follows or "registry" in about
    ]


def pending(profile: Profile, domain: Domain) -> list[Pending]:
    """Rollbacks of a domain that the registry has not followed, oldest first. Asks MLflow nothing."""
    warehouse = delta.warehouse_of(profile, domain)
    if not delta.exists(warehouse, RELEASES):
        return []
    found = trails(Snapshot(warehouse, RELEASES), follows=True)
    return _of(found, ledger(profile, domain)) if found else []


def _of(found: Iterable[Trail], rows: Sequence[Mapping]) -> list[Pending]:
    attempts = {row["run_id"]: row for row in rows}
    completed = {key.removeprefix(COMPLETED) for row in rows for key in row["counts"] if key.startswith(COMPLETED)}
    mine = [(trail, attempts[trail.run_id]) for trail in found if trail.run_id in attempts.keys() - completed]
    return [
        Pending(trail, row["status"] != "succeeded")
        for trail, row in mine
        if row["status"] != "succeeded" or OWED in row["counts"]
    ]


def complete(run: Run, registry: Registry) -> list[str]:
    """Let the registry follow the pending rollbacks, oldest first; sentences that say what was done.

    Args:
        run: the attempt; its counts record what it completed. An attempt does not complete itself.
        registry: of the domain's model.

    Raises:
        PipelineError: the version that would become champion again is no longer in MLflow.
    """
    said = []
    for each in pending(run.profile, run.domain):
        if each.trail.run_id != run.run_id:
            update_registry(registry, Snapshot(run.warehouse, RELEASES).rows().to_pylist(), each.trail)
            run.counts[COMPLETED + each.trail.run_id] = 1
            said.append(f"MLflow now follows the rollback of {each.trail.at} by {each.trail.by}")
    return said


def update_registry(registry: Registry, releases: Iterable[Row], trail: Trail) -> None:
    """Record a rollback with the versions, and give the alias `champion` to the one whose release is active again.

    Made again, it changes nothing. A release of a naive baseline has no version, so the alias stays where it is.

    Args:
        registry: of the domain's model.
        releases: rows of `releases`.
        trail: the rollback.

    Raises:
        PipelineError: the version that would become champion again is no longer in MLflow.
    """
    rows = {row["release_id"]: row for row in releases}
    left, target = rows[trail.left], rows[trail.target]
    former, chosen = (registry.find(row["model_version"]) for row in (left, target))
    champion = registry.champion()
    # Either of the two may be champion: a rollback that was killed after it moved the alias is completed here.
    both = {left["model_version"], target["model_version"]}
    moves = champion is not None and champion.number in both and len(both) > 1 and is_of_model(target)
    if moves and chosen is None:
        raise PipelineError(
            f"version {target['model_version']} of {registry.name}, which made release {trail.target}, is no longer in "
            f"MLflow, and version {left['model_version']}, which was left, is still champion: give the alias champion "
            "to another version in MLflow"
        )
    back, text = publication_order(target) < publication_order(left), json.dumps(trail.to_dict())
    if back and former is not None:
        registry.record_rollback(former, trail.left, text)
    if not back and chosen is not None:
        registry.record_return(chosen, trail.target, text)
    if moves and chosen is not None:
        if back and former is not None:
            registry.restore(chosen, former)
        else:
            registry.promote(chosen)
