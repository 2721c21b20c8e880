"""Sequences against a plain loop over every user's history."""

import math
import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.calendar import day_start_of
from intentrec.config import Domain, DurationWeight, seconds
from intentrec.contracts import INTERACTIONS
from intentrec.sequences.arrays import build, read_from, weight
from tests.events.days import service_date_of
from tests.interactions.worlds import frame, rows_of

WEEK = timedelta(days=7)
# At a window's edge, one microsecond on either side of it, and nothing at all (a tie).
STEPS = [timedelta(0)] * 3 + [
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=1, microseconds=1),
    timedelta(days=1, microseconds=-1),
    timedelta(days=7),
    timedelta(days=3),
]


def short(domain: Domain, length: int, lookback: str) -> Domain:
    """The domain with few positions, so that rows are cut in small worlds."""
    changes = {"length": length, "lookback": lookback, "windows": ["1d", "7d"]}
    return domain.model_copy(update={"sequences": domain.sequences.model_copy(update=changes)})


def interaction(dice: random.Random, user: str, end: datetime, number: int, domain: Domain) -> dict:
    length = dice.choice([0.0, 60.0, 3600.0, 40_000.0])
    start = end - timedelta(seconds=length)
    return {
        "event_date": service_date_of(start, domain.calendar),
        "user_id": user,
        "account_id": f"a{user}",
        "session_id": f"{user}@{number // 2}",
        "title_id": f"t{number}",
        "item_id": f"t{number}",
        "start_ts": start,
        "end_ts": end,
        "tie": dice.randrange(-5, 5),
        "duration_s": length,
        "fraction": None,
        "event_counts": {"play": 1},
        "signals": {},
        "surface": dice.choice(["home", "search"]),
        "device": "tv",
        "kind": dice.choice(["film", "series"]),
        "genres": dice.choice([[], ["drama"], ["crime", "war"]]),
        "creator": dice.choice([None, "ann"]),
        "language": dice.choice([None, "en"]),
        "episode": None,
        "release_age_days": dice.choice([None, 2.5]),
        "last_fraction": dice.choice([None, 0.5]),
        "last_finished": dice.random() < 0.5,
        "listed": dice.random() < 0.5,
        "action_type": "discover",
        "is_target": dice.random() < 0.7,
        "left_censored": dice.random() < 0.3,
        "rules_version": "r",
    }


def histories(seed: int, domain: Domain, weeks: int, users: int = 6) -> list[dict]:
    """Histories of several users; some stop early, so that they are inactive in the later weeks."""
    dice = random.Random(seed)
    first = day_start_of(domain.calendar.history_start, domain.calendar)
    rows: list[dict] = []
    for user in range(users):
        moment, stop = first + timedelta(days=dice.randrange(3)), first + dice.choice([2, weeks, weeks]) * WEEK
        while moment < stop:
            rows.append(interaction(dice, f"u{user}", moment, len(rows), domain))
            moment += dice.choice(STEPS)
    return rows


def order(row: dict) -> tuple:
    return row["end_ts"], row["start_ts"], row["tie"], row["title_id"]


def expected_weight(duration: float, rule: DurationWeight) -> float:
    clip = seconds(rule.clip)
    return max(math.log1p(min(duration, clip)) / math.log1p(clip), rule.floor)


def plain_loop(rows: list[dict], as_of: date, domain: Domain) -> dict[str, dict]:
    """The sequences of one as_of: every position compared with every other."""
    settings, found = domain.sequences, {}
    oldest = as_of - timedelta(seconds=seconds(settings.lookback))
    for user in {row["user_id"] for row in rows}:
        mine = [row for row in rows if row["user_id"] == user]
        known = [row for row in mine if oldest <= service_date_of(row["end_ts"], domain.calendar) < as_of]
        kept = sorted(known, key=order)[-settings.length :]
        n_new = sum(service_date_of(row["end_ts"], domain.calendar) >= as_of - WEEK for row in kept)
        if n_new:
            found[user] = {
                "account_id": kept[-1]["account_id"],
                "n_new": n_new,
                **{name: [row[name] for row in kept] for name in ("title_id", "start_ts", "end_ts", "genres", "kind")},
                "creator": [row["creator"] or "" for row in kept],
                "release_age_days": [-1.0 if row["release_age_days"] is None else 2.5 for row in kept],
                "last_fraction": [-1.0 if row["last_fraction"] is None else 0.5 for row in kept],
                **{name: [row[name] for row in kept] for name in ("last_finished", "listed")},
                "opens_session": [True, *(one["session_id"] != two["session_id"] for one, two in pairwise(kept))],
                "is_target": [row["is_target"] and not row["left_censored"] for row in kept],
                "weight": [pytest.approx(expected_weight(row["duration_s"], settings.weight)) for row in kept],
                "window_start": {h: list(window_starts(kept, seconds(h))) for h in settings.windows},
            }
    return found


