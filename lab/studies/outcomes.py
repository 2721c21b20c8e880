"""`lab/results/outcomes.md`: how each claim, and what is shipped, came out on every data set that has a page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lab.studies import markdown
from lab.studies.claims import SURE, found

PAGE = """# Outcomes across the data sets

Written anew with every study's page, from the same figures. Lift of the next event's MRR per user, p-value. Above,
below: p < {sure:g}; level: no difference that sure; empty: not both trained there. In brackets the p-value adjusted
for all comparisons of its table (Benjamini and Hochberg): of those with less than .05 there, one in twenty is
expected to be chance. Where seeds are missing, the page of the data set says so. What each data set can test, and how
the simulated worlds had to end, was [written before](claims.md); what it means is in [what the studies
found](README.md).

{counted}

## The paper's claims

{claims}

## What is shipped, over everything else

{shipped}

## The same, refit with the validation days

Of the rows, only item_knn that says so learned these, too; naive baselines that only count or repeat know them in any case.

{shippedrefit}
"""
SHIPPED = ("shipped", "shippedrefit")
Outcome = tuple[str, Mapping[str, float]]  # above, below or level, and the lift
Outcomes = dict[tuple[str, ...], dict[str, Outcome]]  # row -> study -> outcome


def write(folder: Path) -> None:
    """Gather all `NAME.json` of studies in `folder` into `outcomes.md`."""
    studies = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    studies = {name: study for name, study in studies.items() if "claims" in study}
    claims: Outcomes = {}
    shipped: dict[str, Outcomes] = {system: {} for system in SHIPPED}
    for name, study in studies.items():
        for line in study["claims"]:
            row = claims.setdefault((line["claim"], line["ours"], line["theirs"]), {})
            row[name] = line["found"], line["lift"]
        for line in study["margins"]:
            for system, over in shipped.items():
                if lift := line.get(f"{system}.next_event"):
                    # Each data set ships a file of its own, and this row stands for all of them.
                    label = "as shipped, before its refit" if line["system"] == "shipped" else line["label"]
                    over.setdefault((label,), {})[name] = found(lift), lift
    text = PAGE.format(
        sure=SURE,
        counted=_counted(claims, studies),
        claims=_grid(["claim", "system", "over"], dict(sorted(claims.items(), key=lambda item: item[0][0])), studies),
        **{system: _grid(["over"], over, studies) for system, over in shipped.items()},
    )
    (folder / "outcomes.md").write_text(text, encoding="utf-8")


def _counted(claims: Outcomes, studies: Mapping[str, Mapping[str, Any]]) -> str:
    """How many comparisons are sure, by this rule and by others."""
    under = [lift for row in claims.values() for _, lift in row.values()]
    beside = [lift for study in studies.values() for line in study["margins"] for lift in line.values()]
    margins = [lift for lift in beside if isinstance(lift, dict)]
    adjusted = _adjusted([lift["p_value"] for lift in under])
    return (
        f"Of the {len(under)} comparisons under the claims {sum(lift['p_value'] < SURE for lift in under)} are above "
        f"or below, {sum(adjusted < SURE)} of them by the adjusted p-value, too ({sum(adjusted < 0.05)} with one below "
        f"0.05). By the p-value over users alone {_turned(under)} more of them would be, and {_turned(margins)} more "
        f"of the {len(margins)} margins on the pages."
    )


def _turned(lifts: Sequence[Mapping[str, float]]) -> int:
    return sum(lift["p_users"] < SURE <= lift["p_value"] for lift in lifts)


def _adjusted(p_values: Sequence[float]) -> NDArray:
    return stats.false_discovery_control(p_values) if p_values else np.zeros(0)


def _grid(head: list[str], outcomes: Outcomes, studies: Mapping[str, Mapping[str, Any]]) -> str:
    names = [f"[{name}]({name}.md){' (simulated)' if study['simulated'] else ''}" for name, study in studies.items()]
    places = [(key, name) for key, row in outcomes.items() for name in row]
    p_values = [outcomes[key][name][1]["p_value"] for key, name in places]
    together = dict(zip(places, _adjusted(p_values).tolist(), strict=True))

    def cell(key: tuple[str, ...], name: str) -> str:
        if (key, name) not in together:
            return ""
        outcome, lift = outcomes[key][name]
        return f"{outcome} {lift['estimate']:+.1%}, {lift['p_value']:.2g} ({together[key, name]:.2g})"

    return markdown.grid([*head, *names], [[*key, *(cell(key, name) for name in studies)] for key in outcomes])
