"""The settings of a domain file that decide what each job writes, as hashes that the ledger keeps with each attempt.

A setting at its default is left out. So a new version of IntentRec with a setting more leaves the hashes as they are.
"""

from typing import Any

from intentrec.config import Domain, fingerprint

_DAYS = {"zone", "day_start"}  # which service date an event has
_OF_EVENTS = {"types", "return_type", "signals", "max_duration"}
DECIDE: dict[str, dict[str, Any]] = {
    "calendar": {"calendar": _DAYS},
    "ingest": {
        "source": {"reader", "options", "max_line_bytes"},
        "calendar": {*_DAYS, "lateness", "history_start"},
        "events": {*_OF_EVENTS, "quantity", "max_hours_per_day", "max_clock_skew", "max_age"},
    },
    "build_interactions": {
        "calendar": {*_DAYS, "session_gap", "history_start", "censored_weeks"},
        "events": {*_OF_EVENTS, "play_types", "list_add", "list_remove"},
        "interactions": True,
        "intents": True,  # the feature profiles count their classes
    },
    "build_sequences": {"calendar": _DAYS, "events": {"max_duration"}, "sequences": True},
    "publish": {"calendar": _DAYS, "publishing": True},
}


def settings_hashes(domain: Domain, job: str) -> dict[str, str]:
    """Hash of the settings that decide what a job writes, as `job`, and of those that part the days, as `calendar`.

    Jobs that write no table of a week have the second only.
    """
    named = {"job": job, "calendar": "calendar"}
    return {name: _hash(domain, key) for name, key in named.items() if key in DECIDE}


def _hash(domain: Domain, key: str) -> str:
    value = domain.model_dump(mode="json", include=DECIDE[key], exclude_defaults=True)
    options = value.get("source", {}).pop("options", {})
    # Not the folder of the raw files: the ledger knows the files that were read.
    return fingerprint([value, {name: each for name, each in options.items() if name != "data"}])
