"""The trend page of a domain: small charts over weeks in one HTML file that opens without a network.

Names of features, titles and reasons come from outside. Everything passes Jinja's automatic escaping.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from intentrec.config import Domain, Profile
from intentrec.monitoring import weeks as facts
from intentrec.monitoring.drift import drifted
from intentrec.monitoring.trend import COUNT, DAYS, INDEX, SHARE, Series, sections
from intentrec.monitoring.weeks import Newest, Week
from intentrec.reports import charts, templates
from intentrec.reports.run_facts import TREND
from intentrec.sources.delivery import provenance
from intentrec.storage.runs import ledger, write_text

FORMATS = {COUNT: "{:,.0f}", SHARE: "{:.2%}", INDEX: "{:.3f}", DAYS: "{:,.1f} d"}


@dataclass(frozen=True)
class Panel:
    """One series on the page: `latest` is its last value, `alt` describes the chart, `uri` holds it."""

    label: str
    latest: str
    alt: str
    uri: str


def render(profile: Profile, domain: Domain, now: datetime | None = None) -> Path:
    """Write the domain's page and return its path. `now` (aware) decides which week was due last."""
    moment = now or datetime.now(UTC)
    weeks = facts.collect(profile, domain)
    about = provenance(ledger(profile, domain), [week.start for week in weeks])
    text = html(weeks, facts.newest(profile, domain, moment), domain, moment, about)
    return write_text(path(profile, domain), text)


def path(profile: Profile, domain: Domain) -> Path:
    """Path of the domain's page, written or not."""
    return Path(profile.reports) / domain.domain / TREND


def html(weeks: Sequence[Week], newest: Sequence[Newest], domain: Domain, now: datetime, about: str = "") -> str:
    """The page as text."""
    days = [week.start for week in weeks]
    return templates.render(
        "trend_page.html.jinja",
        domain=domain.domain,
        provenance=about,
        weeks=weeks,
        newest=newest,
        now=now.strftime("%Y-%m-%d %H:%M UTC"),
        headline=headline(weeks),
        drifted=drifted(weeks[-1].drift) if weeks else [],
        sections=[
            (section, [panel(each, days, section.unit) for each in section.series])
            for section in sections(weeks, domain)
        ],
        show=show,
    )


def headline(weeks: Sequence[Week]) -> str:
    """One sentence about the latest week: its drift and its failed expectations."""
    if not weeks:
        return "no week has been built yet"
    last = weeks[-1]
    features = drifted(last.drift)
    measured = [each for each in last.drift if each.index is not None]
    parts = [f"{len(weeks)} week{'s' * (len(weeks) != 1)}, the latest from {last.start}"]
    if features:
        parts.append(f"{len(features)} of {len(measured)} model inputs drifted beyond the bound")
    else:
        parts.append("no drift beyond the bound" if measured else "too little data to measure drift")
    if last.failed:
        parts.append(f"{last.failed} critical expectation{'s' * (last.failed != 1)} failed")
    return "; ".join(parts)


def panel(series: Series, weeks: Sequence[date], unit: str) -> Panel:
    """Draw a series. `weeks` are the first service dates of its values."""
    known = [value for value in series.values if value is not None]
    bound = series.bound
    scale = show(max([*known, *([bound] if bound is not None else []), 0.0]), unit)
    latest = show(series.values[-1] if series.values else None, unit)
    alt = f"{series.label} by week, latest {latest}"
    over = [
        str(week)
        for week, value in zip(weeks, series.values, strict=True)
        if bound is not None and value is not None and value > bound
    ]
    if over:
        alt += f", beyond the bound in the week{'s' * (len(over) != 1)} from {', '.join(over)}"
    uri = charts.svg_uri(charts.weekly(weeks, series.values, bound, scale))
    return Panel(series.label, latest, alt, uri)


def show(value: float | None, unit: str) -> str:
    """A value for people; `unit` is one of `monitoring.trend`."""
    return "n/a" if value is None else FORMATS[unit].format(value)
