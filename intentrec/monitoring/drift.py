"""How far a week lies from the weeks that a model learned from: the population stability index of every model input.

The index is the sum over cells of (p - q) ln(p / q), where p and q are a cell's shares of the week and of the training
window. By custom, below 0.1 nothing happened and above 0.25 the population is another one. Cells are made from the
training window alone: labels as they are, numbers and numerous labels (titles) in groups of equal size.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from intentrec.config import Domain
from intentrec.interactions.weeks import WEEK
from intentrec.monitoring.profiles import BIN, NULL, TOP, VALUE, intent_feature

LABELS = 50  # beyond so many, labels share cells
GROUPS = 10  # cells of numbers, or of labels that share cells
LEAST = 1e-4  # share of an empty cell: the index stays finite, and one stray row stays small
REST = "rest"

Value = tuple[str, str]  # kind and value of a row of feature_profiles
Counts = Mapping[Value, int]  # how often each occurred


@dataclass(frozen=True)
class Drift:
    """One feature of a week against its training window; `index` is None where there are too few rows to tell."""

    feature: str
    index: float | None
    bound: float
    rows: int
    window_rows: int

    @property
    def beyond(self) -> bool:
        """Whether it deserves a warning."""
        return self.index is not None and self.index > self.bound


def model_inputs(domain: Domain) -> list[str]:
    """Features that the domain's model takes in or predicts, each once; the title is always one of them."""
    model = domain.model
    used = {*model.categorical, *model.multi_label, *model.numeric, *model.item_features}
    chosen = [intent for intent in domain.intents if not model.intents or intent.name in model.intents]
    return sorted(used | {intent_feature(intent) for intent in chosen} | {"title_id"})


def training_weeks(week: date, domain: Domain) -> list[date]:
    """The weeks that the model which is judged on `week` learned from: those before it, censored ones left out."""
    learned = [week - WEEK * back for back in range(1, domain.training.weeks + 1)]
    first = domain.calendar.history_start + WEEK * domain.calendar.censored_weeks
    return sorted(day for day in learned if day >= first)


def drift(week: date, profiles: Mapping[date, Mapping[str, Counts]], domain: Domain) -> list[Drift]:
    """Every model input of `week` against its training window.

    Args:
        week: its first service date.
        profiles: by week and feature of `interactions`.
        domain: the domain file.
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
    """The index of two profiles of a feature; the first makes the cells. Both must hold rows."""
    cell = cells(learned)
    before, now = _tally(learned, cell), _tally(seen, cell)
    names = sorted(before.keys() | now.keys(), key=str)
    return stability_index([before[name] for name in names], [now[name] for name in names])


def stability_index(expected: Sequence[float], observed: Sequence[float]) -> float:
    """Population stability index of two rows of counts over the same cells: 0 where the shares are equal.

    Raises:
        ValueError: the rows differ in length, or one of them counts nothing.
    """
    if not sum(expected) or not sum(observed):
        raise ValueError("a distribution without rows cannot be compared")
    shares = [
        (max(q / sum(expected), LEAST), max(p / sum(observed), LEAST)) for q, p in zip(expected, observed, strict=True)
    ]
    return sum((p - q) * math.log(p / q) for q, p in shares)


def cells(learned: Counts) -> Callable[[Value], Hashable]:
    """The cell of a value, made from the training window's counts.

    Numbers fall into `GROUPS` by their quantiles. So do labels by their popularity where there are more than `LABELS`:
    the shares then say whether the titles that people played are still the ones they play. Labels that the window
    does not know, or knows beyond its TOP most frequent, are one cell; unknown values another.
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
    """Neighbours that hold about a GROUPS-th of all rows together; what holds more by itself is alone."""
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


def beyond(found: Iterable[Drift]) -> list[Drift]:
    """Those that deserve a warning, the farthest first."""
    return sorted((each for each in found if each.beyond), key=lambda each: -(each.index or 0))
