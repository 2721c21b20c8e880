"""The results of fault injection: a table on the terminal, `robustness.json`, and its page `robustness.md`."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from intentrec.config import ROOT
from intentrec.local.terminal import console, grid
from intentrec.reports import markdown, templates
from intentrec.reports.markdown import Markdown
from intentrec.storage.runs import code_version
from tests.chaos.faults import Outcome

RESULTS = ROOT / "lab" / "results"
DATA, PAGE = "robustness.json", "robustness.md"
Part = Literal["crash", "outages"]


@dataclass
class Report:
    """The outcome of every fault, and the number of trainings that continued from a checkpoint."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    resumed: int = 0

    def counts(self) -> list[dict[str, Any]]:
        """By kind of fault and job: the number of faults, and of each ending."""
        endings: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for outcome in self.outcomes:
            endings[outcome.fault.kind, outcome.fault.job][outcome.ending] += 1
        return [
            {"fault": kind, "job": job, "times": found.total(), "endings": dict(found)}
            for (kind, job), found in sorted(endings.items())
        ]


def publish(report: Report, part: Part, command: str, folder: Path = RESULTS) -> None:
    """Print the counts, store them in the folder's JSON file, and write the page.

    Args:
        report: the outcomes.
        part: which results of the file they replace.
        command: the command that made them, for the page.
        folder: of the JSON file and the page.
    """
    results: dict[str, Any] = {
        "command": command,
        "code": code_version(),
        "seed": report.seed,
        "resumed": report.resumed,
        "counts": report.counts(),
        "outcomes": [str(outcome) for outcome in report.outcomes],
    }
    table = grid(f"{len(report.outcomes)} faults, seed {report.seed}", *header(results))
    for row in rows(results):
        table.add_row(*row)
    console.print(table)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / DATA
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content[part] = results
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(render(content), encoding="utf-8")


def render(content: dict[str, Any]) -> str:
    """The page, as Markdown, with the parts that have results."""
    values = {"parts": content, "table": _table, "data": DATA, "notes": _notes}
    return templates.render("robustness.md.jinja", "tests.chaos", **values).rstrip() + "\n"


def _notes(results: dict[str, Any]) -> list[Markdown]:
    return [Markdown(note) for note in results.get("notes", [])]


def _table(results: dict[str, Any]) -> Markdown:
    return markdown.table(header(results), rows(results), "llr")


def header(results: dict[str, Any]) -> list[str]:
    """Column names of the counts."""
    return ["fault", "job", "times", *_endings(results)]


def rows(results: dict[str, Any]) -> list[list[str]]:
    """The counts as text; an ending that did not occur is left blank."""
    endings = _endings(results)
    return [
        [row["fault"], row["job"], str(row["times"]), *(str(row["endings"].get(name, "")) for name in endings)]
        for row in results["counts"]
    ]


def _endings(results: dict[str, Any]) -> list[str]:
    return sorted({name for row in results["counts"] for name in row["endings"]})
