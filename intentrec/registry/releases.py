"""Releases: each row names everything behind one publication, and one row is the release that consumers use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from intentrec.config import Domain, fingerprint
from intentrec.contracts import RECOMMENDATIONS

Row = Mapping[str, Any]
NO_VERSION = "none"  # model_version of a release that a naive baseline made


def is_of_model(release: Row) -> bool:
    """Whether a registered model made the release, and no naive baseline."""
    return release["model_version"] != NO_VERSION


def publication_order(release: Row) -> tuple[Any, int]:
    """Sort key of a release: its date, then the commit of its rows.

    Every release rewrites the rows of its date, because they carry its id. The table versions that releases name are
    therefore in the order of publication.
    """
    return release["as_of"], dict(release["table_versions"])[RECOMMENDATIONS.name]


def release_id(domain: Domain, as_of: date, model: str, version: str, inputs: Mapping[str, str]) -> str:
    """Hash of everything that determines the published rows; `inputs` are content checksums by table.

    Publishing a week again from the same inputs gives the same id, and changes nothing.
    """
    return fingerprint(
        {
            "domain": domain.domain,
            "config": domain.hash,
            "as_of": as_of,
            "model": model,
            "version": version,
            "inputs": dict(inputs),
        }
    )


@dataclass(frozen=True)
class Release:
    """A row of `releases` without its flag `active`; `table_versions` by table, `metrics` by name."""

    release_id: str
    as_of: date
    model_name: str
    model_version: str
    mlflow_run_id: str
    table_versions: Mapping[str, int]
    metrics: Mapping[str, float]
    config_hash: str
    code_version: str

    def row(self, active: bool) -> dict[str, Any]:
        """As a row of the table."""
        return {**self.__dict__, "active": active}


def updated(
    existing: Sequence[Mapping[str, Any]],
    release: Release,
    activate: bool = True,
    even_if_older: bool = False,
    rewritten: bool = True,
) -> list[dict[str, Any]]:
    """All rows of `releases` after `release` was published; at most one of them is active.

    Args:
        existing: rows before.
        release: what was published.
        activate: make it the active release, unless the active one is of a later date.
        even_if_older: activate it although the active one is of a later date.
        rewritten: whether a published table got other rows. If not, the row of a release that exists stays as it is:
            the versions that it names hold the same rows.
    """
    rows = {row["release_id"]: dict(row) for row in existing}
    known = rows.get(release.release_id)
    later = any(row["active"] and row["as_of"] > release.as_of for row in rows.values())
    if known is None or rewritten:
        rows[release.release_id] = release.row(active=bool(known and known["active"]))
    if activate and (even_if_older or not later):
        for key, row in rows.items():
            row["active"] = key == release.release_id
    return [rows[key] for key in sorted(rows)]
