"""Data drift: how far the model inputs of a week lie from the weeks that the model learned from.

The measure is the population stability index of every model input: the sum over cells of (p - q) ln(p / q), where p is
a cell's share of the week and q its share of the training window. By custom, an index below 0.1 means no change and one
above 0.25 a different population. The training window alone defines the cells. Each label is a cell; numbers, and the
labels of a feature with many of them (titles), are grouped into cells of equal size.

`drift` and everything it calls is pure. `read_profiles` and `audit_drift` read the table `feature_profiles`.
"""

import math
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from intentrec.calendar import WEEK
from intentrec.config import Domain, Profile
from intentrec.contracts import FEATURE_PROFILES, INTERACTIONS
from intentrec.monitoring.profiles import BIN, NULL, TOP, VALUE, intent_feature
from intentrec.storage import audit, delta
from intentrec.storage.audit import Audit, Finding
from intentrec.storage.runs import Run

LABELS = 50  # a feature with more labels than this groups them
GROUPS = 10  # cells of numbers, and of grouped labels
LEAST = 1e-4  # share of an empty cell: keeps the index finite, and the effect of one stray row small
REST = "rest"
DRIFT_FILE = "drift.json"  # in an interval's report folder: the result of `audit_drift`
KIND = "population_stability_index"
WHY = (
    "The model learned from weeks in which this input was distributed differently. Find out what changed before you "
    "trust its predictions. The trend page shows when it began."
)

Value = tuple[str, str]  # kind and value of a row of feature_profiles
Counts = Mapping[Value, int]  # rows by value
Profiles = Mapping[str, Mapping[str, Counts]]  # by table and feature


@dataclass(frozen=True)
class Drift:
    """One feature of a week compared with its training window.

    `index` is the population stability index, None where the week or the window has too few rows. `bound` is where a
    warning begins. `rows` and `window_rows` count the values of the week and of the window.
    """

    feature: str
    index: float | None
    bound: float
    rows: int
    window_rows: int

    @property
    def beyond(self) -> bool:
        """Whether the index is above the bound."""
        return self.index is not None and self.index > self.bound


def model_inputs(domain: Domain) -> list[str]:
    """Names of the features that the domain's model reads or predicts, sorted; the title is always among them."""
    model = domain.model
    used = {*model.categorical, *model.multi_label, *model.numeric, *model.item_features}
    chosen = [intent for intent in domain.intents if not model.intents or intent.name in model.intents]
    return sorted(used | {intent_feature(intent) for intent in chosen} | {"title_id"})


def training_weeks(week: date, domain: Domain) -> list[date]:
    """The training window of the model that is judged on `week`: the weeks before it without the censored ones."""
    learned = [week - WEEK * back for back in range(1, domain.training.weeks + 1)]
    first = domain.calendar.history_start + WEEK * domain.calendar.censored_weeks
    return sorted(day for day in learned if day >= first)


def drift(week: date, profiles: Mapping[date, Mapping[str, Counts]], domain: Domain) -> list[Drift]:
    """Compare every model input of `week` with its training window.

    Args:
        week: its first service date.
        profiles: counts of `interactions`, by week and feature.
        domain: names the model inputs, the length of the window, the bound and the least number of rows.
    """
    window = [profiles[day] for day in training_weeks(week, domain) if day in profiles]
    found = []
    for feature in model_inputs(domain):
        learned: Counter[Value] = Counter()
        for of_week in window:
            learned.update(of_week.get(feature, {}))
        seen = profiles.get(week, {}).get(feature, {})
        rows, window_rows = sum(seen.values()), sum(learned.values())
        enough = min(rows, window_rows) >= domain.quality.min_rows
        index = population_stability(learned, seen) if enough else None
        found.append(Drift(feature, index, domain.quality.drift_bound, rows, window_rows))
    return found


def population_stability(learned: Counts, seen: Counts) -> float:
    """The index of two profiles of a feature. `learned` defines the cells.

    Raises:
        ValueError: one of them has no rows.
    """
    cell = cells(learned)
    before, now = _tally(learned, cell), _tally(seen, cell)
    names = sorted(before.keys() | now.keys(), key=str)
    return stability_index([before[name] for name in names], [now[name] for name in names])