def window_starts(kept: list[dict], horizon: int) -> Iterable[int]:
    for row in kept:
        inside = [row["end_ts"] - other["end_ts"] <= timedelta(seconds=horizon) for other in kept]
        yield inside.index(True)


def aware(value: object) -> object:
    """Spark collects naive UTC."""
    if isinstance(value, list):
        return [aware(each) for each in value]
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


@pytest.mark.parametrize(("seed", "length", "lookback"), [(1, 5, "14d"), (2, 100, "364d"), (3, 3, "7d")])
def test_sequences_equal_a_plain_loop(
    spark: SparkSession, streaming: Domain, seed: int, length: int, lookback: str
) -> None:
    domain, weeks = short(streaming, length, lookback), 5
    rows = histories(seed, domain, weeks)
    as_ofs = [domain.calendar.history_start + week * WEEK for week in range(2, weeks + 1)]
    first, last = read_from(as_ofs[0], domain), as_ofs[-1]
    given = [row for row in rows if first <= row["event_date"] < last]
    assert len(given) > 60
    found: dict[date, dict[str, dict]] = {as_of: {} for as_of in as_ofs}
    for row in rows_of(build(frame(spark, given, INTERACTIONS), as_ofs, domain)):
        found[row["as_of"]][row["user_id"]] = row
    for as_of in as_ofs:
        expected = plain_loop(rows, as_of, domain)
        assert found[as_of].keys() == expected.keys()
        for user, wanted in expected.items():
            assert {name: aware(found[as_of][user][name]) for name in wanted} == wanted
    sizes = {len(row["title_id"]) for of_week in found.values() for row in of_week.values()}
    assert max(sizes) == length or length == 100
    # Somebody was active in one of the weeks and not in another.
    assert len({frozenset(of_week) for of_week in found.values()}) > 1


def test_every_interaction_is_new_once(spark: SparkSession, streaming: Domain) -> None:
    domain, weeks = short(streaming, 1000, "364d"), 4
    rows = histories(4, domain, weeks)
    as_ofs = [domain.calendar.history_start + week * WEEK for week in range(1, weeks + 1)]
    given = [row for row in rows if row["event_date"] < as_ofs[-1]]
    new = [
        title
        for row in rows_of(build(frame(spark, given, INTERACTIONS), as_ofs, domain))
        for title in row["title_id"][-row["n_new"] :]
    ]
    ended = [row["title_id"] for row in given if service_date_of(row["end_ts"], domain.calendar) < as_ofs[-1]]
    assert sorted(new) == sorted(ended)


def test_a_week_alone_gives_the_rows_of_a_range(spark: SparkSession, streaming: Domain) -> None:
    """Later weeks in the same call change nothing, nor do users who get no row."""
    domain = short(streaming, 5, "14d")
    rows = histories(5, domain, 4)
    as_ofs = [domain.calendar.history_start + week * WEEK for week in (2, 3, 4)]
    everything = frame(spark, rows, INTERACTIONS)
    together = rows_of(build(everything, as_ofs, domain))
    alone = rows_of(build(everything, as_ofs[1:2], domain))
    assert alone
    assert sorted(alone, key=repr) == sorted((row for row in together if row["as_of"] == as_ofs[1]), key=repr)


@pytest.mark.parametrize("transform", ["log1p", "linear", "none"])
def test_duration_weights(spark: SparkSession, transform: str) -> None:
    rule = DurationWeight(transform=transform, clip="1h", floor=0.1)
    durations = [0.0, 36.0, 1800.0, 3600.0, 90_000.0]
    frame_of = spark.createDataFrame([(value,) for value in durations], "d double")
    found = [row[0] for row in frame_of.select(weight(F.col("d"), rule)).collect()]
    shares = {
        "log1p": [math.log1p(min(value, 3600)) / math.log1p(3600) for value in durations],
        "linear": [min(value, 3600) / 3600 for value in durations],
        "none": [1.0] * len(durations),
    }
    assert found == pytest.approx([max(share, 0.1) for share in shares[transform]])
    assert max(found) == 1.0
