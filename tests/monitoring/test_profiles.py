"""Profiles of weeks by Spark against a loop over the rows."""

import math
import random
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from intentrec.config import Domain
from intentrec.contracts import FEATURE_PROFILES
from intentrec.monitoring import profiles as profiles_module
from intentrec.monitoring.profiles import profiles
from tests.storage import good_rows

FIRST = date(2026, 8, 10)  # a Monday, a week after history_start
SINGLE = ("action_type", "kind", "creator", "language", "surface", "device", "title_id")
Key = tuple[Any, ...]


def random_rows(seed: int, count: int) -> list[dict[str, Any]]:
    """Interactions of two weeks with every sort of missing value."""
    dice = random.Random(seed)
    base = good_rows.rows("interactions")[0]
    return [
        {
            **base,
            "user_id": f"u{n}",
            "event_date": FIRST + timedelta(days=dice.randrange(14)),
            "title_id": f"t{int(dice.paretovariate(1)) % 40}",
            "action_type": dice.choice(["discover", "resume", "save"]),
            "creator": dice.choice([None, "", "ann", "bob"]),
            "language": dice.choice([None, "en"]),
            "genres": sorted(dice.sample(["crime", "drama", "war"], dice.randrange(4))),
            "duration_s": dice.choice([None, 0.0, 0.5, 1.0, 7.0, 119.99, 5400.0]),
            "release_age_days": dice.choice([None, -3.0, 0.0, 7.0, 7.01, 30.0, 365.0, 9000.0]),
            "fraction": dice.choice([None, 0.5]),
            "last_fraction": dice.choice([None, 0.5, 1.0]),
            "episode": dice.choice([None, 3]),
        }
        for n in range(count)
    ]


def age_class(days: float | None) -> tuple[str, str]:
    if days is None or days < 0:
        return "null", ""
    return "value", "week" if days <= 7 else "month" if days <= 30 else "year" if days <= 365 else "older"


def number(value: float | None) -> tuple[str, str]:
    if value is None:
        return "null", ""
    return ("other", "") if value < 0 else ("bin", str(math.floor(4 * math.log2(1 + value))))


def slow(interactions: list[dict[str, Any]], events: list[dict[str, Any]], top: int) -> dict[Key, int]:
    """Row by row, then the most frequent values of every week and feature."""
    counts: Counter[Key] = Counter()
    for row in interactions:
        week = FIRST + timedelta(days=(row["event_date"] - FIRST).days // 7 * 7)
        found = [(name, "value" if row[name] else "null", row[name] or "") for name in SINGLE]
        found += [("genres", "value", genre) for genre in row["genres"]] or [("genres", "null", "")]
        found += [(name, *number(row[name])) for name in ("duration_s", "release_age_days", "last_fraction")]
        found += [("intent.age", *age_class(row["release_age_days"]))]
        found += [(name, "null" if row[name] is None else "other", "") for name in ("fraction", "episode")]
        counts.update((week, "interactions", *each) for each in found)
    for row in events:
        counts[FIRST, "engagement_events", "event_type", "value", row["event_type"]] += 1
        for name in ("duration_s", "position_s", "surface", "device"):
            counts[FIRST, "engagement_events", name, "null" if row[name] is None else "other", ""] += 1
    kept: Counter[Key] = Counter()
    for key, rows in counts.items():
        baselines = [(-n, k[4]) for k, n in counts.items() if k[:4] == key[:4]]
        frequent = key[3] != "value" or sorted(baselines).index((-rows, key[4])) < top
        kept[key if frequent else (*key[:3], "other", "")] += rows
    return dict(kept)


@pytest.mark.slow
@pytest.mark.parametrize("top", [2, 500])
def test_every_value_of_every_week_is_counted(
    spark: SparkSession, streaming: Domain, top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles_module, "TOP", top)
    interactions, events = random_rows(3, 400), good_rows.rows("engagement_events")
    found = profiles(
        good_rows.frame(spark, "engagement_events", events),
        good_rows.frame(spark, "interactions", interactions).repartition(3),
        streaming,
    )
    assert found.columns == FEATURE_PROFILES.names
    counted = {tuple(row)[:5]: row["rows"] for row in found.collect()}
    assert counted == slow(interactions, events, top)
    assert (FIRST, "interactions", "title_id", "other", "") in counted if top == 2 else True


@pytest.mark.slow
def test_a_week_of_many_titles_stays_small(spark: SparkSession, streaming: Domain) -> None:
    base = good_rows.rows("interactions")[0]
    rows = [{**base, "title_id": f"t{n:04}"} for n in range(profiles_module.TOP + 100)] + [
        {**base, "title_id": "t0599"}
    ]
    events = good_rows.frame(spark, "engagement_events", good_rows.rows("engagement_events"))
    found = profiles(events, good_rows.frame(spark, "interactions", rows), streaming).where("feature = 'title_id'")
    titles = {(row["kind"], row["value"]): row["rows"] for row in found.collect()}
    assert len(titles) == profiles_module.TOP + 1
    assert titles["value", "t0599"] == 2
    # Ties go to the first by name: the last of those with one play are the rest.
    assert titles["other", ""] == 100
    assert ("value", "t0498") in titles
    assert ("value", "t0499") not in titles