def stability_index(expected: Sequence[float], observed: Sequence[float]) -> float:
    """Population stability index of two lists of counts over the same cells. It is 0 where the shares are equal.

    Raises:
        ValueError: the lists differ in length, or the counts of one of them sum to zero.
    """
    if not sum(expected) or not sum(observed):
        raise ValueError("a distribution without rows cannot be compared")
    shares = [
        (max(q / sum(expected), LEAST), max(p / sum(observed), LEAST)) for q, p in zip(expected, observed, strict=True)
    ]
    return sum((p - q) * math.log(p / q) for q, p in shares)


def cells(learned: Counts) -> Callable[[Value], Hashable]:
    """A function that maps a value to its cell, defined by the training window's counts.

    Numbers fall into `GROUPS` cells by their quantiles. Labels are a cell each; where there are more than `LABELS` of
    them, they fall into `GROUPS` cells by popularity, so that the index tells whether popular titles stayed popular.
    Labels outside the window, or outside its TOP most frequent ones, share one cell. Unknown values share another.
    """
    bins = sorted((int(value), rows) for (kind, value), rows in learned.items() if kind == BIN)
    group_of_bin = _groups(bins)
    edges = [number for number, _ in bins]
    labels = [(value, rows) for (kind, value), rows in learned.items() if kind == VALUE]
    popular = sorted(labels, key=lambda label: (-label[1], label[0]))[:TOP]
    group_of_label = _groups(popular) if len(labels) > LABELS else {label: label for label, _ in labels}

    def cell(value: Value) -> Hashable:
        kind, text = value
        if kind == BIN and edges:
            nearest = edges[max(bisect_right(edges, int(text)) - 1, 0)]
            return BIN, group_of_bin[nearest]
        if kind == VALUE and text in group_of_label:
            return VALUE, group_of_label[text]
        return NULL if kind == NULL else REST

    return cell


def _groups(ordered: Sequence[tuple[Hashable, int]]) -> dict[Hashable, int]:
    """Group neighbours so that each group holds about 1/GROUPS of all rows; a larger value is a group of its own."""
    total, before, group = sum(rows for _, rows in ordered), 0, {}
    for value, rows in ordered:
        group[value] = GROUPS * before // total
        before += rows
    return group


def _tally(counts: Counts, cell: Callable[[Value], Hashable]) -> Counter[Hashable]:
    found: Counter[Hashable] = Counter()
    for value, rows in counts.items():
        found[cell(value)] += rows
    return found


def drifted(found: Iterable[Drift]) -> list[Drift]:
    """The features above their bound, the highest index first."""
    return sorted((each for each in found if each.beyond), key=lambda each: -(each.index or 0))


def read_profiles(profile: Profile, domain: Domain, start: date, end: date) -> dict[date, Profiles]:
    """`feature_profiles` of the weeks in [start, end): by week, table and feature; empty where it does not exist."""
    warehouse = delta.warehouse_of(profile, domain)
    if not delta.exists(warehouse, FEATURE_PROFILES):
        return {}
    found: dict[date, dict[str, dict[str, dict]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for row in delta.Snapshot(warehouse, FEATURE_PROFILES).rows(start, end).to_pylist():
        found[row["week"]][row["table_name"]][row["feature"]][row["kind"], row["value"]] = row["rows"]
    return {week: dict(of_week) for week, of_week in found.items()}


def audit_drift(run: Run) -> Audit | None:
    """Compare the run's last week with its training window, and write the result as DRIFT_FILE into the report folder.

    Every measured model input is one expectation with severity `warning`. Those beyond the bound are logged.

    Returns:
        The audit, or None where the week has no profile or too few rows; then an older DRIFT_FILE is removed.
    """
    clock = time.monotonic()
    week = run.end - WEEK
    profiles = read_profiles(run.profile, run.domain, week - WEEK * run.domain.training.weeks, run.end)
    of_interactions = {day: of_week.get(INTERACTIONS.name, {}) for day, of_week in profiles.items()}
    found = drift(week, of_interactions, run.domain)
    measured = [each for each in found if each.index is not None]
    path = run.report_dir / DRIFT_FILE
    if not measured:
        path.unlink(missing_ok=True)
        return None
    rows = next(each.rows for each in found if each.feature == "title_id")  # one title per interaction
    result = Audit("drift", rows, time.monotonic() - clock, [_finding(each) for each in measured])
    audit.record(result, run, path)
    for each in result.warnings:
        run.warn(f"drift: {audit.describe(each)}")
    return result


def _finding(of: Drift) -> Finding:
    assert of.index is not None
    return Finding(
        kind=KIND,
        on=of.feature,
        severity="warning",
        why=WHY,
        success=not of.beyond,
        wanted={"max_value": of.bound},
        observed=round(of.index, 4),
    )
