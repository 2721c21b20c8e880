"""Roll back to an earlier release: one commit that moves the flag `active`, in seconds.

The flag is moved without Spark, because a harmful release should not stay active while Spark starts. Beside the ledger
this is the one exception to the rule that only Spark writes tables. The commit updates two rows. It cannot break what
the audits of `releases` require (at most one active row, no nulls, every release once), and Delta refuses it if another
run commits meanwhile.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from intentrec.contracts import RELEASES
from intentrec.errors import PipelineError
from intentrec.registry.pending import OWED, Trail, complete, pending, trails, update_registry
from intentrec.registry.releases import Row, is_of_model, publication_order
from intentrec.registry.versions import Registry, checked_reason
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, code_version


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


def rolled_back(table: Snapshot) -> set[str]:
    """Ids of the releases that a rollback left and that no later one made active again."""
    releases = {row["release_id"]: row for row in table.rows().to_pylist()}
    found: set[str] = set()
    for trail in trails(table):
        left, target = releases.get(trail.left), releases.get(trail.target)
        if left and target and publication_order(target) < publication_order(left):
            found.add(trail.left)
        found.discard(trail.target)
    return found


def rollback(run: Run, reason: str, by: str, to: str | None = None) -> Row:
    """Make the release before the active one active again and return it.

    If the two releases come from different model versions and the newer one is champion, the older one becomes champion
    again. Otherwise the next weekly run would publish the newer version again.

    The release is changed first, because consumers need nothing else. The registry follows. If it cannot be reached, it
    follows with the next gate, publication, rollback or `intentrec review settle`; until then `intentrec status` says
    so. A rollback that was killed can be repeated: the repetition completes it and goes no further.

    Who rolled back, when, why, and between which releases is recorded in the commit of `releases`, in the run's note,
    and in a tag of the version whose release is left (of the chosen version, if `to` is a later release).

    Args:
        run: the attempt; its note, outputs and counts are filled in.
        reason: why.
        by: who.
        to: id of the release to go to; default: the one before.

    Raises:
        PipelineError: no reason, no release to go back to, no release `to`, or another run wrote `releases` meanwhile.
    """
    reason = checked_reason(reason, "a rollback needs a reason: REASON='why' with make, --reason with intentrec")
    table = Snapshot(run.warehouse, RELEASES)
    releases = table.rows().to_pylist()
    active = active_of(releases)
    interrupted = [each.trail for each in pending(run.profile, run.domain) if each.interrupted]
    if to is None and interrupted and interrupted[-1].target == active["release_id"]:
        trail = interrupted[-1]
        run.note = f"completed the rollback of {trail.at} to {_described(active)}, by {trail.by}: {trail.reason}"
        _follow(run)
        return active
    target = _named(releases, to) if to else previous(releases, once_active(table), rolled_back(table))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    trail = Trail(run.run_id, active["release_id"], target["release_id"], by, at, reason)
    run.inputs[RELEASES.name] = table.version
    run.outputs[RELEASES.name] = _move(run, table, trail)
    run.note = f"from {_described(active)} to {_described(target)}, by {by}: {trail.reason}"
    _follow(run, trail)
    return target


def _named(releases: Sequence[Row], release_id: str) -> Row:
    others = {row["release_id"]: row for row in releases if not row["active"]}
    if release_id not in others:
        there = ", ".join(sorted(others)) or "none"
        raise PipelineError(f"--to {release_id}: no such inactive release; there are {there}")
    return others[release_id]


def _follow(run: Run, trail: Trail | None = None) -> None:
    """Let the registry follow earlier rollbacks and this one; if it cannot, say so and record that it is owed."""
    try:
        registry = Registry(run.profile, run.domain)
        for line in complete(run, registry):
            run.say(line)
        if trail is not None:
            update_registry(registry, Snapshot(run.warehouse, RELEASES).rows().to_pylist(), trail)
    except Exception as error:  # whatever it is: the release is back, and consumers need nothing else
        run.counts[OWED] = 1
        cause = str(error).partition("\n")[0][:300]
        run.warn(
            "the release is back, but MLflow has not followed, so the champion may still be the version that was left. "
            f"The next gate or publication does it, or `intentrec review settle`. ({type(error).__name__}: {cause})"
        )


def _move(run: Run, table: Snapshot, trail: Trail) -> int:
    about = {"run_id": run.run_id, "job": run.job, "code_version": code_version(), **trail.to_dict()}
    flag = f"release_id = '{trail.target}'"
    return table.update({"active": flag}, where=f"active OR {flag}", about=about)


def _described(release: Row) -> str:
    made_by = f"model version {release['model_version']}" if is_of_model(release) else release["model_name"]
    return f"release {release['release_id']} (as of {release['as_of']}, {made_by})"
