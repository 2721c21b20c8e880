"""The stability index by hand, against scipy's entropy, and by its laws; cells and windows of weeks."""

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise
from math import log

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import entropy

from intentrec.config import Domain
from intentrec.monitoring import drift
from intentrec.monitoring.drift import Drift, cells, population_stability, stability_index, training_weeks

WEEK = timedelta(days=7)
COUNTS = st.lists(st.integers(1, 1000), min_size=2, max_size=20)


def labels(**counts: int) -> dict[tuple[str, str], int]:
    return {("value", name): rows for name, rows in counts.items()}


def bins(counts: dict[int, int]) -> dict[tuple[str, str], int]:
    return {("bin", str(number)): rows for number, rows in counts.items()}


def test_index_by_hand() -> None:
    # (0.75 - 0.5) ln 1.5 + (0.25 - 0.5) ln 0.5
    assert stability_index([50, 50], [30, 10]) == pytest.approx(0.25 * log(1.5) + 0.25 * log(2))
    assert stability_index([50, 50], [30, 10]) == pytest.approx(0.274653, abs=1e-6)
    # Ten cells of a tenth each; one of them doubles at the cost of its neighbour, which is empty and counts as 0.0001.
    expected = 0.1 * log(2) + (0.1 - 1e-4) * log(0.1 / 1e-4)
    assert stability_index([10] * 10, [20, 0, *[10] * 8]) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), min_size=1, max_size=20))
def test_index_is_the_symmetric_relative_entropy(counts: list[tuple[int, int]]) -> None:
    expected, observed = zip(*counts, strict=True)
    assume(min(expected) / sum(expected) > 1e-4)
    assume(min(observed) / sum(observed) > 1e-4)
    both = entropy(expected, observed) + entropy(observed, expected)
    assert stability_index(expected, observed) == pytest.approx(both, abs=1e-9)


@given(COUNTS, st.integers(1, 50))
def test_equal_shares_are_no_drift_whatever_their_size(counts: list[int], times: int) -> None:
    assert stability_index(counts, [times * rows for rows in counts]) == pytest.approx(0, abs=1e-12)
    profile = labels(**{f"v{number}": rows for number, rows in enumerate(counts)})
    assert population_stability(profile, {value: times * rows for value, rows in profile.items()}) == pytest.approx(0)


@given(COUNTS, st.lists(st.integers(0, 1000), min_size=20, max_size=20))
def test_index_is_not_negative_and_symmetric(expected: list[int], other: list[int]) -> None:
    observed = other[: len(expected)]
    assume(sum(observed))
    index = stability_index(expected, observed)
    assert index >= 0
    assert index == pytest.approx(stability_index(observed, expected))


@given(st.lists(st.integers(50, 1000), min_size=2, max_size=12), st.data())
def test_index_grows_with_the_moved_rows(counts: list[int], data: st.DataObject) -> None:
    source = data.draw(st.integers(0, len(counts) - 1))
    target = data.draw(st.integers(0, len(counts) - 1).filter(lambda cell: cell != source))

    def moved(rows: int) -> list[int]:
        shifted = list(counts)
        shifted[source] -= rows
        shifted[target] += rows
        return shifted

    index = [stability_index(counts, moved(rows)) for rows in (0, 1, 10, 30, 50)]
    assert index[0] == 0
    assert all(less < more for less, more in pairwise(index))


@given(st.dictionaries(st.integers(0, 40), st.integers(1, 30), min_size=10), st.integers(1, 12))
def test_numbers_that_shift_further_drift_more(rows: dict[int, int], shift: int) -> None:
    def shifted(by: int) -> float:
        return population_stability(bins(rows), bins({number + by: count for number, count in rows.items()}))

    assert shifted(0) == 0
    assert shifted(100) >= shifted(shift) >= 0


def test_an_empty_distribution_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="without rows"):
        stability_index([1, 2], [0, 0])
    with pytest.raises(ValueError, match="shorter"):
        stability_index([1, 2], [1])


