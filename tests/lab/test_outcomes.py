"""One page over the pages of all studies."""

import json
from pathlib import Path

from lab.studies import outcomes


def lift(estimate: float, p_value: float, p_users: float = 1.0) -> dict[str, float]:
    return {"estimate": estimate, "p_value": p_value, "p_users": p_users}


def study(folder: Path, name: str, simulated: bool, claims: list[dict], margins: list[dict]) -> None:
    content = {"simulated": simulated, "claims": claims, "margins": margins}
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_each_comparison_is_a_row_and_each_study_a_column(tmp_path: Path) -> None:
    third = {"claim": "3. Hierarchy", "ours": "V2", "theirs": "V1", "found": "level", "lift": lift(-0.004, 0.4, 0.001)}
    first = {"claim": "1. Baselines", "ours": "V3", "theirs": "GRU", "found": "above", "lift": lift(0.251, 0.00012)}
    ours = {"shipped.next_event": lift(0.1, 0.009), "v3.next_event": lift(5.0, 0.5)}
    baselines = {"shipped.next_event": lift(-0.1, 0.009), "shippedrefit.next_event": lift(0.2, 0.5)}
    study(tmp_path, "films", False, [third], [{"system": "gru", "label": "GRU", **ours}])
    alone = {"system": "v3", "label": "V3", "v3.week_ahead": lift(1.0, 0.5)}
    itself = {"system": "shipped", "label": "as shipped (conf/world.yaml)", "shippedrefit.next_event": lift(0.0, 0.9)}
    study(
        tmp_path, "world", True, [first, third], [{"system": "markov", "label": "Markov", **baselines}, itself, alone]
    )
    (tmp_path / "cost.json").write_text(json.dumps({"command": "another page's figures"}))
    outcomes.write(tmp_path)
    page = (tmp_path / "outcomes.md").read_text()
    # In brackets, by hand: .00012 is the least of three, so times 3; what is last keeps its own, and ties with it do.
    assert [line for line in page.splitlines() if line.startswith("|")] == [
        "| claim | system | over | [films](films.md) | [world](world.md) (simulated) |",
        "|---|---:|---:|---:|---:|",
        "| 1. Baselines | V3 | GRU |  | above +25.1%, 0.00012 (0.00036) |",
        "| 3. Hierarchy | V2 | V1 | level -0.4%, 0.4 (0.4) | level -0.4%, 0.4 (0.4) |",
        "| over | [films](films.md) | [world](world.md) (simulated) |",
        "|---|---:|---:|",
        "| GRU | above +10.0%, 0.009 (0.009) |  |",
        "| Markov |  | below -10.0%, 0.009 (0.009) |",
        "| over | [films](films.md) | [world](world.md) (simulated) |",
        "|---|---:|---:|",
        "| Markov |  | level +20.0%, 0.5 (0.9) |",
        "| as shipped, before its refit |  | level +0.0%, 0.9 (0.9) |",
    ]
    # The same comparison of two data sets is sure over users alone, in both; of the margins none is.
    assert "Of the 3 comparisons under the claims 1 are above or below, 1 of them by the adjusted p-value" in page
    assert "By the p-value over users alone 2 more of them would be, and 0 more of the 6 margins" in page
