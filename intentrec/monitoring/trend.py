"""Series over weeks, made of the weekly facts: what the trend page draws. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from intentrec.config import Domain
from intentrec.contracts import ENGAGEMENT_EVENTS, INTERACTIONS, TABLES
from intentrec.monitoring.drift import Counts
from intentrec.monitoring.profiles import NULL, VALUE, intent_feature
from intentrec.monitoring.weeks import EVENTS, REASON, Week

OUTCOMES = ("accepted", "quarantined", "duplicates", "replaced", "late")  # of raw rows that belong to the week
CLASSES = 20  # series of one intent, at most: the most frequent classes
COUNT, SHARE, INDEX, DAYS = "count", "share", "index", "days"  # units


@dataclass(frozen=True)
class Series:
    """One value per week, None where it was not measured. `bound` is where a warning begins."""

    label: str
    values: Sequence[float | None]
    bound: float | None = None

    @property
    def measured(self) -> bool:
        """Whether any week has a value."""
        return any(value is not None for value in self.values)


@dataclass(frozen=True)
class Section:
    """Series of one kind. `unit` is COUNT, SHARE (0 to 1), INDEX or DAYS; `note` explains the values."""

    title: str
    unit: str
    note: str
    series: Sequence[Series]


def sections(weeks: Sequence[Week], domain: Domain) -> list[Section]:
    """All series of the weeks in the order of the page, without series and sections that no week measured."""
    found = [
        _drift(weeks, domain),
        _rows(weeks),
        _refused(weeks),
        _reasons(weeks),
        _nulls(weeks),
        _classes("Action types", "action_type", weeks, "Share of the week's interactions."),
    ]
    for intent in domain.intents:
        if intent.column != "action_type":
            note = "Share of the labels of the week's interactions" + (" without unknown ones." if intent.bins else ".")
            found.append(_classes(f"Intent {intent.name}", intent_feature(intent), weeks, note))
    found += [_freshness(weeks, domain), _audits(weeks)]
    measured = [Section(s.title, s.unit, s.note, [each for each in s.series if each.measured]) for s in found]
    return [section for section in measured if section.series]


def _each(weeks: Sequence[Week], value: Callable[[Week], float | None]) -> list[float | None]:
    return [value(week) for week in weeks]


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _drift(weeks: Sequence[Week], domain: Domain) -> Section:
    features = dict.fromkeys(each.feature for week in weeks for each in week.drift)
    by_week = [{each.feature: each.index for each in week.drift} for week in weeks]
    bound = domain.quality.drift_bound
    note = (
        "Population stability index of every model input, against the weeks that the model of that week learned from "
        f"({domain.training.weeks} at most, without censored ones). A value above {bound:g} (dashed) is a warning. It "
        f"is not measured with fewer than {domain.quality.min_rows:,} rows. Titles are compared in ten groups of equal "
        "popularity."
    )
    return Section(
        "Drift", INDEX, note, [Series(name, [each.get(name) for each in by_week], bound) for name in features]
    )


def _rows(weeks: Sequence[Week]) -> Section:
    series = [Series(name, _each(weeks, lambda week, name=name: week.rows.get(name))) for name in TABLES]  # type: ignore[misc]
    note = (
        "Rows in the week's partitions. Snapshots (title_state, sequences, published tables), releases and attempts "
        "count for the week that ends on their date."
    )
    return Section("Rows of every table", COUNT, note, series)


def _raw_rows(week: Week) -> int:
    return sum(week.counts.get(EVENTS + outcome, 0) for outcome in OUTCOMES)


def _refused(weeks: Sequence[Week]) -> Section:
    def of(outcome: str) -> Series:
        return Series(outcome, _each(weeks, lambda week: _share(week.counts.get(EVENTS + outcome), _raw_rows(week))))

    return Section(
        "Raw rows not accepted", SHARE, f"Share of the week's raw events.{_ranges(weeks)}", [*map(of, OUTCOMES[1:])]
    )


def _reasons(weeks: Sequence[Week]) -> Section:
    total: Counter[str] = Counter()
    for week in weeks:
        total.update({key: n for key, n in week.counts.items() if key.startswith(REASON)})

    def of(key: str) -> Series:
        def share(week: Week) -> float | None:
            return _share(week.counts.get(key, 0), _raw_rows(week))

        return Series(key.removeprefix(REASON), _each(weeks, share))

    note = "Quarantined rows per raw event of the week. A row with several reasons counts under each." + _ranges(weeks)
    return Section("Quarantine by reason", SHARE, note, [of(key) for key, _ in _by_frequency(total)])


def _ranges(weeks: Iterable[Week]) -> str:
    """A sentence that names the intervals of several weeks whose counts are known only in total."""
    spans = sorted({week.counted for week in weeks if week.counted and week.counted != (week.start, week.end)})
    if not spans:
        return ""
    named = ", ".join(f"{start} to {end}" for start, end in spans)
    return f" Weeks that were loaded as one range show the range's share: {named}."


def _nulls(weeks: Sequence[Week]) -> Section:
    series = []
    for table in (ENGAGEMENT_EVENTS, INTERACTIONS):
        for column in table.columns:
            if column.nullable:

                def share(week: Week, table: str = table.name, name: str = column.name) -> float | None:
                    counts = week.profiles.get(table, {}).get(name, {})
                    return _share(_unknown(counts), sum(counts.values()))

                series.append(Series(f"{table.name}.{column.name}", _each(weeks, share)))
    note = "Share of the week's rows in which a nullable column is null."
    return Section("Null rates", SHARE, note, series)


def _unknown(counts: Counts) -> int:
    return sum(rows for (kind, _), rows in counts.items() if kind == NULL)


def _classes(title: str, feature: str, weeks: Sequence[Week], note: str) -> Section:
    by_week = []
    for week in weeks:
        counts = week.profiles.get(INTERACTIONS.name, {}).get(feature, {})
        by_week.append({value: rows for (kind, value), rows in counts.items() if kind == VALUE})
    total: Counter[str] = Counter()
    for labels in by_week:
        total.update(labels)
    ordered = _by_frequency(total)[:CLASSES]

    def of(value: str) -> Series:
        return Series(value, [_share(labels.get(value, 0), sum(labels.values())) for labels in by_week])

    if len(total) > CLASSES:
        note += f" The {CLASSES} most frequent of {len(total)}."
    return Section(title, SHARE, note, [of(value) for value, _ in ordered])


def _by_frequency(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The keys that occur, the most frequent first; equal counts are sorted by name."""
    return sorted(((key, n) for key, n in counts.items() if n), key=lambda item: (-item[1], item[0]))


def _freshness(weeks: Sequence[Week], domain: Domain) -> Section:
    days = _each(weeks, lambda week: None if week.delay is None else week.delay.total_seconds() / 86_400)
    note = (
        f"Days from the moment a week's rows were due (its end plus {domain.calendar.lateness} of lateness) until its "
        "sequences were first built. A value below zero means that they were built before late rows could arrive."
    )
    return Section("Freshness", DAYS, note, [Series("built after", days)])


def _audits(weeks: Sequence[Week]) -> Section:
    note = "Expectations that failed in the audits of the week. A critical one (failed) stops the commit, others warn."
    series = [
        Series("failed", _each(weeks, lambda week: week.failed)),
        Series("warned", _each(weeks, lambda week: week.warned)),
    ]
    return Section("Audits", COUNT, note, series)
