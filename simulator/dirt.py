"""From events to raw rows: arrival times and dirty rows, each with its expected outcome.

Dirty rows change the log only, not what users do. The outcome of a row is what an ingest run over the row's own week
must do with it: accept it, drop it as a duplicate, quarantine it, or leave it out as late.
"""

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, NamedTuple

from intentrec.calendar import WEEK
from simulator.catalogue import View, iso
from simulator.recorder import Event
from simulator.settings import DAY_S, Settings, opaque_id, scalar_stream
from simulator.users import User

ACCEPTED, DUPLICATE, QUARANTINED, LATE = "accepted", "duplicate", "quarantined", "late"
CLEAN = "clean"
BOT_HOURS = 30
BOT_EVERY = 800  # user-weeks per day of a bot

# Kind of dirt -> its share of the rows, and the outcome of the row.
KINDS: dict[str, tuple[float, str]] = {
    "exact_duplicate": (0.0020, ACCEPTED),  # the copy is the duplicate
    "conflicting_duplicate": (0.0010, QUARANTINED),  # both are
    "late_within": (0.0040, ACCEPTED),
    "too_late": (0.0015, LATE),
    "malformed": (0.0008, QUARANTINED),
    "wrong_type": (0.0008, QUARANTINED),
    "missing_field": (0.0010, QUARANTINED),
    "unknown_item": (0.0010, QUARANTINED),
    "bad_duration": (0.0010, QUARANTINED),
    "clock_skew": (0.0010, QUARANTINED),
    "extra_column": (0.0020, ACCEPTED),
}


class Row(NamedTuple):
    """A line of the landing zone and the truth about it.

    Attributes:
        arrived: Unix seconds.
        event_id: as it is logged, unless the kind of dirt removes it.
        copy: number of the copy of a duplicated row, from 0.
        text: the line.
        kind: kind of dirt, "clean" or "bot".
        outcome: what a run over the row's week must do with it.
        user_id: whose row it is.
        event: what happened; None for a bot's row.
    """

    arrived: int
    event_id: str
    copy: int
    text: str
    kind: str
    outcome: str
    user_id: str
    event: Event | None


