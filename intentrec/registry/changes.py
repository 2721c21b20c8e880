"""Differences between two versions in data, settings and code, read from the MLflow runs of their trainings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from intentrec.registry.tracking import read_text
from intentrec.registry.versions import Registry, Version

ABSENT = "-"
# Tags of a training's MLflow run that describe its inputs.
DATA = ("version.", "rows.")
ABOUT = ("trained_for", "cutoff", "code_version", "config_hash")


@dataclass(frozen=True)
class Change:
    """One fact of two versions; `-` where a version does not have it."""

    what: str
    champion: str
    challenger: str


def changes(champion: Mapping[str, str], challenger: Mapping[str, str], equal: bool = False) -> list[Change]:
    """Facts whose values differ, by name; with `equal` also those whose values are equal."""
    names = sorted({*champion, *challenger})
    found = [Change(name, champion.get(name, ABSENT), challenger.get(name, ABSENT)) for name in names]
    return [change for change in found if equal or change.champion != change.challenger]


def flat(tree: Any, name: str = "") -> dict[str, str]:
    """A tree of settings as dotted keys; list entries that have a `name` are keyed by it, others stay whole."""
    if isinstance(tree, Mapping):
        return {
            key: value
            for part, below in tree.items()
            for key, value in flat(below, f"{name}.{part}" if name else str(part)).items()
        }
    if isinstance(tree, list) and tree and all(isinstance(entry, Mapping) and "name" in entry for entry in tree):
        return flat({entry["name"]: {k: v for k, v in entry.items() if k != "name"} for entry in tree}, name)
    return {name: str(tree)}


def data_of(registry: Registry, version: Version) -> dict[str, str]:
    """Dates, code version, table versions and row counts of a version's training."""
    tags = registry.client.get_run(version.run_id).data.tags
    return {name: value for name, value in tags.items() if name in ABOUT or name.startswith(DATA)}


def settings_of(registry: Registry, version: Version) -> dict[str, str]:
    """Every setting of a version: the logged parameters, defaults included, and the rest of its domain file."""
    params = registry.client.get_run(version.run_id).data.params
    domain_file = flat(yaml.safe_load(read_text(version.run_id, "config.yaml")))
    sections = {name.partition(".")[0] for name in params if "." in name}
    return {
        **{name: value for name, value in domain_file.items() if name.partition(".")[0] not in sections},
        **{name: value for name, value in params.items() if "." in name},
    }
