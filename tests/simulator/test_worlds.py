"""The properties of each simulated world: dependence only where it is claimed, and every action type."""

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
WORLD = Settings(epoch=START, users=60, titles=150, dirt=0.0)
PLAYED = ("play", "search_play")
SHUFFLES = 100


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

    def visits(self) -> Iterator[list[dict]]:
        """Visits (the events of one title in sequence, within a session), user after user."""
        for events in self.events.values():
            visit: list[dict] = []
            for event in events:
                if visit and (event["title"] != visit[-1]["title"] or gap(visit[-1], event) > 1800):
                    yield visit
                    visit = []
                visit.append(event)
            yield visit

    def first_genres(self, week: int) -> list[list[str]]:
        """Per user the first genre of the title of every event of the week, in order."""
        found = ([e["item"]["genres"][0] for e in events if week_of(e) == week] for events in self.events.values())
        return [genres for genres in found if genres]


def gap(before: dict, after: dict) -> float:
    return after["start"] - before["start"] - before["duration_s"]


def week_of(event: dict) -> int:
    return int((event["start"] - datetime.fromisoformat("2026-08-03T11:00:00Z").timestamp()) // (7 * 86400))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    return {name: World(tmp_path_factory.mktemp(name), name) for name in WORLDS}


def genre_agreement(world: World) -> float:
    """Agreement of consecutive genres beyond chance, in standard deviations of shuffles within a week."""
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


def second_order(world: World) -> float:
    """Dependence of a title on the title two steps back, given the title between: standard deviations of shuffles."""
    rng = np.random.default_rng(0)
    by_middle: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for events in world.events.values():
        titles = [event["title"] for event in events]
        for first, middle, last in zip(titles, titles[1:], titles[2:], strict=False):
            by_middle[middle].append((first, last))
    observed, shuffled = 0.0, np.zeros(SHUFFLES)
    for pairs in by_middle.values():
        codes = np.unique([first for first, _ in pairs], return_inverse=True)[1] * 10_000
        last = np.unique([last for _, last in pairs], return_inverse=True)[1]
        observed += (np.unique(codes + last, return_counts=True)[1] ** 2).sum()
        shuffled += [(np.unique(codes + rng.permutation(last), return_counts=True)[1] ** 2).sum() for _ in shuffled]
    return float((observed - shuffled.mean()) / shuffled.std())


def taste_stability(world: World) -> float:
    """Mean correlation of users' genre shares between weeks 0-3 and weeks 4-7, each less the mean of all users."""
    genres = sorted({genre for item in world.items.values() for genre in item["genres"]})
    counts = np.zeros((2, len(world.events), len(genres)))
    for user, events in enumerate(world.events.values()):
        for event in events:
            for genre in event["item"]["genres"]:
                counts[int(week_of(event) >= 4), user, genres.index(genre)] += 1
    counts = counts[:, (counts.sum(axis=2) >= 20).all(axis=0)]
    shares = counts / counts.sum(axis=2, keepdims=True)
    shares -= shares.mean(axis=1, keepdims=True)
    return float(np.mean([np.corrcoef(before, after)[0, 1] for before, after in zip(*shares, strict=True)]))


def test_in_the_null_world_nothing_depends_on_history_or_intent(worlds: dict[str, World]) -> None:
    assert abs(genre_agreement(worlds["null"])) < 3.3
    assert abs(second_order(worlds["null"])) < 3.3
    assert intent_dependence(worlds["null"]) > 0.001
    assert abs(taste_stability(worlds["null"])) < 0.1


def test_in_the_intent_world_history_and_intent_have_an_effect(worlds: dict[str, World]) -> None:
    assert genre_agreement(worlds["intent"]) > 20
    assert second_order(worlds["intent"]) > 4.5
    assert intent_dependence(worlds["intent"]) < 1e-9
    assert taste_stability(worlds["intent"]) > 0.5


def test_the_intent_of_the_session_before_predicts_the_next(worlds: dict[str, World]) -> None:
    by_user = defaultdict(list)
    for path in sorted((worlds["intent"].truth / "sessions").iterdir()):
        for row in sorted(pq.read_table(path).to_pylist(), key=lambda row: row["start_ts"]):
            by_user[row["user_id"]].append((row["intent"], row["switched_to"]))
    users = by_user.values()
    pairs = Counter((before[1] or before[0], after[0]) for found in users for before, after in pairwise(found))
    intents = sorted({intent for pair in pairs for intent in pair})
    assert len(intents) == 8
    majority = max(sum(pairs[b, a] for b in intents) for a in intents) / pairs.total()
    predicted = sum(max(pairs[b, a] for a in intents) for b in intents) / pairs.total()
    assert predicted > majority + 0.1
    assert np.mean([before[0] == after[0] for found in users for before, after in pairwise(found)]) < 0.5
    assert 0.12 < np.mean([second is not None for found in users for _, second in found]) < 0.18


def test_the_oracle_ranks_next_week_s_titles_far_above_popularity(worlds: dict[str, World]) -> None:
    world, last = worlds["intent"], WEEKS - 1
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
    popularity = np.mean([len(played[user] & popular) / len(played[user]) for user in users])
    assert oracle > 1.3 * popularity
    assert popularity > 0.05


def action_type(visit: list[dict], seen: dict | None, listed: bool, genres: set[str]) -> str:
    """The action type of a visit by the rules of conf/streaming.yaml, in plain Python."""
    types = {event["event_type"] for event in visit}
    if sum(event["duration_s"] for event in visit) < 120:
        return "save" if "list_add" in types else "sample" if types & {*PLAYED, "trailer"} else "browse"
    if seen is not None:
        days = (visit[0]["start"] - seen["end"]) / 86400
        if days > 30:
            return "return"
        if visit[0]["item_id"] == seen["item_id"] and not seen["finished"]:
            return "resume"
        return "next_episode" if (visit[-1]["item"]["episode"] or 0) > (seen["episode"] or 0) else "rewatch"
    if listed:
        return "from_list"
    if "search_play" in types:
        return "search_play"
    return "discover" if genres & set(visit[0]["item"]["genres"]) else "explore"


def test_every_action_type_occurs_with_a_sensible_share(worlds: dict[str, World]) -> None:
    played: dict[tuple[str, str], dict] = {}
    listed: dict[tuple[str, str], bool] = {}
    genres: dict[str, set[str]] = defaultdict(set)
    found: Counter[str] = Counter()
    for visit in worlds["intent"].visits():
        user, title = key = visit[0]["user_id"], visit[0]["title"]
        assert all(event["title"] == title for event in visit)
        found[action_type(visit, played.get(key), listed.get(key, False), genres[user])] += 1
        for event in visit:
            if event["event_type"] in PLAYED:
                item, end = event["item"], event["start"] + event["duration_s"]
                finished = event["position_s"] >= 0.9 * item["runtime_s"]
                played[key] = {**event, "end": end, "finished": finished, "episode": item["episode"]}
            elif event["event_type"].startswith("list_"):
                listed[key] = event["event_type"] == "list_add"
        genres[user].update(visit[0]["item"]["genres"])
    shares = {name: count / found.total() for name, count in found.items()}
    assert set(shares) == {
        *("save", "sample", "browse", "resume", "next_episode", "return", "rewatch", "from_list", "search_play"),
        *("explore", "discover"),
    }
    assert min(shares.values()) > 0.005
    assert max(shares.values()) < 0.4


def test_popularity_has_a_long_tail_and_repeats_are_common(worlds: dict[str, World]) -> None:
    visits = [visit[0] for visit in worlds["intent"].visits() if visit[0]["event_type"] in PLAYED]
    plays = Counter(first["title"] for first in visits)
    counts = sorted(plays.values(), reverse=True)
    assert 0.35 < sum(counts[: len(counts) // 10]) / sum(counts) < 0.75
    users = {(first["user_id"], first["title"]) for first in visits}
    assert 0.25 < 1 - len(users) / plays.total() < 0.6
