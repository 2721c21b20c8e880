"""Decisions on the command line: approve or reject a version, or roll back to the previous release.

Each decision is recorded in the run ledger, as a job's attempt is. The name of the person is that of the account on
this machine.
"""

import getpass
import os
from datetime import UTC, datetime
from pathlib import Path

from intentrec.calendar import WEEK
from intentrec.config import load_domain, load_profile
from intentrec.errors import PipelineError
from intentrec.registry import rollback as rollbacks
from intentrec.registry.pending import complete, pending
from intentrec.registry.verdicts import awaiting, record, settle
from intentrec.registry.versions import APPROVED, REJECTED, Registry, Version
from intentrec.storage.delta import releases as releases_of
from intentrec.storage.runs import attempt

VERDICTS = {"approve": APPROVED, "reject": REJECTED}
SETTLE = "settle"


def review(config: Path, verdict: str, version: str, reason: str) -> None:
    """Approve or reject a version, or record what was set by hand in the registry.

    Args:
        config: the domain file.
        verdict: approve, reject or settle.
        version: number of the version; not used to settle.
        reason: why; not used to settle.

    Raises:
        PipelineError: there is no such verdict or version, the reason is missing, or the version cannot be decided now.
    """
    registry = Registry(load_profile(), load_domain(config))
    if verdict == SETTLE:
        lines = _complete_rollbacks(config, registry) + settle(registry)
        print("\n".join(lines) or "nothing was set by hand")
        if lines:
            _print_publication(config, registry.champion())
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
        _print_publication(config, found)


def rollback(config: Path, reason: str, to: str = "") -> None:
    """Roll back to the release before the active one, or to the release `to`.

    Args:
        config: the domain file.
        reason: why.
        to: id of a release; empty for the one before the active one.

    Raises:
        PipelineError: see `intentrec.registry.rollback.rollback`.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the release is back before MLflow is asked
    as_of = rollbacks.active_of(releases_of(load_profile(), load_domain(config)))["as_of"]
    with attempt("rollback", as_of - WEEK, as_of, config) as run:
        rollbacks.rollback(run, reason, getpass.getuser(), to or None)
        run.say(str(run.note))


def _complete_rollbacks(config: Path, registry: Registry) -> list[str]:
    """Let the registry follow the rollbacks that it has not followed yet, in an attempt of its own."""
    profile, domain = load_profile(), load_domain(config)
    if not pending(profile, domain):
        return []
    as_of = rollbacks.active_of(releases_of(profile, domain))["as_of"]
    with attempt("rollback", as_of - WEEK, as_of, config) as run:
        lines = complete(run, registry)
        run.note = "; ".join(lines)
    return lines


def _print_publication(config: Path, champion: Version | None) -> None:
    """Print when a champion publishes, and the command that publishes its week now."""
    if champion is not None:
        start, end = champion.trained_for - WEEK, champion.trained_for
        print(
            f"Version {champion.number} publishes from the next weekly run on. To publish its week now: "
            f"python -m jobs.publish --start {start} --end {end} --config {config}"
        )
