"""What the simulator writes: deterministic, stable under growth, valid by independent checks, and labelled."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner, Result

from intentrec.config import ROOT, SIMULATED_MANIFEST, Domain
from intentrec.errors import PipelineError
from simulator import Settings, simulate
from simulator.__main__ import app
from simulator.catalogue import Catalogue
from simulator.settings import WORLDS
from simulator.users import population

START, END = date(2026, 8, 3), date(2026, 9, 21)  # seven weeks
TINY = Settings(epoch=START, users=30, titles=120, dirt=4.0)
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


def moment(text: str) -> float:
    assert text.endswith("Z")
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def week_of(seconds: float) -> date:
    """Monday of the service week: local time less four hours."""
    local = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo("America/Los_Angeles")) - timedelta(hours=4)
    return local.date() - timedelta(days=local.weekday())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(landing: Path) -> Iterator[tuple[str, int, str]]:
    for path in sorted(landing.glob("events/arrived=*/*.jsonl.gz")):
        for number, text in enumerate(gzip.decompress(path.read_bytes()).decode().splitlines(), start=1):
            yield str(path.relative_to(landing)), number, text


def raw_rows(landing: Path) -> Counter[str]:
    return Counter(text for _, _, text in texts(landing))


def truth_rows(truth: Path) -> list[dict]:
    return [row for path in sorted(truth.glob("events/*.parquet")) for row in pq.read_table(path).to_pylist()]


def outcomes(truth: Path) -> Counter[tuple]:
    """Truth rows but for their line, which moves when more users write to a file."""
    return Counter(tuple(value for key, value in row.items() if key != "source_line") for row in truth_rows(truth))


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


def test_the_same_seed_gives_the_same_bytes_and_a_second_call_the_same_files(tmp_path: Path) -> None:
    end = START + timedelta(days=21)
    for folder in ("a", "b", "b"):
        simulate(replace(TINY, users=12), START, end, tmp_path / folder / "landing", tmp_path / folder / "truth")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_another_seed_is_another_world(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    simulate(replace(TINY, seed=8), START, START + timedelta(days=7), tmp_path / "landing", tmp_path / "truth")
    other = {text for _, _, text in texts(tmp_path / "landing")}
    assert not other & {text for _, _, text in texts(tiny[0])}


@pytest.mark.parametrize("world", WORLDS)
def test_a_week_is_the_same_whatever_range_and_population_it_is_written_with(world: str, tmp_path: Path) -> None:
    small = replace(TINY, world=world, users=12)
    middle, end = START + timedelta(days=14), START + timedelta(days=28)
    simulate(small, START, middle, tmp_path / "a", tmp_path / "a-truth")
    before = content(tmp_path / "a")
    rows, truth = raw_rows(tmp_path / "a"), outcomes(tmp_path / "a-truth")

    simulate(small, START, end, tmp_path / "long", tmp_path / "long-truth")
    later = content(tmp_path / "long")
    assert {name: later[name] for name in before} == before

    simulate(small, middle, end, tmp_path / "a", tmp_path / "a-truth")  # the later weeks beside the earlier ones
    assert content(tmp_path / "a") == later

    simulate(replace(small, users=20), START, middle, tmp_path / "wide", tmp_path / "wide-truth")
    assert not rows - raw_rows(tmp_path / "wide")
    assert not truth - outcomes(tmp_path / "wide-truth")
    assert len(raw_rows(tmp_path / "wide")) > len(rows)


def test_fewer_users_leave_no_file_of_the_larger_world_behind(tmp_path: Path) -> None:
    stop = START + timedelta(days=7)
    simulate(replace(TINY, users=25), START, stop, tmp_path / "both", tmp_path / "t")
    simulate(replace(TINY, users=3), START, stop, tmp_path / "both", tmp_path / "t")
    simulate(replace(TINY, users=3), START, stop, tmp_path / "alone", tmp_path / "t")
    assert content(tmp_path / "both") == content(tmp_path / "alone")


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


def test_ids_carry_no_order() -> None:
    users = population(replace(TINY, users=400))
    titles = Catalogue(TINY, END).titles
    for prefix, ids in {
        "u": [user.user_id for user in users],
        "a": list(dict.fromkeys(user.account_id for user in users)),
        "t": [title.title_id for title in titles],
        "i": [item for title in titles for item in title.items],
    }.items():
        assert len(set(ids)) == len(ids)
        assert {(one[0], len(one)) for one in ids} == {(prefix, 13)}
        assert spearmanr(range(len(ids)), [int(one[1:], 16) for one in ids]).pvalue > 0.001


def test_accounts_hold_one_to_four_profiles() -> None:
    sizes = Counter(Counter(user.account_id for user in population(replace(TINY, users=400))).values())
    assert set(sizes) == {1, 2, 3, 4}


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


def test_the_manifest_of_a_former_version_counts_as_the_same_world(tmp_path: Path) -> None:
    manifest = {
        "epoch": "2026-08-03",
        "seed": "7",
        "titles": "120",
        "world": "intent",
        "zone": "America/Los_Angeles",
        "day_start": "04:00:00",
        "session_gap_s": "1800",
        "lateness_s": "172800",
        "max_duration_s": "43200",
        "drift_week": "4",
        "dirt": "4.0",
    }
    path = tmp_path / "landing" / SIMULATED_MANIFEST
    path.parent.mkdir()
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    simulate(replace(TINY, users=1), START, START + timedelta(weeks=1), tmp_path / "landing", tmp_path / "truth")
    assert json.loads(path.read_text()) == manifest


def test_two_worlds_do_not_mix(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    before = content(tiny[0])
    with pytest.raises(PipelineError, match="another simulated world"):
        simulate(replace(TINY, world="null"), START, END, tiny[0], tmp_path)
    assert content(tiny[0]) == before


def test_a_world_does_not_mix_with_real_data(tmp_path: Path) -> None:
    real = tmp_path / "landing" / "catalog" / f"snapshot={START}" / "items.jsonl.gz"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"theirs")
    with pytest.raises(PipelineError, match=r"data that was not simulated, such as .*items\.jsonl\.gz"):
        simulate(TINY, START, END, tmp_path / "landing", tmp_path / "truth")
    assert content(tmp_path / "landing") == {str(real.relative_to(tmp_path / "landing")): b"theirs"}


@pytest.mark.parametrize(
    ("start", "end"),
    [(START, START), (START - timedelta(days=7), END), (START, date(2026, 8, 12)), (date(2026, 8, 5), END)],
)
def test_a_range_that_is_not_weeks_of_the_world_is_refused(start: date, end: date, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=str(START)):
        simulate(TINY, start, end, tmp_path / "l", tmp_path / "t")
    assert not (tmp_path / "l").exists()


def test_settings_follow_the_domain_s_calendar(streaming: Domain, kuairand: Domain) -> None:
    settings = Settings.from_domain(streaming, users=5, world="null")
    assert (settings.epoch, settings.zone, settings.users) == (START, "America/Los_Angeles", 5)
    with pytest.raises(PipelineError, match="none of intent, null"):
        Settings.from_domain(streaming, world="steady")
    with pytest.raises(PipelineError, match=r"kuairand.*trailer"):
        Settings.from_domain(kuairand)
    with pytest.raises(PipelineError, match="at least"):
        Settings.from_domain(streaming, titles=3)


def test_command_line_writes_below_home_and_explains_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))

    def command(*more: str) -> Result:
        words = ["--config", str(ROOT / "conf" / "streaming.yaml"), "--start", str(START)]
        return CliRunner().invoke(app, [*words, "--users", "5", "--titles", "60", *more])

    done = command("--end", "2026-08-10")
    assert done.exit_code == 0, done.stderr
    assert "raw rows (accepted" in done.stdout
    assert list((tmp_path / "landing/streaming/events").glob("arrived=2026-08-0*/week-2026-08-03.jsonl.gz"))
    assert (tmp_path / "landing/streaming/catalog/snapshot=2026-08-03/items.jsonl.gz").exists()
    assert (tmp_path / "work/truth/streaming/events/week=2026-08-03.parquet").exists()
    refused = command("--end", "2026-08-11")
    assert refused.exit_code == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "not whole weeks" in refused.stderr
