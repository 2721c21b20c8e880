"""Decisions of people about versions.

The review page of Airflow and the command line call `record`. A person can also set a tag or move an alias on MLflow's
registry page: `settle` then records the decision. Decisions are stored in the registry only.
"""

from datetime import UTC, datetime

from intentrec.errors import PipelineError
from intentrec.registry.versions import (
    APPROVED,
    AWAITING,
    KEPT,
    PROMOTED,
    REJECTED,
    ROLLED_BACK,
    Registry,
    Version,
    checked_reason,
)

BY_HAND = "set on MLflow's registry page"
NO_REASON = "no reason given"
# Values of the tag `gate` once a verdict was acted on; a version that was rolled back later is not promoted again.
_DONE = {APPROVED: (PROMOTED, ROLLED_BACK), REJECTED: (KEPT, ROLLED_BACK)}


def record(registry: Registry, version: Version, verdict: str, reason: str, by: str, at: datetime) -> str:
    """Approve (the version becomes champion) or reject a version, and return a sentence that says what was done.

    The latest verdict counts. The same verdict again changes nothing, so a retry is safe.

    Args:
        registry: of the version's model.
        version: as the registry holds it now.
        verdict: `approved` or `rejected`.
        reason: the person's reason.
        by: the person.
        at: when, with a time zone.

    Raises:
        PipelineError: no such verdict or no reason, a champion was to be rejected, or the champion was trained for a
            later date than the version to be approved.
    """
    about, champion = f"version {version.number} of {version.name}", registry.champion()
    if verdict not in _DONE:
        raise PipelineError(f"{verdict!r} is no verdict about {about}: say {APPROVED} or {REJECTED}")
    reason = checked_reason(reason, f"{about} cannot be {verdict} without a reason: give one")
    is_champion = champion is not None and champion.number == version.number
    if version.review == verdict and version.gate in _DONE[verdict] and is_champion == (verdict == APPROVED):
        tags = registry.tags(version)
        return f"{about} was {verdict} before, by {tags.get('reviewed_by')}: {tags.get('review_reason')}"
    if verdict == APPROVED:
        if champion is not None and champion.trained_for > version.trained_for:
            raise PipelineError(
                f"{about} was trained for {version.trained_for}, the champion (version {champion.number}) for "
                f"{champion.trained_for}: it is not approved over a later one. To go back, use `make rollback`"
            )
        registry.promote(version)
    elif is_champion:
        raise PipelineError(f"{about} is the champion and cannot be rejected: use `make rollback`")
    else:
        registry.decline(version)
    _trail(registry, version, verdict, reason, by, at)
    return f"{about} {verdict} by {by}: {reason}"


def settle(registry: Registry) -> list[str]:
    """Record what was set by hand in the registry, and return one sentence per change.

    An alias `champion` that was moved by hand is an approval. A tag `review` that was set to approved or rejected is
    recorded as by `record`. What `record` refuses is reported and stays as it is.
    """
    said = []
    champion = registry.champion()
    if champion is not None and champion.gate != PROMOTED:
        before = [v for v in registry.versions() if v.gate == PROMOTED and v.number != champion.number]
        if before:
            replaced = max(before, key=lambda version: (version.trained_for, int(version.number)))
            registry.tag(champion, "replaced", replaced.number)
        registry.tag(champion, "gate", PROMOTED)
        reason = registry.tags(champion).get("review_reason") or "the alias champion was moved to it"
        _trail(registry, champion, APPROVED, reason, BY_HAND, datetime.now(UTC))
        said.append(f"version {champion.number} of {champion.name} has the alias champion by hand: approved")
    for version in registry.versions():
        if version.review in _DONE and version.gate not in _DONE[version.review]:
            tags = registry.tags(version)
            # With `reviewed_at`, `reviewed_by` is the person of an earlier review.
            by = BY_HAND if "reviewed_at" in tags else tags.get("reviewed_by", BY_HAND)
            try:
                reason = tags.get("review_reason", "").strip() or NO_REASON
                said.append(record(registry, version, version.review, reason, by, datetime.now(UTC)))
            except PipelineError as error:
                said.append(f"not honoured: {error}")
    return said


def awaiting(registry: Registry) -> list[Version]:
    """Versions that a person has yet to decide about, oldest first."""
    return [version for version in registry.versions() if version.review == AWAITING and version.gate is None]


def _trail(registry: Registry, version: Version, verdict: str, reason: str, by: str, at: datetime) -> None:
    """Record who, when and why. The verdict comes last, so it never exists without them."""
    registry.tag(version, "review_reason", reason)
    registry.tag(version, "reviewed_by", by)
    registry.tag(version, "reviewed_at", at.astimezone(UTC).isoformat(timespec="seconds"))
    registry.tag(version, "review", verdict)
