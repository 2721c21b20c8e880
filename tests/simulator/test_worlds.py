"""What each simulated world promises: dependence where it is claimed, none where it is not, every action type."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2_contingency

from simulator import Settings, simulate
from simulator.settings import WORLDS

START, WEEKS = date(2026, 8, 3), 8
END = START + timedelta(weeks=WEEKS)
WORLD = Settings(epoch=START, users=80, titles=150, dirt=0.0)
PLAYED = ("play", "search_play")


class World:
    """One simulated world, read back from its files."""

    def __init__(self, folder: Path, world: str) -> None:
        simulate(replace(WORLD, world=world), START, END, folder / "l", folder / "t")
        self.truth, self.items = folder / "t", {}
        for path in sorted(folder.glob("l/catalog/*/*.gz")):
            for item in map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines()):
                self.items[item["item_id"]] = item
        latent = {row["event_id"]: row for path in folder.glob("t/events/*") for row in pq.read_table(path).to_pylist()}
        rows = [
            json.loads(line)
            for path in folder.glob("l/events/*/*.gz")
            for line in gzip.decompress(path.read_bytes()).decode().splitlines()
        ]
        self.events: dict[str, list[dict]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["event_ts"]):
            if latent[row["event_id"]]["dirt"] != "bot":
                item = self.items[row["item_id"]]
                start = datetime.fromisoformat(row["event_ts"]).timestamp()
                more = {"title": item["title_id"], "item": item, "start": start, "latent": latent[row["event_id"]]}
                self.events[row["user_id"]].append({**row, **more})

    def runs(self) -> Iterator[list[dict]]:
        """Maximal runs of a title within a session, user after user."""
        for events in self.events.values():
            run: list[dict] = []
            for event in events:
                if run and (event["title"] != run[-1]["title"] or gap(run[-1], event) > 1800):
                    yield run
                    run = []
                run.append(event)
            yield run

    def first_genres(self, week: int | None = None) -> list[list[str]]:
        """Per user (and week) the first genre of every event's title, in order."""
        found = defaultdict(list)
        for user, events in self.events.items():
            for event in events:
                found[user, week_of(event)].append(event["item"]["genres"][0])
        return [genres for (_, of), genres in found.items() if week is None or of == week]


def gap(before: dict, after: dict) -> float:
    return after["start"] - before["start"] - before["duration_s"]


