"""The domain's registered model: its versions, and the aliases `challenger` and `champion`.

Moving an alias changes one row of the registry's database, so readers see the old version or the new one. Everything
that a later run needs to know about a version is a tag of the version:

    fingerprint     hash of everything that determined the training
    trained_for     the T it was trained for: it knows nothing after T - 7d
    gate            promoted, kept (another version stayed champion) or rolled_back
    recommendation  promote or keep: what the gate recommends where a person decides
    review          awaiting, approved or rejected; with review_reason, reviewed_by and reviewed_at (UTC)
    replaced        number of the champion before it
    decision        the gate's verdict, a hash of the evidence (`based_on`), and name and hash of the whole record. That
                    is an artifact of the training's MLflow run, because a tag has a limit and the record has not
    applied         that hash, once the alias was moved accordingly
    left.ID         a rollback away from release ID of this version, as JSON: to which release, by whom, when and why
    again.ID        the same, where the release was made active again later
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intentrec.config import Domain, Profile
from intentrec.errors import PipelineError
from intentrec.registry.tracking import client_of, described, read_text

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"
PROMOTED, KEPT, ROLLED_BACK = "promoted", "kept", "rolled_back"
LEFT, AGAIN = "left.", "again."  # prefixes of tags
OWN = {"fingerprint", "trained_for"}  # tags of every version that the weekly run registered
ABOUT = """IntentRec, retrained weekly. `champion` is the version that publishes, `challenger` the newest one.

The card of a version describes its data and its metrics. Its tag `gate` holds the outcome of the gate, its tag
`report` the place of its week's report. Where the tag `review` is *awaiting*, a person decides: set it to `approved` or
`rejected`, with a `review_reason`, or move the alias `champion` to the version."""
REASON_LENGTH = 2_000  # characters of a person's reason, at most: it is kept in a tag
AWAITING, APPROVED, REJECTED = "awaiting", "approved", "rejected"


@dataclass(frozen=True)
class Version:
    """One registered version. `gate`, `replaced`, `applied` and `review` are its tags, None where it has none."""

    name: str
    number: str
    run_id: str
    fingerprint: str
    trained_for: date
    gate: str | None
    replaced: str | None
    applied: str | None
    review: str | None = None

    @property
    def uri(self) -> str:
        """What mlflow.pyfunc.load_model takes."""
        return f"models:/{self.name}/{self.number}"

    @classmethod
    def of(cls, entry: "ModelVersion") -> "Version":
        """From MLflow's entry."""
        tags = entry.tags
        return cls(
            entry.name,
            str(entry.version),
            str(entry.run_id),
            tags["fingerprint"],
            date.fromisoformat(tags["trained_for"]),
            tags.get("gate"),
            tags.get("replaced"),
            tags.get("applied"),
            tags.get("review"),
        )


