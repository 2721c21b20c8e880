"""Whether a delivery is whole, by `quality.delivery` of the domain file. Pure: numbers in, breaches out.

Each week is compared with the weeks before it, and each catalogue snapshot with the snapshots of the weeks before it.
Later weeks have no influence, so ingesting an old week again gives the same judgement. A week without a week before it
is judged by its accepted share alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from statistics import median

from intentrec.calendar import DAY, WEEK, weeks
from intentrec.config import WEEKDAYS, Delivery, Domain

KEY = "quality.delivery"
SHOWN = 5  # breaches and reasons that a message names


@dataclass(frozen=True)
class Numbers:
    """Rows of a delivery or of the tables, by date.

    Attributes:
        accepted: accepted events by service date.
        refused: quarantined events by service date; arrival dates where an event has no plausible time.
        items: accepted items by date of the catalogue snapshot.
        refused_items: quarantined catalogue rows by date of the snapshot.
    """

    accepted: Mapping[date, int] = field(default_factory=dict)
    refused: Mapping[date, int] = field(default_factory=dict)
    items: Mapping[date, int] = field(default_factory=dict)
    refused_items: Mapping[date, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Breach:
    """A bound that a delivery does not meet.

    Attributes:
        start: first date that is concerned.
        end: date after the last.
        what: what was measured.
        value: what was found.
        bound: what the domain file demands, in the same unit.
        key: of the bound, below `quality.delivery`.
        measure: what the bound was computed from; empty where it stands in the domain file as it is.
    """

    start: date
    end: date
    what: str
    value: float
    bound: float
    key: str
    measure: str = ""

    def __str__(self) -> str:
        """Value, bound, interval and key in one phrase."""
        where = f"snapshot {self.start}" if self.end - self.start == DAY else f"[{self.start}, {self.end})"
        demanded = f"{'at most' if self.value > self.bound else 'at least'} {self.bound:,.4g}"
        of = f" ({self.measure})" if self.measure else ""
        return f"{where}: {self.what} {self.value:,.4g}, {KEY}.{self.key} demands {demanded}{of}"


def breaches(start: date, end: date, delivered: Numbers, before: Numbers, domain: Domain) -> list[Breach]:
    """The bounds that a delivery of whole weeks [start, end) does not meet, in the order of their dates.

    Args:
        start: first service date.
        end: service date after the last.
        delivered: rows of [start, end).
        before: rows of the tables before `start`; later ones are ignored.
        domain: the domain file. Weeks of `quality.closed_weeks` are not judged.
    """
    rule = domain.quality.delivery
    accepted = {day: rows for day, rows in before.accepted.items() if day < start} | dict(delivered.accepted)
    items = {day: rows for day, rows in before.items.items() if day < start} | dict(delivered.items)
    found: list[Breach] = []
    for week in weeks(start, end, domain.calendar):
        if week not in domain.quality.closed_weeks:
            found += _of_week(week, accepted, delivered.refused, rule)
    for day in sorted({*delivered.items, *delivered.refused_items}):
        found += _of_snapshot(day, items, delivered.refused_items.get(day, 0), rule)
    return sorted(found, key=lambda each: each.start)


def missing_days(week: date, accepted: Mapping[date, int], rule: Delivery) -> list[date]:
    """Open days of a week without an accepted event."""
    days = [week + DAY * number for number in range(7)]
    due = [day for day in days if WEEKDAYS[day.weekday()] in rule.open_days and day not in rule.closed_days]
    return [day for day in due if not accepted.get(day)]


def explanation(found: Sequence[Breach], reasons: Mapping[str, int]) -> str:
    """The breaches, and why rows were refused, in one line.

    Args:
        found: at least one breach.
        reasons: refused rows by reason.
    """
    text = "; ".join(map(str, found[:SHOWN]))
    text += f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    if reasons and any(each.key == "min_accepted" for each in found):
        most = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))[:SHOWN]
        text += f" (refused for {', '.join(f'{reason} {rows:,}' for reason, rows in most)})"
    return text


def _of_week(week: date, accepted: Mapping[date, int], refused: Mapping[date, int], rule: Delivery) -> Iterator[Breach]:
    end = week + WEEK
    rows, bad = _rows(accepted, week), _rows(refused, week)
    yield from _share(week, end, "share of accepted events", rows, bad, rule)
    earlier = [found for number in range(1, rule.weeks + 1) if (found := _rows(accepted, week - WEEK * number))]
    if not earlier:
        return
    absent = missing_days(week, accepted, rule)
    if absent:
        days = len(absent) + sum(1 for number in range(7) if accepted.get(week + DAY * number))
        what = f"no accepted event on {', '.join(f'{day:%A} {day}' for day in absent)}: days with events"
        yield Breach(week, end, what, days - len(absent), days, "open_days")
    yield from _against_median(week, end, "accepted events", rows, earlier, rule, "events")


def _of_snapshot(day: date, items: Mapping[date, int], refused: int, rule: Delivery) -> Iterator[Breach]:
    rows = items.get(day, 0)
    yield from _share(day, day + DAY, "share of accepted catalogue rows", rows, refused, rule)
    known = {each: size for each, size in items.items() if each < day and size}
    recent = [size for each, size in known.items() if each >= day - WEEK * rule.weeks]
    earlier = recent or [known[max(known)]] if known else []
    if earlier:
        yield from _against_median(day, day + DAY, "items", rows, earlier, rule, "items")


def _share(start: date, end: date, what: str, rows: int, refused: int, rule: Delivery) -> Iterator[Breach]:
    if rows + refused and rows / (rows + refused) < rule.min_accepted:
        measure = f"{rows:,} of {rows + refused:,}"
        yield Breach(start, end, what, rows / (rows + refused), rule.min_accepted, "min_accepted", measure)


def _against_median(
    start: date, end: date, what: str, rows: int, earlier: Sequence[int], rule: Delivery, name: str
) -> Iterator[Breach]:
    middle = median(earlier)
    least, most = getattr(rule, f"min_{name}"), getattr(rule, f"max_{name}")
    measure = f"the median before it is {middle:,.4g}"
    if rows < least * middle:
        yield Breach(start, end, what, rows, least * middle, f"min_{name}", f"{least:g} times; {measure}")
    if rows > most * middle:
        yield Breach(start, end, what, rows, most * middle, f"max_{name}", f"{most:g} times; {measure}")


def _rows(by_day: Mapping[date, int], week: date) -> int:
    return sum(by_day.get(week + DAY * number, 0) for number in range(7))
