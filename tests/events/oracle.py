"""The outcomes of raw rows in plain Python, one row after the other."""

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from intentrec.calendar import day_start_of, week_start_of
from intentrec.config import Domain, seconds
from tests.events.days import service_date_of

REQUIRED = ("event_id", "user_id", "item_id", "event_ts", "event_type")
UNREAD = ("unreadable_line", "invalid_utf8", "invalid_unicode", "repeated_field")


@dataclass
class Verdict:
    """A row's outcome, and what decides it."""

    raw: dict
    event_date: date
    plausible: bool
    reasons: set[str] = field(default_factory=set)
    outcome: str = ""


def parse_moment(text: str | None) -> datetime | None:
    """ISO 8601 with date, time and zone."""
    if text is None or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def parse_number(text: str | None) -> float | None:
    """A decimal number, NaN or an infinity."""
    if text is None or not re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?|NaN|[+-]?Infinity", text.strip(), re.IGNORECASE):
        return None
    return float(text)


def check(raw: dict, domain: Domain) -> Verdict:
    """Check a row alone."""
    given = {name: (raw[name] or "").strip() or None for name in ("account_id", "surface", "device")}
    raw = {**raw, **given, "account_id": given["account_id"] or raw["user_id"]}
    if raw["read_error"] in UNREAD:
        day = service_date_of(raw["arrived_at"], domain.calendar)
        return Verdict(raw, day, False, {raw["read_error"]})
    reasons = {raw["read_error"]} - {None}
    reasons |= {f"missing_{name}" for name in REQUIRED if not (raw[name] or "").strip()}
    moment = parse_moment(raw["event_ts"])
    duration, position = parse_number(raw["duration_s"]), parse_number(raw["position_s"])
    for name, value in (("event_ts", moment), ("duration_s", duration), ("position_s", position)):
        if value is None and (raw[name] or "").strip():
            reasons.add(f"bad_type_{name}")
    plausible = False
    if moment is not None:
        ahead = (moment - raw["arrived_at"]).total_seconds()
        plausible = -seconds(domain.events.max_age) <= ahead <= seconds(domain.events.max_clock_skew)
        reasons |= set() if plausible else {"clock_skew" if ahead > 0 else "event_too_old"}
    if raw["event_type"] is not None and raw["event_type"] not in domain.events.types:
        reasons.add("unknown_event_type")
    if duration is not None and not 0 <= duration <= seconds(domain.events.max_duration):
        reasons.add("bad_duration")
    if position is not None and not 0 <= position < math.inf:
        reasons.add("bad_position")
    for name in domain.events.signals:
        text = (raw["extra"] or {}).get(name)
        value = parse_number(text)
        if text is not None and (value is None or not math.isfinite(value)):
            reasons.add(f"bad_signal_{name}")
    day = service_date_of(moment if plausible and moment else raw["arrived_at"], domain.calendar)
    return Verdict(raw, day, plausible, reasons)


def judge(
    rows: list[dict], snapshots: dict[date, set[str]], start: date, end: date, domain: Domain, include_late: bool
) -> list[Verdict]:
    """Every row's outcome in an ingest run over [start, end)."""
    verdicts = [check(row, domain) for row in rows]
    for verdict in verdicts:
        week_end = week_start_of(verdict.event_date, domain.calendar) + timedelta(days=7)
        deadline = day_start_of(week_end, domain.calendar) + timedelta(seconds=seconds(domain.calendar.lateness))
        in_history = verdict.event_date >= domain.calendar.history_start
        if in_history and verdict.plausible and not include_late and verdict.raw["arrived_at"] > deadline:
            verdict.outcome = "late"
        elif not start <= verdict.event_date < end:
            verdict.outcome = "outside"
    versions = defaultdict(list)
    for verdict in verdicts:
        if verdict.outcome != "late" and not verdict.reasons:
            versions[verdict.raw["event_id"]].append(verdict)
    for group in versions.values():
        _settle(group)
    for verdict in verdicts:
        if not verdict.outcome:
            listed = snapshots[max(day for day in snapshots if day <= verdict.event_date)]
            if (verdict.raw["item_id"] or "").strip() and verdict.raw["item_id"] not in listed:
                verdict.reasons.add("unknown_item")
            if verdict.reasons:
                verdict.outcome = "quarantined"
    _refuse_second_accounts([verdict for verdict in verdicts if not verdict.outcome], domain)
    _judge_days([verdict for verdict in verdicts if not verdict.outcome], domain)
    return verdicts


def _refuse_second_accounts(valid: list[Verdict], domain: Domain) -> None:
    """A user has the account of the first event of the week; events of other accounts are refused."""
    first: dict[tuple, str] = {}
    for verdict in sorted(valid, key=lambda v: (parse_moment(v.raw["event_ts"]), v.raw["account_id"])):
        place = verdict.raw["user_id"], week_start_of(verdict.event_date, domain.calendar)
        if verdict.raw["account_id"] != first.setdefault(place, verdict.raw["account_id"]):
            verdict.outcome = "quarantined"
            verdict.reasons.add("conflicting_account")


def _settle(group: list[Verdict]) -> None:
    """Walk through the versions of one event in the order of their arrival; the last content is the event."""
    moments = defaultdict(list)
    for verdict in sorted(group, key=lambda v: (v.raw["arrived_at"], v.raw["source_file"], v.raw["source_line"])):
        moments[verdict.raw["arrived_at"]].append(verdict)
    current: list[Verdict] = []
    older: list[Verdict] = []
    for versions in moments.values():
        if len({_content(verdict.raw) for verdict in versions}) > 1:
            for verdict in versions:
                verdict.reasons.add("conflicting_duplicate")
        elif current and _content(versions[0].raw) == _content(current[0].raw):
            current += versions
        else:
            older, current = older + current, versions
    outcomes = [*((verdict, "replaced") for verdict in older), *((verdict, "duplicates") for verdict in current[1:])]
    for verdict, outcome in outcomes:
        verdict.outcome = verdict.outcome or outcome
    for verdict in group:
        if verdict.outcome == "outside":
            verdict.reasons.clear()


def _judge_days(kept: list[Verdict], domain: Domain) -> None:
    """User-days that are too long."""
    days = defaultdict(list)
    for verdict in kept:
        days[verdict.raw["user_id"], verdict.event_date].append(verdict)
    for group in days.values():
        engaged = sum(parse_number(verdict.raw["duration_s"]) or 0 for verdict in group)
        overlong = engaged > domain.events.max_hours_per_day * 3600
        for verdict in group:
            verdict.outcome = "quarantined" if overlong else "accepted"
            verdict.reasons |= {"inhuman_activity"} if overlong else set()


def _content(raw: dict) -> tuple:
    texts = tuple(raw[name] for name in ("user_id", "account_id", "item_id", "event_type", "surface", "device"))
    numbers = (parse_number(raw["duration_s"]), parse_number(raw["position_s"]))
    return (*texts, parse_moment(raw["event_ts"]), *numbers, tuple(sorted((raw["extra"] or {}).items())))
