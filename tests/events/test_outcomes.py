"""Outcomes of random hostile rows against a plain-Python oracle; a range against its weeks."""

import random
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from intentrec.config import Domain, Events
from intentrec.contracts import CATALOG
from intentrec.events.catalog import snapshot_dates
from intentrec.events.check import checked_events
from intentrec.events.outcomes import OUTCOMES, outcomes
from intentrec.raw_rows import RAW_EVENT
from tests.events import oracle

W0, W1, W2, W3 = (date(2026, 8, 3) + timedelta(weeks=week) for week in range(4))
# i3 is listed from the second week on, i2 no longer from the third
SNAPSHOTS = {W0: {"i1", "i2"}, W1: {"i1", "i2", "i3"}, W2: {"i1", "i3"}}
MOMENTS = [
    datetime(2026, 8, 3, 10, 59, tzinfo=UTC),  # a minute before the first service day begins at 04:00 in Los Angeles
    datetime(2026, 8, 3, 11, 0, tzinfo=UTC),
    datetime(2026, 8, 5, 20, 0, tzinfo=UTC),
    datetime(2026, 8, 10, 10, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 8, 10, 11, 0, tzinfo=UTC),
    datetime(2026, 8, 12, 3, 0, tzinfo=UTC),
    datetime(2026, 8, 17, 11, 0, tzinfo=UTC),
    datetime(2026, 8, 20, 1, 30, tzinfo=UTC),
    datetime(2026, 8, 24, 11, 0, tzinfo=UTC),
]
# Mostly prompt; then exactly at and just beyond what clocks and lateness allow.
DELAYS = [
    *[timedelta(minutes=5)] * 8,
    timedelta(0),
    timedelta(days=-1),
    timedelta(days=-1, microseconds=-1),
    timedelta(days=2),
    timedelta(days=2, microseconds=1),
    timedelta(days=9),
    timedelta(days=60),
    timedelta(days=61),
]


def raw_rows(seed: int, worlds: int = 4) -> list[dict]:
    """Rows of several small worlds with ids of their own."""
    dice = random.Random(seed)
    rows = [row for world in range(worlds) for row in rows_of_one_world(dice, world)]
    return [
        {**row, "raw": f"line {line}", "source_file": f"f{line % 3}", "source_line": line}
        for line, row in enumerate(rows)
    ]


def rows_of_one_world(dice: random.Random, world: int) -> list[dict]:
    """Rows over few ids, users and moments, so that copies, contradictions and long days are common."""
    rows: list[dict] = []
    for _ in range(dice.randint(30, 90)):
        if rows and dice.randrange(4) == 0:  # the same again, perhaps with another arrival or one other field
            row = dict(dice.choice(rows))
            changed = dice.choice(["arrived_at", "arrived_at", "duration_s", "surface", "extra"])
            row["arrived_at"] += timedelta(seconds=dice.randrange(2))  # a correction, or a contradiction
            row[changed] = {
                "arrived_at": row["arrived_at"] + timedelta(seconds=1),
                "duration_s": "1.50",
                "surface": "search",
                "extra": {"clicks": "4", "note": "x"},
            }[changed]
        else:
            row = random_row(dice, f"e{dice.randint(0, 25)}-{world}", [f"u1-{world}", f"u2-{world}"])
        rows.append(row)
    return rows


def random_row(dice: random.Random, event_id: str, users: list[str]) -> dict:
    """A row of which each field is bad one time in ten."""

    def mostly(good: list, bad: list) -> Any:
        return dice.choice(good if dice.randrange(10) else bad)

    moment = dice.choice(MOMENTS)
    text = moment.isoformat().replace("+00:00", "Z")
    row = {
        "read_error": mostly([None], ["unreadable_line", "invalid_utf8", "missing_arrived_at"]),
        "arrived_at": moment + dice.choice(DELAYS),
        "event_id": mostly([event_id], [None, " "]),
        "user_id": mostly(users, [None, ""]),
        "account_id": mostly(["a1", "a1", "a1", "a2"], [None, "a0"]),
        "item_id": mostly(["i1", "i2", "i3"], ["i9", None, " "]),
        "event_ts": mostly([text], ["soon", None, "2026-08-05", "1999-01-01T00:00:00Z", "2026-13-01T00:00:00Z"]),
        "event_type": mostly(["play"], ["explode", None]),
        "duration_s": mostly(["1.5", "900", "3600"], ["-1", "NaN", "Infinity", "1d", "3600.01", None, "1e400"]),
        "position_s": mostly([None, "12"], ["-3", "x", "Infinity"]),
        "surface": "home",
        "device": mostly(["tv"], [None]),
        "extra": mostly([{}, {"clicks": "3"}], [{"clicks": "many"}, {"clicks": "NaN"}, {"other": "y"}]),
    }
    if row["read_error"] in oracle.UNREAD:
        row |= {name: None for name in row if name not in ("read_error", "arrived_at")}
    return row


@pytest.fixture(scope="module")
def domain(streaming: Domain) -> Domain:
    """The streaming service, with short limits and a signal."""
    events = Events(
        **{**streaming.events.model_dump(), "max_duration": "1h", "max_hours_per_day": 2, "signals": ["clicks"]}
    )
    return streaming.model_copy(update={"events": events})


@pytest.fixture(scope="module")
def catalog(spark: SparkSession) -> DataFrame:
    """The snapshots as a table."""
    none = (None,) * (len(CATALOG.names) - 5)
    rows = [(day, item, item, "film", [], *none) for day, items in SNAPSHOTS.items() for item in items]
    return spark.createDataFrame(rows, CATALOG.schema).cache()


