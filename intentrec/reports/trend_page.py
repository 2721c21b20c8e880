"""The page of a domain over weeks: small charts of everything that `trend` measures, in one file without a network.

Names of features, titles and reasons come from outside: everything passes Jinja's automatic escaping.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from intentrec.config import Domain, Profile
from intentrec.monitoring import weeks as facts
from intentrec.monitoring.drift import beyond
from intentrec.monitoring.trend import COUNT, DAYS, INDEX, SHARE, Series, sections
from intentrec.monitoring.weeks import Newest, Week
from intentrec.reports.run_facts import TREND
from intentrec.reports.run_page import environment
from intentrec.sources.simulated import simulated
from intentrec.storage.files import write

# Geometry of a small chart, in units of its view box.
WIDTH, HEIGHT, MARGIN, TOP = 240.0, 70.0, 6.0, 14.0


@dataclass(frozen=True)
class Dot:
    """One week of a chart."""

    x: float
    y: float
    text: str
    beyond: bool


@dataclass(frozen=True)
class Chart:
    """A series as drawn: dots, the lines between weeks that follow each other, and the bound's height if it has one."""

    label: str
    latest: str
    scale: str
    dots: list[Dot]
    lines: list[str]
    bound_y: float | None


def render(profile: Profile, domain: Domain, now: datetime | None = None) -> Path:
    """Write the domain's page among its report folders and return its path; `now` says which week was due last."""
    moment = now or datetime.now(UTC)
    weeks = facts.collect(profile, domain)
    text = html(weeks, facts.newest(profile, domain, moment), domain, moment, simulated(profile, domain))
    return write(path(profile, domain), text)


def path(profile: Profile, domain: Domain) -> Path:
    """Where the domain's page lies, written or not."""
    return Path(profile.reports) / domain.domain / TREND


def html(
    weeks: Sequence[Week], newest: Sequence[Newest], domain: Domain, now: datetime, is_simulated: bool = False
) -> str:
    """The page as text."""
    found = sections(weeks, domain)
    days = [week.start for week in weeks]
    return (
        environment()
        .get_template("trend.html.jinja")
        .render(
            domain=domain.domain,
            simulated=is_simulated,
            weeks=weeks,
            newest=newest,
            now=now.strftime("%Y-%m-%d %H:%M UTC"),
            headline=headline(weeks),
            drifted=beyond(weeks[-1].drift) if weeks else [],
            sections=[(section, [chart(each, days, section.unit) for each in section.series]) for section in found],
            show=show,
        )
    )


def headline(weeks: Sequence[Week]) -> str:
    """One sentence: how the latest week stands."""
    if not weeks:
        return "no week has been built yet"
    last = weeks[-1]
    drifted = beyond(last.drift)
    measured = [each for each in last.drift if each.index is not None]
    parts = [f"{len(weeks)} week{'s' * (len(weeks) != 1)}, the latest from {last.start}"]
    if drifted:
        parts.append(f"{len(drifted)} of {len(measured)} model inputs drifted beyond the bound")
    else:
        parts.append("no drift beyond the bound" if measured else "too little data to measure drift")
    if last.failed:
        parts.append(f"{last.failed} critical expectation{'s' * (last.failed != 1)} failed")
    return "; ".join(parts)


def chart(series: Series, weeks: Sequence[date], unit: str) -> Chart:
    """Place a series between zero (or its least value, if that is lower) and its greatest value or its bound."""
    known = [value for value in series.values if value is not None]
    bound = series.bound
    high = max([*known, *([bound] if bound is not None else []), 0.0])
    low = min([*known, 0.0])
    step = (WIDTH - 2 * MARGIN) / max(len(weeks) - 1, 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - MARGIN) * (high - value) / (high - low if high > low else 1.0), 2)

    dots: list[Dot] = []
    runs: list[list[Dot]] = [[]]
    for number, (week, value) in enumerate(zip(weeks, series.values, strict=True)):
        if value is None:
            runs.append([])
            continue
        is_beyond = bound is not None and value > bound
        dots.append(Dot(round(MARGIN + number * step, 2), y(value), f"{week}: {show(value, unit)}", is_beyond))
        runs[-1].append(dots[-1])
    return Chart(
        label=series.label,
        latest=show(series.values[-1] if series.values else None, unit),
        scale=show(high, unit),
        dots=dots,
        lines=[" ".join(f"{dot.x},{dot.y}" for dot in run) for run in runs if len(run) > 1],
        bound_y=None if bound is None else y(bound),
    )


def show(value: float | None, unit: str) -> str:
    """A value for people."""
    if value is None:
        return "n/a"
    formats = {COUNT: "{:,.0f}", SHARE: "{:.2%}", INDEX: "{:.3f}", DAYS: "{:,.1f} d"}
    return formats[unit].format(value)
