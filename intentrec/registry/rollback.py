"""Back to the release before: one commit that moves the flag `active`, in seconds.

The flag is moved through delta-rs, the one exception beside the ledger to the rule that only Spark writes tables: a
release that harms its readers should not stay for as long as Spark takes to start. It is an UPDATE of two rows; what
the audits of `releases` ask for (at most one active row, no nulls, every release once) cannot break by it, and Delta
itself refuses it if another run commits meanwhile.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from intentrec.contracts import RELEASES, USER_INTENTS
from intentrec.errors import PipelineError
from intentrec.registry.versions import Registry
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version

Row = Mapping[str, Any]


def order(release: Row) -> tuple[Any, int]:
    """When a release was published: by date, and by the commit of its rows where several have the same date.

    Every release rewrites the rows of its date, for they carry its id, so the version that it names tells the order.
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


def served(table: Snapshot) -> set[str]:
    """Ids of the releases that were active in some version of `releases`: the table is small and changes weekly."""
    found: set[str] = set()
    for commit in table.history():
        then = Snapshot(table.warehouse, RELEASES, commit.version)
        rows = then.rows(columns=["release_id", "active"]).to_pylist()
        found |= {row["release_id"] for row in rows if row["active"]}
    return found


def previous(releases: Sequence[Row], used: Collection[str], left: Collection[str] = ()) -> Row:
    """The release to go back to: the latest one before the active one that once was active itself (`used`) and that no
    earlier rollback left (`left`).

    Raises:
        PipelineError: there is none, or none is active.
    """
    active = active_of(releases)
    known = set(used) - set(left)
    earlier = [row for row in releases if order(row) < order(active) and row["release_id"] in known]
    if not earlier:
        others = ", ".join(f"{row['release_id']} as of {row['as_of']}" for row in releases if not row["active"])
        raise PipelineError(
            f"no release before {active['release_id']} (as of {active['as_of']}) that was active, to go back to"
            + (f"; name one with --to if you mean it: {others}" if others else ": it is the only one")
        )
    return max(earlier, key=order)


def rollback(run: Run, reason: str, by: str, to: str | None = None) -> Row:
    """Make the release before the active one active again and return it.

    Where the two come from different versions and the newer one is champion, the older one becomes champion again, so
    that the next weekly run does not publish what was taken back. Who, when, why, from and to are kept in the commit
    of `releases`, as the run's note, and as a tag of the version that is left (going forward again: of the one that
    is chosen). The registry comes first: killed in between and run again, the same two releases change places.

    Args:
        run: the attempt, whose note and outputs are filled in.
        reason: why.
        by: who.
        to: the release to go to instead of the one before.

    Raises:
        PipelineError: no reason, no release to go back to, no release `to`, or another run wrote `releases` meanwhile.
    """
    if not reason.strip():
        raise PipelineError("a rollback needs a reason: REASON='why' with make, --reason with intentrec")
    table = Snapshot(run.warehouse, RELEASES)
    releases = table.rows().to_pylist()
    registry = Registry(run.profile, run.domain)
    active = active_of(releases)
    target = _named(releases, to) if to else previous(releases, served(table), registry.left_releases())
    trail = {
        "from": active["release_id"],
        "to": target["release_id"],
        "by": by,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason.strip(),
    }
    _tell(registry, active, target, trail)
    run.inputs[RELEASES.name] = table.version
    run.outputs[RELEASES.name] = _move(run, table, target["release_id"], trail)
    run.note = f"from {_words(active)} to {_words(target)}, by {by}: {trail['reason']}"
    return target


def _named(releases: Sequence[Row], release_id: str) -> Row:
    others = {row["release_id"]: row for row in releases if not row["active"]}
    if release_id not in others:
        there = ", ".join(sorted(others)) or "none"
        raise PipelineError(f"--to {release_id}: no such inactive release; there are {there}")
    return others[release_id]


def _tell(registry: Registry, active: Row, target: Row, trail: Mapping[str, str]) -> None:
    left, chosen = (registry.version(release["model_version"]) for release in (active, target))
    champion = registry.champion()
    # Either of the two: killed after the alias was moved and run again, the rest is still to be said.
    both = {left.number, chosen.number}
    passes_on = champion is not None and champion.number in both and len(both) > 1
    if order(target) < order(active):
        registry.leave(left, active["release_id"], json.dumps(trail))
        if passes_on:
            registry.restore(chosen, left)
    else:  # forward again, by --to
        registry.take_again(chosen, target["release_id"], json.dumps(trail))
        if passes_on:
            registry.promote(chosen)


def _move(run: Run, table: Snapshot, release_id: str, trail: Mapping[str, str]) -> int:
    about = {"run_id": run.run_id, "job": run.job, "code_version": code_version(), **trail}
    flag = f"release_id = '{release_id}'"
    return table.update({"active": flag}, where=f"active OR {flag}", about=about)


def _words(release: Row) -> str:
    return f"release {release['release_id']} (as of {release['as_of']}, model version {release['model_version']})"