def judged(
    checked: DataFrame, catalog: DataFrame, start: date, end: date, domain: Domain, late: bool
) -> dict[int, tuple]:
    """Line -> outcome, date and reasons; only a refused row has reasons."""
    frame = outcomes(checked, catalog, snapshot_dates(catalog, start, end), start, end, domain, late)
    rows = frame.select("source_line", "outcome", "event_date", "reasons").collect()
    assert len({row["source_line"] for row in rows}) == len(rows)
    return {row["source_line"]: _verdict(row["outcome"], row["event_date"], row["reasons"]) for row in rows}


def _verdict(outcome: str, day: date, reasons: list[str]) -> tuple:
    return outcome, day, tuple(reasons) if outcome == "quarantined" else ()


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_outcomes_equal_those_of_the_oracle(
    spark: SparkSession, domain: Domain, catalog: DataFrame, late: bool
) -> None:
    """Each row has one outcome, so counts add up. A range has the same outcomes as its weeks one by one."""
    rows = raw_rows(seed=int(late))
    raw = spark.createDataFrame([tuple(row[name] for name in RAW_EVENT.names) for row in rows], RAW_EVENT)
    checked = checked_events(raw, domain).localCheckpoint()
    whole = judged(checked, catalog, W0, W3, domain, late)
    want = oracle.judge(rows, SNAPSHOTS, W0, W3, domain, late)
    assert any("conflicting_account" in verdict.reasons for verdict in want)
    every = {*OUTCOMES} - ({"late"} if late else set())
    assert {verdict.outcome for verdict in want} == every, "the worlds have every outcome"
    assert whole == {v.raw["source_line"]: _verdict(v.outcome, v.event_date, sorted(v.reasons)) for v in want}
    weeks = [judged(checked, catalog, start, end, domain, late) for start, end in ((W1, W3), (W0, W1))]
    ours: list[dict] = [{line: v for line, v in part.items() if v[0] not in ("outside", "late")} for part in weeks]
    assert reduce(lambda left, right: left | right, ours) == {
        line: verdict for line, verdict in whole.items() if verdict[0] not in ("outside", "late")
    }
    assert sum(map(len, ours)) == len(ours[0] | ours[1]), "the runs of two weeks took the same row"


SUNDAY, MONDAY = "2026-08-09T20:00:00Z", "2026-08-10T20:00:00Z"
EARLY, LATER, LAST = (datetime(2026, 8, 10, hour, tzinfo=UTC) for hour in (21, 22, 23))
# Versions of one event: arrival, fields that differ from an event of Sunday, outcome in a run over both weeks.
VERSIONS: dict[str, list[tuple[datetime, dict, str]]] = {
    "another duration": [(EARLY, {}, "replaced"), (LATER, {"duration_s": "2"}, "accepted")],
    "Sunday to Monday": [(EARLY, {}, "replaced"), (LATER, {"event_ts": MONDAY}, "accepted")],
    "Monday to Sunday": [(EARLY, {"event_ts": MONDAY}, "replaced"), (LATER, {}, "accepted")],
    "a copy": [(EARLY, {}, "accepted"), (LATER, {}, "duplicates")],
    "there and back": [(EARLY, {}, "replaced"), (LATER, {"duration_s": "2"}, "replaced"), (LAST, {}, "accepted")],
    "one moment": [(EARLY, {}, "quarantined"), (EARLY, {"duration_s": "2"}, "quarantined")],
    "one moment, two weeks": [(EARLY, {}, "quarantined"), (EARLY, {"event_ts": MONDAY}, "quarantined")],
    "one moment, then clear": [
        (EARLY, {}, "quarantined"),
        (EARLY, {"duration_s": "2"}, "quarantined"),
        (LATER, {}, "accepted"),
    ],
    "a wrong correction": [(EARLY, {}, "accepted"), (LATER, {"duration_s": "-2"}, "quarantined")],
    "to an unknown item": [(EARLY, {}, "replaced"), (LATER, {"item_id": "i9"}, "quarantined")],
}


@pytest.mark.slow
def test_the_version_that_arrived_last_wins(spark: SparkSession, domain: Domain, catalog: DataFrame) -> None:
    """In one run over both weeks; each week alone gives its own rows the same outcomes."""
    good = {"account_id": "a", "item_id": "i1", "event_ts": SUNDAY, "extra": {}, "event_type": "play"}
    good |= {"duration_s": "1", "position_s": None, "surface": "home", "device": "tv"}
    good |= {"read_error": None, "raw": "line", "source_file": "f"}
    cases = [(name, *version) for name, versions in VERSIONS.items() for version in versions]
    rows = [
        {**good, "event_id": name, "user_id": name, **changes, "arrived_at": arrived, "source_line": line}
        for line, (name, arrived, changes, _) in enumerate(cases)
    ]
    raw = spark.createDataFrame([tuple(row[name] for name in RAW_EVENT.names) for row in rows], RAW_EVENT)
    checked = checked_events(raw, domain).localCheckpoint()

    def found(start: date, end: date) -> dict[int, tuple[str, str]]:
        """Case and outcome of each line of [start, end)."""
        lines = judged(checked, catalog, start, end, domain, False).items()
        return {line: (cases[line][0], outcome) for line, (outcome, _, _) in lines if outcome != "outside"}

    wanted = {line: (name, outcome) for line, (name, _, _, outcome) in enumerate(cases)}
    assert found(W0, W2) == wanted
    assert found(W0, W1) | found(W1, W2) == wanted
