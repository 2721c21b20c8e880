"""The rows that the simulator writes: valid by independent checks, and labelled with their outcome."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from simulator import simulate
from tests.simulator.files import END, START, TINY, moment, texts, truth_rows, week_of

FIELDS = {
    "event_id": str,
    "user_id": str,
    "account_id": str,
    "item_id": str,
    "event_ts": str,
    "event_type": str,
    "duration_s": int,
    "position_s": int | None,
    "surface": str,
    "device": str,
    "arrived_at": str,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Landing and truth folders of a tiny world."""
    folder = tmp_path_factory.mktemp("tiny")
    simulate(TINY, START, END, folder / "landing", folder / "truth")
    return folder / "landing", folder / "truth"


@pytest.fixture(scope="module")
def events(tiny: tuple[Path, Path]) -> list[dict]:
    """Accepted rows as objects, each with its truth under `truth`."""
    places = {(row["source_file"], row["source_line"]): row for row in truth_rows(tiny[1])}
    found = []
    for file, number, text in texts(tiny[0]):
        if places[file, number]["outcome"] == "accepted":
            found.append({**json.loads(text), "truth": places[file, number]})
    return found


@pytest.fixture(scope="module")
def snapshots(tiny: tuple[Path, Path]) -> dict[date, dict[str, dict]]:
    """Items by snapshot date."""
    return {
        date.fromisoformat(path.parent.name.removeprefix("snapshot=")): {
            item["item_id"]: item for item in map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines())
        }
        for path in tiny[0].glob("catalog/snapshot=*/*.jsonl.gz")
    }


def test_rows_have_the_contract_s_fields(events: list[dict]) -> None:
    types = {"play", "list_add", "list_remove", "trailer", "search_play"}
    assert len(events) > 1000
    for event in events:
        more = set(event) - set(FIELDS) - {"truth"}
        assert more == ({"app_version", "autoplay"} if event["truth"]["dirt"] == "extra_column" else set())
        assert all(isinstance(event[name], kind) for name, kind in FIELDS.items())
        assert event["event_type"] in types
    assert {event["event_type"] for event in events} == types


def test_items_have_the_contract_s_fields(snapshots: dict[date, dict[str, dict]]) -> None:
    assert sorted(snapshots) == [START + timedelta(weeks=week) for week in range(7)]
    for items in snapshots.values():
        for item in items.values():
            assert item["kind"] in ("film", "show")
            assert (item["episode"] is None) == (item["kind"] == "film")
            assert 1 <= len(item["genres"]) <= 3
            assert item["genres"] == sorted(item["genres"])
            assert item["runtime_s"] > 0
            assert moment(item["release_ts"]) <= moment(item["available_from"])


def test_every_row_lies_in_the_folder_of_its_arrival(tiny: tuple[Path, Path]) -> None:
    arrivals = {(row["source_file"], row["source_line"]): row["arrived_at"] for row in truth_rows(tiny[1])}
    seen = set()
    for file, number, text in texts(tiny[0]):
        seen.add((file, number))
        assert f"arrived={arrivals[file, number].date()}/" in file
        if '"arrived_at"' in text and text.endswith("}"):
            assert moment(json.loads(text)["arrived_at"]) == arrivals[file, number].timestamp()
    assert seen == set(arrivals)


def test_a_user_does_one_thing_at_a_time_and_sessions_are_apart(events: list[dict]) -> None:
    by_user = defaultdict(list)
    for event in events:
        by_user[event["user_id"]].append((moment(event["event_ts"]), event))
    for timed in by_user.values():
        timed.sort(key=lambda pair: pair[0])
        for (start, event), (after, following) in pairwise(timed):
            gap = after - start - event["duration_s"]
            one = [(week_of(ts), e["truth"]["session"]) for ts, e in ((start, event), (after, following))]
            # A row lost to dirt between two of a session may leave a longer gap, never an overlap.
            assert gap > 0 if one[0] == one[1] else gap > 1800


def test_positions_lie_within_the_item(events: list[dict], snapshots: dict[date, dict[str, dict]]) -> None:
    runtime = {item_id: item["runtime_s"] for items in snapshots.values() for item_id, item in items.items()}
    for event in events:
        if event["event_type"] in ("play", "search_play"):
            assert 0 < event["duration_s"] <= event["position_s"] <= runtime[event["item_id"]]
        else:
            assert event["position_s"] is None


def test_everything_is_in_the_week_s_snapshot_and_available_when_it_is_touched(
    tiny: tuple[Path, Path], events: list[dict], snapshots: dict[date, dict[str, dict]]
) -> None:
    ends = {}  # a departure may be announced later than the week
    for week in sorted(snapshots):
        ends.update({item_id: item["available_to"] for item_id, item in snapshots[week].items()})
    for event in events:
        start = moment(event["event_ts"])
        item = snapshots[week_of(start)][event["item_id"]]
        assert moment(item["available_from"]) <= start
        assert ends[event["item_id"]] is None or start < moment(ends[event["item_id"]])