def log_rows(settings: Settings, user: User, view: View, week: date, events: list[Event]) -> list[Row]:
    """Raw rows of a user's week, and those of a bot if one uses the account.

    Args:
        settings: the world.
        user: the user.
        view: the catalogue of the week.
        week: first service date.
        events: the user's events.
    """
    rnd = scalar_stream(settings.seed, "log", settings.world, user.index, week)
    thresholds = _thresholds(settings.dirt)
    found: list[Row] = []
    for number, event in enumerate(events):
        event_id = opaque_id("e", settings.seed, user.index, week, number)
        raw = record(user.user_id, user.account_id, event_id, view, event)
        # Most rows arrive minutes after the event's end, some after hours.
        lag = min(20 + int(rnd.lognormvariate(4.5, 1.3)), 6 * 3600, settings.lateness_s // 2)
        arrived = event.start + event.duration + lag
        drawn = rnd.random()
        kind = next((kind for kind, limit in thresholds if drawn < limit), CLEAN)
        found.extend(_logged(settings, kind, raw, arrived, view, week, rnd, user.user_id, event))
    if (user.index + 97 * ((week - settings.epoch) // WEEK)) % BOT_EVERY == 7:
        found.extend(_bot(settings, user, view, week))
    return found


def _thresholds(scale: float) -> list[tuple[str, float]]:
    """Cumulated shares of the kinds, times `scale`."""
    total, result = 0.0, []
    for kind, (share, _) in KINDS.items():
        total += share * scale
        result.append((kind, total))
    return result


def record(user_id: str, account_id: str, event_id: str, view: View, event: Event) -> dict[str, Any]:
    """The raw row of an event, without its arrival."""
    return {
        "event_id": event_id,
        "user_id": user_id,
        "account_id": account_id,
        "item_id": view.titles[event.title].items[event.episode],
        "event_ts": iso(event.start),
        "event_type": event.type,
        "duration_s": event.duration,
        "position_s": event.position,
        "surface": event.surface,
        "device": event.device,
    }


def line(raw: dict[str, Any], arrived: int) -> str:
    """The row as one line of JSON."""
    return json.dumps({**raw, "arrived_at": iso(arrived)}, separators=(",", ":"))


def _logged(
    settings: Settings,
    kind: str,
    raw: dict[str, Any],
    arrived: int,
    view: View,
    week: date,
    rnd: Any,
    user_id: str,
    event: Event,
) -> list[Row]:
    """The rows of the log for one event."""
    # A row without a valid time counts for its day of arrival, so this day must lie well within the week.
    inside = settings.moment(week + timedelta(days=2)) <= arrived < settings.moment(week + timedelta(days=6))
    outcome = KINDS[kind][1] if kind in KINDS else ACCEPTED
    if outcome == QUARANTINED and not inside:
        kind, outcome = CLEAN, ACCEPTED

    def row(text: str, outcome: str, copy: int = 0) -> Row:
        return Row(arrived, raw["event_id"], copy, text, kind, outcome, user_id, event)

    if kind == "late_within":
        arrived = view.end + int(settings.lateness_s * rnd.uniform(0.05, 0.7))
    elif kind == "too_late":
        arrived = view.end + settings.lateness_s + int(rnd.uniform(0.2, 12) * DAY_S)
    text = line(raw, arrived)
    if kind == "exact_duplicate":
        return [row(text, ACCEPTED), row(text, DUPLICATE, 1)]
    if kind == "conflicting_duplicate":
        return [row(text, outcome), row(line({**raw, "duration_s": raw["duration_s"] + 7}, arrived), outcome, 1)]
    if kind == "malformed":
        return [row(text[: int(len(text) * rnd.uniform(0.3, 0.9))], outcome)]
    if kind in _CHANGES:
        return [row(line(_CHANGES[kind](raw, rnd), arrived), outcome)]
    return [row(text, outcome)]


def _wrong_type(raw: dict[str, Any], rnd: Any) -> dict[str, Any]:
    key, value = rnd.choice([("duration_s", "a while"), ("duration_s", [12]), ("event_ts", "yesterday")])
    return {**raw, key: value}


def _missing_field(raw: dict[str, Any], rnd: Any) -> dict[str, Any]:
    name = rnd.choice(["event_id", "user_id", "item_id", "event_ts", "event_type"])
    if rnd.random() < 0.5:
        return {**raw, name: None}
    return {key: value for key, value in raw.items() if key != name}


def _clock_skew(raw: dict[str, Any], rnd: Any) -> dict[str, Any]:
    year = rnd.choice([1970, 2009, 2019, 2038])
    return {**raw, "event_ts": f"{year}{raw['event_ts'][4:]}"}


def _bad_duration(raw: dict[str, Any], rnd: Any) -> dict[str, Any]:
    return {**raw, "duration_s": rnd.choice([-1, -raw["duration_s"] - 30, 50_000_000])}


def _unknown_item(raw: dict[str, Any], rnd: Any) -> dict[str, Any]:
    return {**raw, "item_id": f"i{rnd.getrandbits(48):012x}"}


def _extra_column(raw: dict[str, Any], rnd: Any) -> dict[str, Any]:
    return {**raw, "app_version": f"9.{rnd.randrange(6)}", "autoplay": rnd.random() < 0.5}


_CHANGES: dict[str, Callable[[dict[str, Any], Any], dict[str, Any]]] = {
    "wrong_type": _wrong_type,
    "missing_field": _missing_field,
    "clock_skew": _clock_skew,
    "bad_duration": _bad_duration,
    "unknown_item": _unknown_item,
    "extra_column": _extra_column,
}


def _bot(settings: Settings, user: User, view: View, week: date) -> list[Row]:
    """Rows of a bot: a user id of its own that plays 30 hours of films within one service day."""
    rnd = scalar_stream(settings.seed, "bot", user.index, week)
    bot_id = opaque_id("u", settings.seed, "bot", user.index, week)
    day = settings.moment(week + timedelta(days=2))
    films = [t for t in view.titles if not t.show and t.first < view.start and t.last > view.end]
    found: list[Row] = []
    played = 0
    while played < BOT_HOURS * 3600:
        film = rnd.choice(films)
        length = film.runtimes[0]
        start = day + rnd.randrange(0, DAY_S - 4 * 3600)
        event = Event(start, length, film.index, 0, "play", length, "home", "web", 0, 0, None, None)
        event_id = opaque_id("e", settings.seed, "bot", user.index, week, len(found))
        arrived = start + length + 60
        text = line(record(bot_id, user.account_id, event_id, view, event), arrived)
        found.append(Row(arrived, event_id, 0, text, "bot", QUARANTINED, bot_id, None))
        played += length
    return found
