"""What one release holds about one user, and the row of `sequences` that it was made from. No Spark."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from intentrec.calendar import DAY, WEEK
from intentrec.config import Domain
from intentrec.contracts import RECOMMENDATIONS, SEQUENCES, USER_INTENTS
from intentrec.errors import PipelineError
from intentrec.registry.releases import Row, is_of_model, publication_order
from intentrec.storage.consumer import rows_of
from intentrec.storage.delta import Snapshot
from intentrec.training.data import served_from


@dataclass(frozen=True)
class ServedUser:
    """The rows of one user in one release.

    Attributes:
        release: row of `releases`.
        sequence: the row of `sequences` that was scored.
        recommendations: rows of `recommendations`, rank 1 first.
        intents: the row of `user_intents`; None in a release of a naive baseline.
    """

    release: Row
    sequence: pa.Table
    recommendations: list[dict[str, Any]]
    intents: dict[str, Any] | None


def chosen_release(releases: Sequence[Row], week: date | None) -> Row:
    """The active release or, with a week, the release of that week: the active one or else the one published last.

    Args:
        releases: rows of `releases`.
        week: first service date of the week that ends at the release's date; None for the active release.

    Raises:
        PipelineError: there is no such release.
    """
    if not releases:
        raise PipelineError("nothing was published yet: the weekly run or the job publish makes a release")
    if week is None:
        for release in releases:
            if release["active"]:
                return release
    found = [release for release in releases if week is not None and release["as_of"] == week + WEEK]
    if not found:
        weeks = ", ".join(sorted({str(release["as_of"] - WEEK) for release in releases}))
        what = "no release is active" if week is None else f"the week from {week} has no release"
        raise PipelineError(f"{what}: name one of these weeks with --week: {weeks}")
    return max(found, key=lambda release: (release["active"], publication_order(release)))


def served_user(warehouse: str, release: Row, user_id: str, domain: Domain) -> ServedUser:
    """Read what a release holds about a user, at the table versions that it names.

    Args:
        warehouse: root of the domain's tables.
        release: row of `releases`.
        user_id: the user.
        domain: the domain file.

    Raises:
        PipelineError: the release does not serve the user; the message says why, and does not name the user.
    """
    is_theirs = pc.field("user_id") == user_id
    as_of, first = release["as_of"], served_from(release["as_of"], domain.publishing.active_weeks)
    sequences = Snapshot(warehouse, SEQUENCES, dict(release["table_versions"])[SEQUENCES.name])
    rows = sequences.rows(first, as_of + DAY, where=is_theirs).sort_by([("as_of", "descending")])
    listed = rows_of(RECOMMENDATIONS, warehouse, release, where=is_theirs).sort_by("rank").to_pylist()
    if not len(rows) or not listed:
        ended = sequences.rows(end=as_of + DAY, columns=["as_of"], where=is_theirs)
        raise PipelineError(
            _why_not(release, max(ended["as_of"].to_pylist(), default=None), first, bool(listed), domain)
        )
    intents = None
    if is_of_model(release):
        (intents,) = rows_of(USER_INTENTS, warehouse, release, where=is_theirs).to_pylist()
    return ServedUser(release, rows.slice(0, 1).combine_chunks(), listed, intents)


def _why_not(release: Row, last: date | None, first: date, listed: bool, domain: Domain) -> str:
    """Why a user has no row that was scored, or no titles.

    Args:
        release: which does not serve the user.
        last: the latest as_of up to that of the release at which the user has a row of `sequences`; None without any.
        first: the earliest as_of of rows that are served.
        listed: whether the release has titles for the user.
        domain: the domain file.
    """
    of = f"release {release['release_id']} as of {release['as_of']}"
    weeks = domain.publishing.active_weeks
    popular = "users without a row are shown the titles of `popular_titles`"
    if listed:
        return (
            f"{of} serves this user from a row of `sequences` that is older than publishing.active_weeks ({weeks}) "
            "allows now: the domain file has changed since. Use the file of that time "
            f"(configuration {release['config_hash']}, commit {release['code_version']})"
        )
    if last is None:
        return (
            f"{of} does not serve this user, who has no row in `sequences` up to that date. Check the id: it is the "
            f"user_id of `interactions`. A new user is served after the first week with an interaction; until then "
            f"{popular}"
        )
    if last < first:
        return (
            f"{of} does not serve this user, who was last active in the week from {last - WEEK}. It serves users who "
            f"were active from {first - WEEK} on (publishing.active_weeks: {weeks}); {popular}. To see what an earlier "
            f"release recommended: --week {last - WEEK}. To serve this user again, raise active_weeks and publish"
        )
    return (
        f"{of} has no title for this user, although `sequences` has a row: every title on offer was left out "
        f"(publishing.seen_titles: {str(domain.publishing.seen_titles).lower()}), or none was on offer"
    )