class Registry:
    """The versions of one domain's model."""

    def __init__(self, profile: Profile, domain: Domain) -> None:
        self.client = client_of(profile)
        self.name = domain.model_name

    def versions(self) -> list[Version]:
        """All versions that the weekly run registered, oldest first. Versions registered by hand are ignored."""
        found = self.client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        own = (Version.of(entry) for entry in found if entry.tags.keys() >= OWN)
        return sorted(own, key=lambda version: int(version.number))

    def by_fingerprint(self, fingerprint: str) -> Version | None:
        """The version trained from exactly these inputs."""
        return next((version for version in self.versions() if version.fingerprint == fingerprint), None)

    def by_alias(self, alias: str) -> Version | None:
        """The version that has an alias.

        Raises:
            PipelineError: it was registered by hand, so how it was trained is unknown.
        """
        from mlflow.exceptions import MlflowException

        try:
            entry = self.client.get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        if not entry.tags.keys() >= OWN:
            raise PipelineError(
                f"version {entry.version} of {self.name} has the alias {alias}, but not the tags "
                f"{', '.join(sorted(OWN))}: no weekly run registered it. Give the alias in MLflow to one that has them"
            )
        return Version.of(entry)

    def champion(self) -> Version | None:
        """The version that publishes."""
        return self.by_alias(CHAMPION)

    def champion_for(self, as_of: date) -> Version | None:
        """The version that publishes `as_of`: the champion, unless it was trained for a later date.

        Then it is the latest promoted version that was trained for `as_of` or earlier. Publishing an old week again
        therefore gives the same rows, and never uses what was learned later.
        """
        champion = self.champion()
        if champion is None or champion.trained_for <= as_of:
            return champion
        past = [v for v in self.versions() if v.gate == PROMOTED and v.trained_for <= as_of]
        return max(past, key=lambda version: (version.trained_for, int(version.number)), default=None)

    def register(self, source: str, run_id: str, tags: dict[str, str], card: str) -> Version:
        """Register a logged model (`source`, models:/m-...) once per fingerprint; the newest becomes `challenger`.

        `tags` must hold fingerprint and trained_for.
        """
        from mlflow.exceptions import MlflowException

        version = self.by_fingerprint(tags["fingerprint"])
        if version is None:
            try:
                self.client.create_registered_model(self.name, description=ABOUT)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            model_id = source.removeprefix("models:/")
            entry = self.client.create_model_version(
                self.name, source, run_id, tags=tags, description=described(card), model_id=model_id
            )
            version = Version.of(entry)
        challenger = self.by_alias(CHALLENGER)
        if challenger is None or challenger.trained_for <= version.trained_for:
            self._point(CHALLENGER, version)
        return version

    def promote(self, version: Version) -> None:
        """Make a version champion, and record which one it replaces.

        The alias moves last: a champion without the tag would look as if a person had moved the alias.
        """
        before = self.champion()
        if before is not None and before.number != version.number:
            self.tag(version, "replaced", before.number)
        self.tag(version, "gate", PROMOTED)
        self._point(CHAMPION, version)

    def decline(self, version: Version) -> None:
        """Record that a version was judged and did not become champion."""
        self.tag(version, "gate", KEPT)

    def request_review(self, version: Version, recommendation: str) -> None:
        """Leave the decision about a version to a person, and record what the gate recommends."""
        self.tag(version, "recommendation", recommendation)
        if version.review is None and version.gate is None:
            self.tag(version, "review", AWAITING)

    def restore(self, previous: Version, left: Version) -> None:
        """Give the alias `champion` back to `previous`, and mark `left` as rolled back."""
        self.tag(previous, "gate", PROMOTED)
        self._point(CHAMPION, previous)
        self.tag(left, "gate", ROLLED_BACK)

    def record_rollback(self, version: Version, release_id: str, trail: str) -> None:
        """Record with a version that a release of it was rolled back; `trail` says how, as JSON."""
        self.tag(version, LEFT + release_id, trail)

    def record_return(self, version: Version, release_id: str, trail: str) -> None:
        """Record that a release was made active again: it no longer counts as rolled back."""
        self.tag(version, AGAIN + release_id, trail)
        if LEFT + release_id in self.tags(version):
            self.client.delete_model_version_tag(self.name, version.number, LEFT + release_id)

    def tags(self, version: Version) -> dict[str, str]:
        """All tags of a version as they are now."""
        return dict(self.client.get_model_version(self.name, version.number).tags)

    def find(self, number: str) -> Version | None:
        """A version by its number, None if there is none."""
        return next((version for version in self.versions() if version.number == number), None)

    def version(self, number: str) -> Version:
        """A version by its number.

        Raises:
            PipelineError: there is none.
        """
        found = self.find(number)
        if found is not None:
            return found
        raise PipelineError(
            f"{self.name} has no version {number}; it has {', '.join(v.number for v in self.versions()) or 'none'}"
        )

    def artifacts(self, version: Version, folder: Path) -> Path:
        """Download the version's files below `folder`; the result holds `model/`, `catalog.parquet`, ..."""
        from mlflow.artifacts import download_artifacts

        local = Path(download_artifacts(artifact_uri=version.uri, dst_path=str(folder)))
        return local / "artifacts"

    def gate_metrics(self, version: Version) -> dict[str, float]:
        """The metrics of a version in the gate's table, by name; empty if it was never judged."""
        for row in (self.decision(version) or {}).get("rows", []):
            if row["system"] == "challenger":
                return {name: value for name, value in row.items() if isinstance(value, int | float)}
        return {}

    def verdict(self, version: Version) -> dict[str, Any] | None:
        """The version's tag `decision`: at least `decision` (promote or keep) and `based_on`."""
        text = self.tags(version).get("decision")
        return json.loads(text) if text else None

    def decision(self, version: Version) -> dict[str, Any] | None:
        """What the gate recorded about a version, as gate.json holds it.

        Raises:
            PipelineError: the record is lost or was changed.
        """
        from mlflow.exceptions import MlflowException

        verdict = self.verdict(version)
        if verdict is None or "record" not in verdict:
            return verdict  # the tags of versions that were judged earlier hold the whole record
        about = (
            f"the gate's record of version {version.number} of {self.name} ({verdict['record']} of MLflow run "
            f"{version.run_id})"
        )
        again = f"run gate again over the week before {version.trained_for}"
        try:
            text = read_text(version.run_id, verdict["record"])
        except (MlflowException, OSError) as error:
            raise PipelineError(f"{about} cannot be read: {again}. ({error})") from error
        if _digest(text) != verdict["sha256"]:
            raise PipelineError(f"{about} was changed since it was written: {again}")
        return json.loads(text)

    def record(self, version: Version, decision: dict[str, Any]) -> None:
        """Keep what the gate decided: the whole with the training's MLflow run, the verdict in a tag of the version."""
        text = json.dumps(decision, ensure_ascii=False)
        digest = _digest(text)
        name = f"decisions/{digest[:16]}.json"
        self.client.log_text(version.run_id, text, name)
        verdict = {key: decision[key] for key in ("decision", "based_on")}
        self.tag(version, "decision", json.dumps({**verdict, "record": name, "sha256": digest}))

    def _point(self, alias: str, version: Version) -> None:
        current = self.by_alias(alias)
        if current is None or current.number != version.number:
            self.client.set_registered_model_alias(self.name, alias, version.number)

    def tag(self, version: Version, key: str, value: str) -> None:
        """Set a tag of a version."""
        self.client.set_model_version_tag(self.name, version.number, key, value)


def checked_reason(reason: str, needed: str) -> str:
    """A person's reason without blanks around it.

    Args:
        reason: as the person gave it.
        needed: the error where there is none.

    Raises:
        PipelineError: there is none, or it is too long.
    """
    reason = reason.strip()
    if not reason:
        raise PipelineError(needed)
    if len(reason) > REASON_LENGTH:
        raise PipelineError(f"the reason has {len(reason):,} characters: give one of at most {REASON_LENGTH:,}")
    return reason


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
