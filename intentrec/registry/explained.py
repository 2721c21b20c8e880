"""Why a user has the published titles: the rows of a release, beside what the model gives for the same row.

The published numbers are the ones that are explained. Where the model gives others, nothing is.
"""

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from intentrec.calendar import DAY, WEEK, week_start_of
from intentrec.config import Domain, Profile
from intentrec.contracts import CATALOG, INTERACTIONS, RECOMMENDATIONS, TITLE_FACTS, TITLE_STATE, USER_INTENTS
from intentrec.errors import PipelineError
from intentrec.inference.explanation import Explanation, TitleScore, explain
from intentrec.inference.scorer import Scorer, read_files
from intentrec.interactions.recent import Recent, recent
from intentrec.registry.health import problem_of
from intentrec.registry.releases import Row, is_of_model
from intentrec.registry.served_user import ServedUser, chosen_release, served_user
from intentrec.registry.versions import Registry
from intentrec.storage.delta import Snapshot, arrow_schema, releases, warehouse_of
from intentrec.storage.runs import code_version, ledger
from intentrec.training.data import read_catalog, read_title_facts, title_names

TOLERANCE = 1e-4  # absolute, and relative: sums of 32-bit numbers depend on the rows that are scored together
RECENT = 10  # interactions that are explained, the latest


@dataclass(frozen=True)
class Recommended:
    """A published title.

    Attributes:
        rank: 1 is best.
        title_id: the title.
        score: as published.
        known: whether the user has touched it before; None in releases of earlier versions.
        parts: what the score is made of; None in a release of a naive baseline.
    """

    rank: int
    title_id: str
    score: float
    known: bool | None
    parts: TitleScore | None


@dataclass(frozen=True)
class Written:
    """A table version that a release names, and the attempt that wrote it; `attempt` is None if no ledger has it."""

    table: str
    version: int
    attempt: Mapping[str, Any] | None


@dataclass(frozen=True)
class Explained:
    """What is published for a user, and why.

    Attributes:
        release: row of `releases`.
        snapshot: as_of of the user's row of `sequences`.
        recent: the latest interactions of that row, oldest first.
        intents: the published labels by intent with their probabilities; empty for a naive baseline.
        attention: weight by intent; empty for a naive baseline.
        primary: the intent with the greatest weight; empty for a naive baseline.
        lead: the intent whose classes V4 sums over; empty for other models.
        recommended: rank 1 first.
        titles: text of each title by the catalogue; titles without one are left out.
        written: the table versions of the release.
        settings_changed: whether the domain file has changed since the publication.
    """

    release: Row
    snapshot: date
    recent: list[Recent]
    intents: dict[str, dict[str, float]]
    attention: dict[str, float]
    primary: str
    lead: str
    recommended: list[Recommended]
    titles: dict[str, str]
    written: list[Written]
    settings_changed: bool

    def title(self, title_id: str) -> str:
        """A title for people: its text and its id, or only the id."""
        return f"{self.titles[title_id]} ({title_id})" if title_id in self.titles else title_id


def explained(profile: Profile, domain: Domain, user_id: str, week: date | None = None) -> Explained:
    """Explain what is published for a user.

    Args:
        profile: where the tables and the registry are.
        domain: the domain file.
        user_id: the user.
        week: first service date of a week whose release is explained; None for the active release.

    Raises:
        PipelineError: there is no such release, it does not serve the user, the model's files are gone, or the model
            gives other numbers than the published ones.
    """
    warehouse = warehouse_of(profile, domain)
    release = chosen_release(releases(profile, domain), week)
    user = served_user(warehouse, release, user_id, domain)
    versions = dict(release["table_versions"])
    catalog = read_catalog(warehouse, versions[CATALOG.name], release["as_of"])
    lead, found = "", None
    if is_of_model(release):
        scorer = _scorer(profile, domain, release, catalog, _title_facts(warehouse, release))
        lead = scorer.predictor.spec.lead_intent
        found = _recomputed(scorer, user)
        _require_published(user, found)
    parts = {each.title_id: each for each in found.titles} if found else {}
    intents = user.intents or {"top_labels": (), "top_probabilities": (), "attention": (), "primary_intent": ""}
    probabilities = dict(intents["top_probabilities"])
    return Explained(
        release,
        user.sequence["as_of"][0].as_py(),
        _recent(warehouse, versions, user, user_id, domain),
        {name: dict(zip(labels, probabilities[name], strict=True)) for name, labels in intents["top_labels"]},
        dict(intents["attention"]),
        intents["primary_intent"],
        lead,
        [
            Recommended(row["rank"], row["title_id"], row["score"], row["known"], parts.get(row["title_id"]))
            for row in user.recommendations
        ],
        title_names(catalog),
        written(versions, ledger(profile, domain)),
        release["config_hash"] != domain.hash,
    )