def week_of(event: dict) -> int:
    return int((event["start"] - datetime.fromisoformat("2026-08-03T11:00:00Z").timestamp()) // (7 * 86400))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    return {name: World(tmp_path_factory.mktemp(name), name) for name in WORLDS}


def agreement(world: World) -> float:
    """How far consecutive genres agree beyond chance, in standard deviations of shuffles within a week."""
    rng = np.random.default_rng(0)
    share, shuffled = 0.0, np.zeros(200)
    for week in range(WEEKS):
        pairs = [pair for genres in world.first_genres(week) for pair in pairwise(genres)]
        before, after = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        share += (before == after).sum()
        shuffled += [(before == rng.permutation(after)).sum() for _ in shuffled]
    return float((share - shuffled.mean()) / shuffled.std())


def intent_dependence(world: World) -> float:
    """p-value of independence between the latent intent and the title's first genre."""
    counts = Counter((e["latent"]["intent"], e["item"]["genres"][0]) for es in world.events.values() for e in es)
    intents, genres = ({pair[i] for pair in counts} for i in (0, 1))
    frequent = [genre for genre in genres if sum(counts[intent, genre] for intent in intents) >= 100]
    return float(chi2_contingency([[counts[i, g] for g in sorted(frequent)] for i in sorted(intents)]).pvalue)


def test_in_the_null_world_nothing_depends_on_history_or_intent(worlds: dict[str, World]) -> None:
    assert abs(agreement(worlds["null"])) < 3.3
    assert intent_dependence(worlds["null"]) > 0.001


@pytest.mark.parametrize("name", ["intent", "steady", "drift"])
def test_in_the_intent_world_both_matter(name: str, worlds: dict[str, World]) -> None:
    assert agreement(worlds[name]) > 20
    assert intent_dependence(worlds[name]) < 1e-9


def second_order(world: World) -> float:
    """How far the title two steps back tells of the next beyond the one between, in standard deviations of shuffles."""
    rng = np.random.default_rng(0)
    by_middle: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for events in world.events.values():
        titles = [event["title"] for event in events]
        for first, middle, last in zip(titles, titles[1:], titles[2:], strict=False):
            by_middle[middle].append((first, last))
    observed, shuffled = 0.0, np.zeros(200)
    for pairs in by_middle.values():
        codes = np.unique([first for first, _ in pairs], return_inverse=True)[1] * 10_000
        last = np.unique([last for _, last in pairs], return_inverse=True)[1]
        observed += (np.unique(codes + last, return_counts=True)[1] ** 2).sum()
        shuffled += [(np.unique(codes + rng.permutation(last), return_counts=True)[1] ** 2).sum() for _ in shuffled]
    return float((observed - shuffled.mean()) / shuffled.std())


def test_in_the_markov_world_the_previous_title_says_it_all(worlds: dict[str, World]) -> None:
    assert intent_dependence(worlds["item-markov"]) > 0.001
    followers: dict[str, Counter[str]] = defaultdict(Counter)
    for events in worlds["item-markov"].events.values():
        for before, after in pairwise(events):
            followers[before["title"]][after["title"]] += 1
    frequent = [counts for counts in followers.values() if counts.total() >= 50]
    assert len(frequent) > 10
    top = [sum(count for _, count in counts.most_common(5)) / counts.total() for counts in frequent]
    assert 0.7 < np.mean(top) < 0.9  # three in four, and what popularity adds
    assert abs(second_order(worlds["item-markov"])) < 3.3
    assert second_order(worlds["intent"]) > 4.5


def test_drift_is_the_intent_world_until_it_happens(worlds: dict[str, World]) -> None:
    def done(name: str, before: bool) -> set[tuple]:
        keys = ("user_id", "event_ts", "item_id", "event_type", "duration_s", "position_s")
        rows = [event for events in worlds[name].events.values() for event in events]
        return {tuple(event[k] for k in keys) for event in rows if (week_of(event) < WORLD.drift_week) == before}

    assert done("drift", before=True) == done("intent", before=True)
    shared = done("drift", before=False) & done("intent", before=False)
    assert len(shared) < 0.05 * len(done("drift", before=False))


def profile_similarity(world: World) -> float:
    """Mean correlation of users' genre counts between weeks 0-3 and weeks 4-7, each less the mean of all users."""
    genres = sorted({genre for item in world.items.values() for genre in item["genres"]})
    counts = np.zeros((2, len(world.events), len(genres)))
    for user, events in enumerate(world.events.values()):
        for event in events:
            for genre in event["item"]["genres"]:
                counts[int(week_of(event) >= WORLD.drift_week), user, genres.index(genre)] += 1
    counts = counts[:, (counts.sum(axis=2) >= 20).all(axis=0)]
    shares = counts / counts.sum(axis=2, keepdims=True)
    shares -= shares.mean(axis=1, keepdims=True)
    return float(np.mean([np.corrcoef(before, after)[0, 1] for before, after in zip(*shares, strict=True)]))


def test_drift_changes_tastes(worlds: dict[str, World]) -> None:
    assert profile_similarity(worlds["intent"]) > 0.5
    assert profile_similarity(worlds["drift"]) < 0.35
    assert abs(profile_similarity(worlds["null"])) < 0.1


def lived_sessions(world: World) -> list[list[tuple[str, str | None]]]:
    """Per user the first intent of each session, and what it switched to, in order."""
    by_user = defaultdict(list)
    rows = [row for path in sorted((world.truth / "sessions").iterdir()) for row in pq.read_table(path).to_pylist()]
    for row in sorted(rows, key=lambda row: row["start_ts"]):
        by_user[row["user_id"]].append((row["intent"], row["switched_to"]))
    return list(by_user.values())


def test_the_intent_chain_can_be_told_from_the_session_before(worlds: dict[str, World]) -> None:
    users = lived_sessions(worlds["intent"])
    pairs = Counter((before[1] or before[0], after[0]) for found in users for before, after in pairwise(found))
    intents = sorted({intent for pair in pairs for intent in pair})
    assert len(intents) == 8
    majority = max(sum(pairs[b, a] for b in intents) for a in intents) / pairs.total()
    told = sum(max(pairs[b, a] for a in intents) for b in intents) / pairs.total()
    assert told > majority + 0.1
    switched = np.mean([second is not None for found in users for _, second in found])
    assert 0.12 < switched < 0.18


def test_in_the_steady_world_an_intent_lasts(worlds: dict[str, World]) -> None:
    steady, intent = (lived_sessions(worlds[name]) for name in ("steady", "intent"))
    assert {second for found in steady for _, second in found} == {None}
    lasted = [
        np.mean([before[0] == after[0] for found in users for before, after in pairwise(found)])
        for users in (steady, intent)
    ]
    assert lasted[0] > 0.8
    assert lasted[1] < 0.5
    assert len({first for found in steady for first, _ in found}) == 8


@pytest.mark.parametrize("name", ["item-markov", "intent"])
def test_the_oracle_ranks_next_week_s_titles_far_above_popularity(name: str, worlds: dict[str, World]) -> None:
    world, last = worlds[name], WEEKS - 1
    played: dict[str, set[str]] = defaultdict(set)
    week_before: Counter[str] = Counter()
    for user, events in world.events.items():
        for event in events:
            if event["event_type"] in PLAYED:
                played[user] |= {event["title"]} if week_of(event) == last else set()
                week_before[event["title"]] += week_of(event) == last - 1
    popular = {title for title, _ in week_before.most_common(10)}
    ranking: dict[str, set[str]] = defaultdict(set)
    for row in pq.read_table(world.truth / "oracle" / f"as_of={END - timedelta(weeks=1)}.parquet").to_pylist():
        if row["rank"] <= 10:
            ranking[row["user_id"]].add(row["title_id"])
    users = [user for user in played if played[user]]
    oracle = np.mean([len(played[user] & ranking[user]) / len(played[user]) for user in users])
    floor = np.mean([len(played[user] & popular) / len(played[user]) for user in users])
    assert oracle > 1.3 * floor
    assert floor > 0.05


def label(run: list[dict], seen: dict | None, listed: bool, genres: set[str]) -> str:
    """The service's own words for a run, as conf/streaming.yaml has them, in plain Python."""
    types = {event["event_type"] for event in run}
    if sum(event["duration_s"] for event in run) < 120:
        return "save" if "list_add" in types else "sample" if types & {*PLAYED, "trailer"} else "browse"
    if seen is not None:
        days = (run[0]["start"] - seen["end"]) / 86400
        if days > 30:
            return "return"
        if run[0]["item_id"] == seen["item_id"] and not seen["finished"]:
            return "resume"
        return "next_episode" if (run[-1]["item"]["episode"] or 0) > (seen["episode"] or 0) else "rewatch"
    if listed:
        return "from_list"
    if "search_play" in types:
        return "search_play"
    return "discover" if genres & set(run[0]["item"]["genres"]) else "explore"


def test_every_action_type_occurs_with_a_sensible_share(worlds: dict[str, World]) -> None:
    played: dict[tuple[str, str], dict] = {}
    listed: dict[tuple[str, str], bool] = {}
    genres: dict[str, set[str]] = defaultdict(set)
    found: Counter[str] = Counter()
    for run in worlds["intent"].runs():
        user, title = key = run[0]["user_id"], run[0]["title"]
        assert all(event["title"] == title for event in run)
        found[label(run, played.get(key), listed.get(key, False), genres[user])] += 1
        for event in run:
            if event["event_type"] in PLAYED:
                item, end = event["item"], event["start"] + event["duration_s"]
                finished = event["position_s"] >= 0.9 * item["runtime_s"]
                played[key] = {**event, "end": end, "finished": finished, "episode": item["episode"]}
            elif event["event_type"].startswith("list_"):
                listed[key] = event["event_type"] == "list_add"
        genres[user].update(run[0]["item"]["genres"])
    shares = {name: count / found.total() for name, count in found.items()}
    assert set(shares) == {
        *("save", "sample", "browse", "resume", "next_episode", "return", "rewatch", "from_list", "search_play"),
        *("explore", "discover"),
    }
    assert min(shares.values()) > 0.005
    assert max(shares.values()) < 0.4


def test_popularity_has_a_long_tail_and_repeats_are_common(worlds: dict[str, World]) -> None:
    plays = Counter(run[0]["title"] for run in worlds["intent"].runs() if run[0]["event_type"] in PLAYED)
    counts = sorted(plays.values(), reverse=True)
    assert 0.35 < sum(counts[: len(counts) // 10]) / sum(counts) < 0.75
    users = {(run[0]["user_id"], run[0]["title"]) for run in worlds["intent"].runs() if run[0]["event_type"] in PLAYED}
    assert 0.25 < 1 - len(users) / plays.total() < 0.6
