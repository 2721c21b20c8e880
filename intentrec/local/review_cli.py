"""Decisions on the command line: approve or reject a version, or go back to the release before.

Each decision is an attempt in the run ledger, like a job's, under the name of the person's account on this machine.
"""

import getpass
from datetime import UTC, datetime
from pathlib import Path

from intentrec.calendar import WEEK
from intentrec.config import load_domain, load_profile
from intentrec.errors import PipelineError
from intentrec.registry import rollback as rollbacks
from intentrec.registry.verdicts import awaiting, record, settle
from intentrec.registry.versions import APPROVED, REJECTED, Registry, Version
from intentrec.storage.delta import releases as releases_of
from intentrec.storage.runs import attempt

VERDICTS = {"approve": APPROVED, "reject": REJECTED}
SETTLE = "settle"


def review(config: Path, verdict: str, version: str, reason: str) -> None:
    """Approve or reject a version, or act on what was set by hand in the registry (`settle`).

    Raises:
        PipelineError: no such verdict or version, no reason, or the registry's state forbids it.
    """
    registry = Registry(load_profile(), load_domain(config))
    if verdict == SETTLE:
        said = settle(registry)
        print("\n".join(said) or "nothing was set by hand")
        if said:
            _how_to_publish(config, registry.champion())
        return
    if verdict not in VERDICTS:
        raise PipelineError(f"{verdict!r} is none of {', '.join([*VERDICTS, SETTLE])}")
    if not version:
        waiting = ", ".join(each.number for each in awaiting(registry)) or "none"
        raise PipelineError(f"which version? `intentrec review {verdict} VERSION`; awaiting a review: {waiting}")
    found = registry.version(version)
    with attempt("review_record", found.trained_for - WEEK, found.trained_for, config) as run:
        run.note = record(registry, found, VERDICTS[verdict], reason, getpass.getuser(), datetime.now(UTC))
        run.say(run.note)
    if verdict == "approve":
        _how_to_publish(config, found)


def rollback(config: Path, reason: str, to: str = "") -> None:
    """Go back to the release before the active one, or to the release `to`.

    Raises:
        PipelineError: see `intentrec.registry.rollback.rollback`.
    """
    as_of = rollbacks.active_of(releases_of(load_profile(), load_domain(config)))["as_of"]
    with attempt("rollback", as_of - WEEK, as_of, config) as run:
        rollbacks.rollback(run, reason, getpass.getuser(), to or None)
        run.say(str(run.note))


def _how_to_publish(config: Path, champion: Version | None) -> None:
    if champion is not None:
        start, end = champion.trained_for - WEEK, champion.trained_for
        print(
            f"Version {champion.number} publishes from the next weekly run on. To publish its week now: "
            f"python -m jobs.publish --start {start} --end {end} --config {config}"
        )
