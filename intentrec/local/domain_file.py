"""Write a domain file to start from, and try one on a week of its delivery."""

from datetime import date
from pathlib import Path

from intentrec.calendar import WEEK
from intentrec.config import Domain, domain_folder, load_domain, load_profile, parse
from intentrec.errors import PipelineError
from intentrec.evaluation.measured import require_measured
from intentrec.interactions import rules
from intentrec.interactions.sample import MOST_EVENTS, Sample, sample
from intentrec.local.terminal import console, grid
from intentrec.reports.templates import render
from intentrec.storage import spark as spark_module
from intentrec.storage.runs import Run

EXAMPLE = date(2024, 1, 1)  # a Monday
SHOWN = 10  # reasons of refusal that are shown


def init(name: str, history_start: date | None) -> Path:
    """Write a commented domain file into the folder of the domain files.

    Args:
        name: of the domain.
        history_start: first service date of its data; None for a Monday that the file says to change.

    Returns:
        The file.

    Raises:
        PipelineError: there is such a file already, or the name or the date cannot be used.
    """
    path = domain_folder() / f"{name}.yaml"
    if path.exists():
        raise PipelineError(f"{path}: exists already. Change it, remove it, or choose another name")
    text = render("domain.yaml.jinja", "intentrec.local", name=name, history_start=history_start or EXAMPLE)
    parse(text, path, Domain)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def validate(config: Path, week: date | None) -> None:
    """Check the keys, the names of metrics and the rules of a domain file, then show what its delivery holds.

    Args:
        config: the domain file.
        week: first service date of the week to look at; None for `calendar.history_start`.

    Raises:
        PipelineError: the file or its delivery cannot be used, or no event of the week is accepted.
    """
    domain, profile = load_domain(config), load_profile()
    require_measured(domain, config)
    start = week or domain.calendar.history_start
    run = Run("validate", start, start + WEEK, domain, profile)
    session = spark_module.start(profile, run.job)
    rules.check(session, domain, config)
    console.print(f"{config}: keys, metrics and rules are right", markup=False)
    found = sample(session, run)
    show(found, domain)
    if not found.days:
        raise PipelineError(f"{config}: ingestion would accept no event of [{run.start}, {run.end}): see above")


def show(found: Sample, domain: Domain) -> None:
    """Print a sample: rows by outcome, refused rows by reason, the action types, and what does not fit."""
    title = f"{domain.domain} [{found.start}, {found.end}): raw rows"
    table = grid(title, "rows of", "read", *found.events)
    table.add_row("events", f"{sum(found.events.values()):,}", *(f"{rows:,}" for rows in found.events.values()))
    items = [f"{found.items[name]:,}" if name in found.items else "" for name in found.events]
    table.add_row("catalogue", f"{found.items['read']:,}", *items)
    console.print(table)
    if not found.whole:
        console.print(f"Only the first {MOST_EVENTS:,} events are read.")
    console.print(_content(found, domain), markup=False)
    if found.refusals:
        table = grid("Refused", "reason", "rows", "record", "first")
        for each in found.refusals[:SHOWN]:
            table.add_row(each.reason, f"{each.rows:,}", each.record, each.where)
        console.print(table)
        for each in found.refusals[:SHOWN]:
            console.print(f"{each.reason}: {each.example}", markup=False)
    visits = sum(found.labels.visits.values())
    table = grid(f"{visits:,} visits by action type", "action type", "visits", "share", "matched")
    for name, matched in found.labels.matches.items():
        labelled = found.labels.visits.get(name, 0)
        table.add_row(name, f"{labelled:,}", f"{labelled / max(1, visits):.1%}", f"{matched:,}")
    console.print(table)
    console.print(f"{found.labels.targets:,} visits are targets. No table was read: titles known before look new.")
    for warning in found.warnings:
        console.print(f"Warning: {warning}", markup=False)


def _content(found: Sample, domain: Domain) -> str:
    hours = found.hours
    days = f"{len(found.days)} of 7 service dates"
    if not hours:
        return f"No accepted event, so {days}."
    busy, quiet = (pick(range(24), key=lambda hour: hours.get(hour, 0)) for pick in (max, min))
    return (
        f"{found.users:,} users, {found.titles:,} titles, {days} ({found.days[0]} to {found.days[-1]}); in "
        f"{domain.calendar.zone} most events begin in the hour of {busy:02}:00, fewest in that of {quiet:02}:00"
    )