def written(versions: Mapping[str, int], attempts: Iterable[Mapping[str, Any]]) -> list[Written]:
    """Which attempt wrote each table version.

    Args:
        versions: by table.
        attempts: rows of the ledger, oldest first. A later attempt that found the version unchanged names it, too.
    """
    first: dict[tuple[str, int], Mapping[str, Any]] = {}
    for attempt in attempts:
        for pair in attempt["outputs"].items():
            first.setdefault(pair, attempt)
    return [Written(table, version, first.get((table, version))) for table, version in sorted(versions.items())]


def _title_facts(warehouse: str, release: Row) -> pa.Table:
    """What the release knew of the popularity of titles; no row in a release of an earlier version."""
    version = dict(release["table_versions"]).get(TITLE_FACTS.name)
    if version is None:
        return arrow_schema(TITLE_FACTS).empty_table()
    return read_title_facts(warehouse, version, release["as_of"])


def _scorer(profile: Profile, domain: Domain, release: Row, catalog: pa.Table, title_facts: pa.Table) -> Scorer:
    """The model of a release, with the titles on offer on its date."""
    registry = Registry(profile, domain)
    version = registry.version(release["model_version"])
    problem = problem_of(registry, version)
    if problem is not None:
        raise PipelineError(
            f"version {version.number} of {version.name} made release {release['release_id']} as of "
            f"{release['as_of']}, which cannot be explained without it: {problem}"
        )
    with tempfile.TemporaryDirectory() as folder:
        return Scorer(read_files(registry.artifacts(version, Path(folder))), catalog, title_facts, release["as_of"])


def _recomputed(scorer: Scorer, user: ServedUser) -> Explanation:
    """What the model gives for the row that was scored."""
    titles = [row["title_id"] for row in user.recommendations]
    try:
        return explain(scorer.predictor, scorer.items, user.sequence, titles)
    except ValueError as error:
        raise PipelineError(
            f"release {user.release['release_id']} as of {user.release['as_of']} cannot be recomputed from the tables "
            f"at the versions that it names: {error}. It was made with commit {user.release['code_version']}, this is "
            f"{code_version()}"
        ) from error


def _require_published(user: ServedUser, found: Explanation) -> None:
    """Check that scores, probabilities and attention weights equal the published ones.

    Raises:
        PipelineError: names the first that differs.
    """
    release, intents = user.release, user.intents or {}
    pairs = [
        (f"the score of {row['title_id']} in {RECOMMENDATIONS.name}", row["score"], title.score)
        for row, title in zip(user.recommendations, found.titles, strict=True)
    ]
    probabilities = dict(intents["top_probabilities"])
    pairs += [
        (f"p({label}) of {name} in {USER_INTENTS.name}", p, found.intents[name][label])
        for name, labels in intents["top_labels"]
        for label, p in zip(labels, probabilities[name], strict=True)
    ]
    pairs += [
        (f"the attention weight of {name} in {USER_INTENTS.name}", weight, found.attention[name])
        for name, weight in intents["attention"]
    ]
    for what, published, ours in pairs:
        if not math.isclose(published, ours, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise PipelineError(
                f"release {release['release_id']} as of {release['as_of']}: {what} is {published:.6g}, but version "
                f"{release['model_version']} of {release['model_name']} gives {ours:.6g} for the same row. So the "
                "published rows, the model's files, or the code have changed since: the release was made with commit "
                f"{release['code_version']}, this is {code_version()}. Explain it with that commit, or publish the "
                f"week from {release['as_of'] - WEEK} again"
            )


def _recent(
    warehouse: str, versions: Mapping[str, int], user: ServedUser, user_id: str, domain: Domain
) -> list[Recent]:
    """The latest interactions of the user's row.

    Releases of earlier versions do not name all tables. Then the latest version counts.
    """
    columns = ("title_id", "start_ts", "end_ts", "action_type")
    arrays = (user.sequence[name][0].as_py()[-RECENT:] for name in columns)
    positions = [dict(zip(columns, values, strict=True)) for values in zip(*arrays, strict=True)]
    as_of, is_theirs = user.release["as_of"], pc.field("user_id") == user_id
    first = week_start_of(
        positions[0]["start_ts"].date() - DAY, domain.calendar
    )  # a service day may begin the day before
    interactions = Snapshot(warehouse, INTERACTIONS, versions.get(INTERACTIONS.name))
    states = Snapshot(warehouse, TITLE_STATE, versions.get(TITLE_STATE.name))
    return recent(
        positions,
        interactions.rows(first - domain.events.longest_visit, as_of, where=is_theirs).to_pylist(),
        states.rows(first, as_of, where=is_theirs).to_pylist(),
        domain,
    )