def test_premieres_are_in_a_snapshot_before_they_are_first_played(
    events: list[dict], snapshots: dict[date, dict[str, dict]]
) -> None:
    first_play: dict[str, float] = {}
    for event in events:
        start = moment(event["event_ts"])
        first_play[event["item_id"]] = min(start, first_play.get(event["item_id"], start))
    known: set[str] = set()
    premieres = 0
    for week in sorted(snapshots):
        new = set(snapshots[week]) - known
        known |= new
        if week == START:
            continue
        for item_id in new:
            assert week_of(moment(snapshots[week][item_id]["available_from"])) == week
            assert item_id not in first_play or week_of(first_play[item_id]) >= week
        premieres += len(new & set(first_play))
    assert premieres > 10


def test_a_snapshot_is_a_function_of_its_date(snapshots: dict[date, dict[str, dict]]) -> None:
    departures = 0
    for before, after in pairwise(sorted(snapshots)):
        for item_id, item in snapshots[before].items():
            again = snapshots[after][item_id]
            announced = item["available_to"] is None and again["available_to"] is not None
            departures += announced
            assert item == again or (announced and {**item, "available_to": again["available_to"]} == again)
    assert departures


def check_outcome(raw: str, row: dict, valid: Callable[[dict], bool], copies: list[str]) -> str:
    """The outcome of a row, from the row alone, by the rules of the documentation."""
    when = row["event_ts"] or row["arrived_at"]
    ends = week_of(when.timestamp()) + timedelta(days=7)
    deadline = datetime(ends.year, ends.month, ends.day, 4, tzinfo=ZoneInfo("America/Los_Angeles")) + timedelta(days=2)
    if row["arrived_at"] > deadline:
        return "late"
    try:
        fields = json.loads(raw)
    except json.JSONDecodeError:
        return "quarantined"
    if not valid(fields) or len(set(copies)) > 1:
        return "quarantined"
    return "accepted"


def test_outcomes_follow_from_the_rows(tiny: tuple[Path, Path], snapshots: dict[date, dict[str, dict]]) -> None:
    known = {item_id for items in snapshots.values() for item_id in items}

    def valid(fields: dict) -> bool:
        types = [str, str, str, str, str, str, int]
        names = ["event_id", "user_id", "account_id", "item_id", "event_ts", "event_type", "duration_s"]
        if not all(isinstance(fields.get(name), kind) for name, kind in zip(names, types, strict=True)):
            return False
        if not fields["event_ts"].endswith("Z") or fields["item_id"] not in known:
            return False
        believable = abs(moment(fields["event_ts"]) - moment(fields["arrived_at"])) < 60 * 86400
        return believable and 0 <= fields["duration_s"] <= 12 * 3600

    places = {(row["source_file"], row["source_line"]): row for row in truth_rows(tiny[1])}
    raw = {(file, number): text for file, number, text in texts(tiny[0])}
    copies = defaultdict(list)
    hours: Counter[tuple[str, date]] = Counter()
    for place, row in places.items():
        copies[row["event_id"]].append(raw[place])
        if row["dirt"] == "bot":
            fields = json.loads(raw[place])
            day = datetime.fromtimestamp(moment(fields["event_ts"]) - 4 * 3600, ZoneInfo("America/Los_Angeles")).date()
            hours[row["user_id"], day] += fields["duration_s"]
    assert hours
    assert min(hours.values()) >= 30 * 3600
    seen: set[str] = set()
    for place, row in sorted(places.items()):
        expected = check_outcome(raw[place], row, valid, copies[row["event_id"]])
        if row["dirt"] == "bot":
            expected = "quarantined"
        if expected == "accepted" and row["event_id"] in seen:
            expected = "duplicate"
        seen.add(row["event_id"])
        assert row["outcome"] == expected, (row, raw[place])


def test_every_kind_of_dirt_occurs_and_is_rare_in_an_ordinary_world(tmp_path: Path) -> None:
    usual = replace(TINY, users=60, dirt=1.0)
    summary = simulate(usual, START, START + timedelta(weeks=4), tmp_path / "l", tmp_path / "t")
    dirty = 1 - summary.kinds["clean"] / summary.kinds.total()
    assert 0.01 < dirty < 0.03
    often = simulate(replace(TINY, dirt=8.0), START, START + timedelta(weeks=4), tmp_path / "l8", tmp_path / "t8")
    assert set(often.kinds) == {
        *("clean", "exact_duplicate", "conflicting_duplicate", "late_within", "too_late", "malformed", "wrong_type"),
        *("missing_field", "unknown_item", "bad_duration", "clock_skew", "extra_column", "bot"),
    }
    counted = Counter(row["outcome"] for row in truth_rows(tmp_path / "t8"))
    assert counted == often.outcomes
    assert set(counted) == {"accepted", "duplicate", "quarantined", "late"}
