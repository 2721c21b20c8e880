"""Roll back to an earlier release: one commit that moves the flag `active`, in seconds.

The flag is moved without Spark, because a harmful release should not stay active while Spark starts. Beside the ledger
this is the one exception to the rule that only Spark writes tables. The commit updates two rows. It cannot break what
the audits of `releases` require (at most one active row, no nulls, every release once), and Delta refuses it if another
run commits meanwhile.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from intentrec.contracts import RELEASES, USER_INTENTS
from intentrec.errors import PipelineError
from intentrec.registry.versions import Registry, checked_reason
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version

Row = Mapping[str, Any]


def publication_order(release: Row) -> tuple[Any, int]:
    """Sort key of a release: its date, then the commit of its rows.

    Every release rewrites the rows of its date, because they carry its id. The table versions that releases name are
    therefore in the order of publication.
    """
    return release["as_of"], dict(release["table_versions"])[USER_INTENTS.name]


def active_of(releases: Sequence[Row]) -> Row:
    """The release that consumers use.

    Raises:
        PipelineError: none is active.
    """
    for release in releases:
        if release["active"]:
            return release
    raise PipelineError("no release is active, so there is nothing to roll back: run publish with --activate")


def once_active(table: Snapshot) -> set[str]:
    """Ids of the releases that were active in any version of `releases`.

    All versions are read: the table is small and changes weekly.
    """
    found: set[str] = set()
    for commit in table.history():
        then = Snapshot(table.warehouse, RELEASES, commit.version)
        rows = then.rows(columns=["release_id", "active"]).to_pylist()
        found |= {row["release_id"] for row in rows if row["active"]}
    return found


def previous(releases: Sequence[Row], used: Collection[str], left: Collection[str] = ()) -> Row:
    """The release to go back to: the latest one before the active one.

    Args:
        releases: rows of `releases`.
        used: ids of the releases that were active at some time; only these qualify.
        left: ids of the releases that an earlier rollback left; these do not qualify.

    Raises:
        PipelineError: there is no such release, or none is active.
    """
    active = active_of(releases)
    known = set(used) - set(left)
    before = [row for row in releases if publication_order(row) < publication_order(active)]
    earlier = [row for row in before if row["release_id"] in known]
    if not earlier:
        others = ", ".join(f"{row['release_id']} as of {row['as_of']}" for row in releases if not row["active"])
        raise PipelineError(
            f"no release before {active['release_id']} (as of {active['as_of']}) that was active, to go back to"
            + (f"; name one with --to if you mean it: {others}" if others else ": it is the only one")
        )
    return max(earlier, key=publication_order)


def rollback(run: Run, reason: str, by: str, to: str | None = None) -> Row:
    """Make the release before the active one active again and return it.

    If the two releases come from different model versions and the newer one is champion, the older one becomes champion
    again. Otherwise the next weekly run would publish the newer version again.

    Who rolled back, when, why, and between which releases is recorded in the commit of `releases`, in the run's note,
    and in a tag of the version whose release is left (of the chosen version, if `to` is a later release). The registry
    is changed first. A rollback that was killed can be repeated: it changes the same two releases.

    Args:
        run: the attempt; its note and outputs are filled in.
        reason: why.
        by: who.
        to: id of the release to go to; default: the one before.

    Raises:
        PipelineError: no reason, no release to go back to, no release `to`, or another run wrote `releases` meanwhile.
    """
    reason = checked_reason(reason, "a rollback needs a reason: REASON='why' with make, --reason with intentrec")
    table = Snapshot(run.warehouse, RELEASES)
    releases = table.rows().to_pylist()
    registry = Registry(run.profile, run.domain)
    active = active_of(releases)
    target = _named(releases, to) if to else previous(releases, once_active(table), registry.rolled_back_releases())
    trail = {
        "from": active["release_id"],
        "to": target["release_id"],
        "by": by,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
    }
    _update_registry(registry, active, target, trail)
    run.inputs[RELEASES.name] = table.version
    run.outputs[RELEASES.name] = _move(run, table, target["release_id"], trail)
    run.note = f"from {_described(active)} to {_described(target)}, by {by}: {trail['reason']}"
    return target


def _named(releases: Sequence[Row], release_id: str) -> Row:
    others = {row["release_id"]: row for row in releases if not row["active"]}
    if release_id not in others:
        there = ", ".join(sorted(others)) or "none"
        raise PipelineError(f"--to {release_id}: no such inactive release; there are {there}")
    return others[release_id]


def _update_registry(registry: Registry, active: Row, target: Row, trail: Mapping[str, str]) -> None:
    left, chosen = (registry.version(release["model_version"]) for release in (active, target))
    champion = registry.champion()
    # Either of the two may be champion: a rollback that was killed after it moved the alias is completed here.
    both = {left.number, chosen.number}
    moves = champion is not None and champion.number in both and len(both) > 1
    if publication_order(target) < publication_order(active):
        registry.record_rollback(left, active["release_id"], json.dumps(trail))
        if moves:
            registry.restore(chosen, left)
    else:  # forward again, by --to
        registry.record_return(chosen, target["release_id"], json.dumps(trail))
        if moves:
            registry.promote(chosen)


def _move(run: Run, table: Snapshot, release_id: str, trail: Mapping[str, str]) -> int:
    about = {"run_id": run.run_id, "job": run.job, "code_version": code_version(), **trail}
    flag = f"release_id = '{release_id}'"
    return table.update({"active": flag}, where=f"active OR {flag}", about=about)


def _described(release: Row) -> str:
    return f"release {release['release_id']} (as of {release['as_of']}, model version {release['model_version']})"
