"""The page of one run interval: one HTML file that opens without a network.

Row contents come from outside and may be hostile: everything passes Jinja's automatic escaping, and the page forbids
itself scripts and remote resources.
"""

import base64
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from intentrec.config import Domain, Profile
from intentrec.events.reasons import advice
from intentrec.reports.run_facts import OUTCOMES, Facts, TableAudit, collect, report_dir
from intentrec.storage.files import write
from intentrec.storage.runs import Run

# Geometry of the waterfall, in units of its view box.
LEFT, WIDTH, ROW = 190.0, 600.0, 26.0
THINNEST = 1.5  # a bar of one row among millions stays visible
# Of the gate, at a glance.
METRICS = ("ndcg_at_10", "recall_at_10", "mrr", "coverage_at_10", "recall_at_10_new", "users")
NARROW = 6  # columns of the gate's table that fit beside the lift


@dataclass(frozen=True)
class Bar:
    """One row of the waterfall: `value` rows drawn from `x`, kept or lost."""

    label: str
    value: int
    tone: str
    share: float | None
    x: float
    y: float
    width: float


def waterfall(counts: dict[str, int]) -> list[Bar]:
    """From raw rows read, over what each outcome took away, to accepted events and the rows derived from them.

    Bars share one linear scale. Steps that have not been counted yet are left out.
    """
    read = counts.get("events.read")
    steps: list[tuple[str, int, int, str]] = []  # label, rows, rows to the left of it, tone
    if read is not None:
        steps.append(("raw events read", read, 0, "total"))
        left = read
        for outcome in OUTCOMES:
            lost = counts.get(f"events.{outcome}", 0)
            left -= lost
            steps.append((outcome, lost, max(left, 0), "lost"))
        steps.append(("accepted events", counts.get("events.accepted", 0), 0, "total"))
    derived = ("interactions", "sequences", "user_intents", "recommendations")
    steps += [(name, counts[f"{name}.rows"], 0, "derived") for name in derived if f"{name}.rows" in counts]
    scale = WIDTH / max([value + before for _, value, before, _ in steps], default=1) if any(s[1] for s in steps) else 0
    return [
        Bar(
            label=label,
            value=value,
            tone=tone,
            share=value / read if read and tone != "derived" else None,
            x=round(LEFT + before * scale, 2),
            y=ROW * index,
            width=round(max(value * scale, THINNEST if value else 0), 2),
        )
        for index, (label, value, before, tone) in enumerate(steps)
    ]


def render(profile: Profile, domain: Domain, start: date, end: date, live: Run | None = None) -> Path:
    """Write the interval's page and return its path. `live` is an attempt still running in this process."""
    facts = collect(profile, domain, start, end, live)
    return write(path(profile, domain, start, end), html(facts))


def path(profile: Profile, domain: Domain, start: date, end: date) -> Path:
    """Where the interval's page lies, written or not."""
    return report_dir(profile, domain, start, end) / "report.html"


def html(facts: Facts) -> str:
    """The page as text."""
    bars = waterfall(facts.counts)
    return (
        environment()
        .get_template("run_page.html.jinja")
        .render(
            facts=facts,
            headline=headline(facts),
            bars=bars,
            height=ROW * len(bars),
            derived=next((bar.y for bar in bars if bar.tone == "derived"), None),
            plots=[(path.stem.replace("_", " "), _data_uri(path)) for path in facts.plots],
            gate_columns=_columns(facts.gate),
            narrow=NARROW,
        )
    )


def headline(facts: Facts) -> str:
    """One sentence: how the run stands."""
    done = [job for job in facts.jobs if job.status == "succeeded"]
    broken = [job.job for job in facts.jobs if job.status == "failed"]
    warned = sum(len(table.warnings) for table in facts.tables)
    failed = sum(len(table.failures) for table in facts.tables)
    parts = [f"{len(done)} of {len(facts.jobs)} jobs succeeded"]
    parts += [f"{', '.join(broken)} failed"] if broken else []
    parts += [f"{failed} critical expectation{'s' * (failed != 1)} failed"] if failed else []
    parts += [f"{warned} warning{'s' * (warned != 1)}" if warned else "no warnings"]
    return "; ".join(parts)


def summary(facts: Facts) -> str:
    """The same in a few lines of text, for a terminal or a task's log."""
    lines = [f"{facts.domain} [{facts.start}, {facts.end}): {facts.status}: {headline(facts)}"]
    for job in facts.jobs:
        took = "" if job.seconds is None else f" {job.seconds:8.1f} s"
        lines.append(
            f"  {job.job:<20}{job.status:<10}{took}" + (f"  {job.message.splitlines()[0]}" if job.message else "")
        )
    if facts.counts:
        lines.append("  rows")
        lines += [f"    {bar.label:<18}{bar.value:>14,}" for bar in waterfall(facts.counts)]
    for table in facts.tables:
        found = [("FAILED", each) for each in table.failures] + [("warning", each) for each in table.warnings]
        lines += [f"  {level}: {table.table}: {each['kind']} on {each['on']}" for level, each in found]
    if facts.gate:
        lines.append(f"  gate: {facts.gate['decision']}")
    return "\n".join(lines)


def tone(status: str) -> str:
    """CSS class of a status."""
    known = {"succeeded": "good", "failed": "bad", "running": "open", "skipped": "open"}
    return known.get(status, "none")


def verdict(table: TableAudit) -> tuple[str, str]:
    """Class and text of a table's chip."""
    if table.result is None:
        return "none", "no audit"
    if table.failures:
        return "bad", f"{len(table.failures)} failed"
    if table.warnings:
        return "warn", f"{len(table.warnings)} warning{'s' * (len(table.warnings) != 1)}"
    return "good", "passed"


def number(value: Any) -> str:
    """A value of the gate's table for people."""
    if value is None:
        return "n/a"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value.is_integer() and abs(value) > 1:  # a count
            return f"{value:,.0f}"
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number(each)}" for key, each in value.items())
    return "[" + ", ".join(map(number, value)) + "]"


def lift(value: dict[str, float] | None) -> str:
    """A lift with its interval, in percent; empty for the system that has none."""
    return "" if value is None else "{estimate:+.1%} [{lower:+.1%}, {upper:+.1%}]".format_map(value)


def _columns(gate: dict[str, Any] | None) -> list[str]:
    """Columns of the gate's table: its own metric, which comes first, the known ones, the others as they come."""
    rows = gate.get("rows", []) if gate else []
    found = list(dict.fromkeys(key for row in rows for key in row if key not in ("system", "label")))
    return list(dict.fromkeys([*found[:1], *(name for name in METRICS if name in found), *found]))


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


@cache
def environment() -> Environment:
    """Jinja with automatic escaping over the templates of this package."""
    loader = PackageLoader("intentrec.reports", ".")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"advice": advice, "tone": tone, "verdict": verdict, "number": number, "lift": lift}
    return made