def test_numbers_fall_into_tenths_of_the_window() -> None:
    cell = cells(bins(dict.fromkeys(range(0, 200, 2), 5)))
    groups = [cell(("bin", str(number))) for number in range(0, 200, 2)]
    assert Counter(Counter(groups).values()) == {10: 10}
    assert groups == sorted(groups)
    # Between two numbers of the window, below all of them, and above.
    assert cell(("bin", "21")) == cell(("bin", "20"))
    assert cell(("bin", "-1")) == groups[0]
    assert cell(("bin", "999")) == groups[-1]
    assert cell(("null", "")) not in groups


def test_few_labels_are_cells_and_many_share_tenths_by_popularity() -> None:
    few = cells(labels(film=3, show=2))
    assert len({few(("value", name)) for name in ("film", "show", "new")}) == 3
    assert few(("value", "new")) == few(("other", "")) != few(("null", ""))

    many = cells(labels(hit=1000, **{f"t{n:03}": 10 for n in range(100)}))
    groups = Counter(many(("value", f"t{n:03}")) for n in range(100))
    assert many(("value", "hit")) not in groups
    assert set(groups.values()) == {20}, "half of all plays are five tenths"
    assert many(("value", "unheard of")) == many(("other", ""))


def test_the_window_is_what_the_weeks_model_learned_from(streaming: Domain) -> None:
    first = streaming.calendar.history_start
    assert streaming.calendar.censored_weeks == 2
    assert training_weeks(first + 2 * WEEK, streaming) == []
    assert training_weeks(first + 5 * WEEK, streaming) == [first + n * WEEK for n in (2, 3, 4)]
    late = first + 100 * WEEK
    assert training_weeks(late, streaming) == [late - n * WEEK for n in range(26, 0, -1)]


def test_every_model_input_is_compared_once(streaming: Domain, kuairand: Domain) -> None:
    wanted = ["action_type", "device", "duration_s", "genres", "intent.age", "kind", "language", "release_age_days"]
    assert drift.model_inputs(streaming) == [*wanted, "surface", "title_id"]
    assert set(drift.model_inputs(kuairand)) == {*wanted, "surface", "title_id"} - {"device", "language"}


def week_of(domain: Domain, **counts: int) -> dict[date, dict[str, dict[tuple[str, str], int]]]:
    """Three weeks of which the last has these kinds, and the two before it as many of each."""
    first = domain.calendar.history_start + 2 * WEEK
    before = {"kind": labels(**dict.fromkeys(counts, 600))}
    return {first: before, first + WEEK: before, first + 2 * WEEK: {"kind": labels(**counts)}}


def of_kind(domain: Domain, **counts: int) -> Drift:
    profiles = week_of(domain, **counts)
    return {each.feature: each for each in drift.drift(max(profiles), profiles, domain)}["kind"]


def test_a_shifted_week_is_beyond_the_bound_and_the_same_week_is_not(streaming: Domain) -> None:
    same, shifted = of_kind(streaming, film=900, show=900), of_kind(streaming, film=1700, show=100)
    assert (same.index, same.beyond) == (0, False)
    assert shifted.index == pytest.approx((17 / 18 - 1 / 2) * log(17))
    assert shifted.beyond
    assert (shifted.rows, shifted.window_rows) == (1800, 2400)


def test_few_rows_are_not_measured(streaming: Domain) -> None:
    few = of_kind(streaming, film=999)
    assert (few.index, few.beyond, few.rows) == (None, False, 999)
    assert of_kind(streaming, film=1000).index == 0


def test_drift_compares_with_earlier_weeks_only(streaming: Domain) -> None:
    profiles = week_of(streaming, film=1500, show=100)
    middle = sorted(profiles)[1]
    (found,) = [each for each in drift.drift(middle, profiles, streaming) if each.feature == "kind"]
    assert (found.index, found.window_rows) == (0, 1200)
