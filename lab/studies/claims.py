"""The paper's claims that compare two systems, numbered as in lab/results/claims.md, and how each came out."""

from collections.abc import Mapping, Sequence
from typing import Any

from intentrec.model.spec import BASELINES
from lab.studies.tables import Measured, compared

SURE = 0.01  # p-value below which a difference counts
FIXED = {
    "1. IntentRec beats every baseline": [("v3", baseline) for baseline in BASELINES],
    "2. Multi-task learning alone is about V0": [("v1", "v0")],
    "3. The hierarchy beats V1": [("v2", "v1")],
    "4. Short-term interest beats V2": [("v3", "v2")],
    "5. What V3 gains is intent": [("v3", control) for control in ("v0s", "v0deep", "v2free", "v3strangers")],
}


def outcomes(measured: Mapping[str, Measured], intents: Sequence[str]) -> list[dict[str, Any]]:
    """Lift, and whether ours is above, below or level, for each comparison whose two systems have results."""
    single = {
        f"{'6' if intent == 'action_type' else '7'}. {intent} is a useful intent": [(f"v3only_{intent}", "v0")]
        for intent in intents
    }
    lines = []
    for claim, pairs in {**FIXED, **single}.items():
        for ours, theirs in pairs:
            if ours in measured and theirs in measured:
                lift = compared(measured[ours], measured[theirs])
                labels = {"ours": measured[ours].label, "theirs": measured[theirs].label}
                lines.append({"claim": claim, **labels, "lift": lift, "found": found(lift)})
    return lines


def found(lift: Mapping[str, float]) -> str:
    """Above, below or level."""
    if not lift["p_value"] < SURE:
        return "level"
    return "above" if lift["estimate"] > 0 else "below"
