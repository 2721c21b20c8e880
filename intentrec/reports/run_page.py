"""The page of one interval: one HTML file that opens without a network.

Row contents come from outside and may be hostile. Everything passes Jinja's automatic escaping, and the page's content
security policy forbids scripts and remote resources.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from intentrec.config import Domain, Profile
from intentrec.evaluation.gate import recommendation
from intentrec.events.reasons import advice
from intentrec.monitoring.costs import REFUSED
from intentrec.reports import charts, templates
from intentrec.reports.charts import Bar
from intentrec.reports.run_facts import BROKEN, Facts, TableAudit, collect
from intentrec.storage.runs import REPORT_PAGE, report_dir, write_text

METRICS = ("ndcg_at_10", "recall_at_10", "mrr", "coverage_at_10", "recall_at_10_new", "users")  # shown first
NARROW = 6  # columns of the gate's table that fit beside the lift
DERIVED = ("interactions", "sequences", "user_intents", "recommendations")


def render(profile: Profile, domain: Domain, start: date, end: date) -> Path:
    """Write the interval's page and return its path. It can be written at any moment, also while a job runs."""
    return write_text(path(profile, domain, start, end), html(collect(profile, domain, start, end)))


def path(profile: Profile, domain: Domain, start: date, end: date) -> Path:
    """Path of the interval's page, written or not."""
    return report_dir(profile, domain, start, end) / REPORT_PAGE


def html(facts: Facts) -> str:
    """The page as text."""
    bars = waterfall(facts.counts)
    return templates.render(
        "run_page.html.jinja",
        facts=facts,
        headline=headline(facts),
        broken=BROKEN,
        bars=bars,
        bars_uri=charts.svg_uri(charts.waterfall(bars)) if bars else None,
        bars_size=(charts.WIDTH, charts.BAR * len(bars)),
        plots=[(path.stem.replace("_", " "), charts.png_uri(path)) for path in facts.plots],
        gate_columns=_columns(facts.gate),
        narrow=NARROW,
        advice=advice,
        tone=tone,
        verdict=verdict,
        recommendation=gate_recommendation,
        lift=lift,
    )


def waterfall(counts: dict[str, int]) -> list[Bar]:
    """The waterfall from raw events read, minus the rows of every outcome, to accepted events and derived rows.

    Steps that have not been counted yet are left out.
    """
    read = counts.get("events.read")
    bars: list[Bar] = []
    if read is not None:

        def bar(label: str, value: int, before: int, kind: str) -> Bar:
            return Bar(label, value, before, kind, value / read if read else None)

        bars.append(bar("raw events read", read, 0, "total"))
        left = read
        for outcome in REFUSED:
            lost = counts.get(f"events.{outcome}", 0)
            left = max(left - lost, 0)
            bars.append(bar(outcome, lost, left, "lost"))
        bars.append(bar("accepted events", counts.get("events.accepted", 0), 0, "total"))
    return bars + [
        Bar(name, counts[f"{name}.rows"], 0, "derived", None) for name in DERIVED if f"{name}.rows" in counts
    ]


def headline(facts: Facts) -> str:
    """One sentence that sums up jobs and audits."""
    done = [job for job in facts.jobs if job.status == "succeeded"]
    broken = [job.job for job in facts.jobs if job.status in BROKEN]
    warned = sum(len(table.warnings) for table in facts.tables)
    failed = sum(len(table.failures) for table in facts.tables)
    parts = [f"{len(done)} of {len(facts.jobs)} jobs succeeded"]
    parts += [f"{', '.join(broken)} failed"] if broken else []
    parts += [f"{failed} critical expectation{'s' * (failed != 1)} failed"] if failed else []
    parts += [f"{warned} warning{'s' * (warned != 1)}" if warned else "no warnings"]
    return "; ".join(parts)


def summary(facts: Facts) -> str:
    """The page in a few lines of text, for a terminal or a task's log."""
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
        lines.append(f"  gate: {gate_recommendation(facts.gate)}")
    return "\n".join(lines)


def gate_recommendation(gate: Mapping[str, Any]) -> str:
    """What gate.json decides, in words."""
    return recommendation(gate["decision"] == "promote", gate.get("champion"))


def tone(status: str) -> str:
    """CSS class of a status."""
    known = {"succeeded": "good", **dict.fromkeys(BROKEN, "bad"), "running": "open", "skipped": "open"}
    return known.get(status, "none")


def verdict(table: TableAudit) -> tuple[str, str]:
    """CSS class and text of a table's audit."""
    if table.result is None:
        return "none", "no audit"
    if table.failures:
        return "bad", f"{len(table.failures)} failed"
    if table.warnings:
        return "warn", f"{len(table.warnings)} warning{'s' * (len(table.warnings) != 1)}"
    return "good", "passed"


def lift(value: dict[str, float] | None) -> str:
    """A lift with its interval in percent; empty for a system without one."""
    return "" if value is None else "{estimate:+.1%} [{lower:+.1%}, {upper:+.1%}]".format_map(value)


def _columns(gate: dict[str, Any] | None) -> list[str]:
    """Columns of the gate's table: its own metric, which comes first, then METRICS, then all others."""
    rows = gate.get("rows", []) if gate else []
    found = list(dict.fromkeys(key for row in rows for key in row if key not in ("system", "label")))
    return list(dict.fromkeys([*found[:1], *(name for name in METRICS if name in found), *found]))
