"""Intents of the next session against a loop over users and their interactions."""

import math
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from intentrec.config import Intent
from intentrec.evaluation.next_session import Predicted, first_labels, next_session
from tests.evaluation.rows import sequences

INTENTS = [
    Intent(name="action_type", column="action_type"),
    Intent(name="genre", column="genres"),
    Intent(name="age", column="release_age_days", bins=[7, 30], labels=["week", "month", "older"]),
]
LABELS = {"action_type": ["play", "resume", "save"], "genre": ["crime", "drama"], "age": ["month", "older", "week"]}
USERS = [f"u{number:02d}" for number in range(30)]
ROUND = 7  # users in a batch


def by_length(snapshot: pa.RecordBatch) -> Predicted:
    """Predicts by the number of interactions that it is shown."""
    lengths = pc.list_value_length(snapshot["title_id"]).to_pylist()
    labels = {name: pa.array([of[n % len(of)] for n in lengths]) for name, of in LABELS.items()}
    return Predicted(labels, {"distinctive_intent": pa.array([INTENTS[n % 3].name for n in lengths])})


def made(seed: int, users: list[str], new: bool) -> tuple[pa.RecordBatch, dict[str, list[dict]]]:
    """Rows of random interactions, half of them new or, without `new`, all old; and the same as dicts."""
    dice = random.Random(seed)
    rows: dict[str, list[dict]] = {}
    for user in users:
        rows[user] = [
            {
                "title_id": f"t{k}",
                "action_type": dice.choice(LABELS["action_type"]),
                "genres": dice.choice([[], ["crime"], ["crime", "drama"], ["drama"]]),
                "release_age_days": dice.choice([-1.0, 3.0, 20.0, 99.0]),
                "is_target": dice.random() < 0.6,
                "opens_session": dice.random() < 0.4,
            }
            for k in range(dice.choice([4, 6, 8, 10]))
        ]
    names = ("action_type", "genres", "release_age_days", "is_target", "opens_session")
    columns = {name: {user: [each[name] for each in row] for user, row in rows.items()} for name in names}
    titles = {user: [each["title_id"] for each in row] for user, row in rows.items()}
    return sequences(titles, 3 if new else 1, **columns), rows


def labels_of(each: dict, intent: Intent) -> list[str]:
    if intent.multi_label:
        return each["genres"]
    if intent.bins:
        age = each["release_age_days"]
        return [] if age < 0 else ["week" if age <= 7 else "month" if age <= 30 else "older"]
    return [each["action_type"]]


def first_session(row: list[dict]) -> list[dict]:
    """The targets of the first session with one, among the last three interactions."""
    found: list[dict] = []
    for each in row[-3:]:
        if each["opens_session"] and found:
            break
        if each["is_target"]:
            found.append(each)
    return found


def commonest(labels: list[str]) -> str:
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def primary_by_hand(happened: dict[str, list[dict]]) -> dict[str, str]:
    """The intent whose labels of the first target surprise most, relative to how much they surprise on average."""
    surprise: dict[str, dict[str, float]] = {}
    for intent in INTENTS:
        labels = {user: labels_of(each[0], intent) for user, each in happened.items()}
        known = {user: each for user, each in labels.items() if each}
        share: dict[str, float] = {}
        for each in known.values():
            for label in each:
                share[label] = share.get(label, 0.0) + 1 / len(each) / len(known)
        of_user = {
            user: sum(math.log(1 / len(each) / share[label]) / len(each) for label in each)
            for user, each in known.items()
        }
        usual = sum(of_user.values()) / len(of_user)
        surprise[intent.name] = {user: of_user[user] / usual if user in of_user else -1.0 for user in happened}
    return {user: max(surprise, key=lambda name: surprise[name][user]) for user in happened}


def test_accuracies_by_a_loop() -> None:
    snapshot, before = made(1, USERS[3:], new=False)
    week, after = made(2, USERS[:-4], new=True)
    past, earlier = made(3, USERS, new=True)
    counted = first_labels([past.slice(0, 11), past.slice(11)], INTENTS)
    batches = [week.slice(start, ROUND) for start in range(0, len(week), ROUND)]
    found = next_session(pa.Table.from_batches([snapshot]), batches, {"model": by_length}, INTENTS, counted)
    happened = {user: each for user in USERS[3:-4] if (each := first_session(after[user]))}
    expected = primary_by_hand(happened)
    agreed = [INTENTS[len(before[user]) % 3].name == name for user, name in expected.items()]
    assert found["model"]["distinctive_intent_agreement"] == pytest.approx(np.mean(agreed))
    largest = max(Counter(expected.values()).values()) / len(expected)
    assert found["majority"]["distinctive_intent_agreement"] == pytest.approx(largest)
    shares = [found["model"].get(f"distinctive_intent_share_of_{intent.name}", 0.0) for intent in INTENTS]
    assert sum(shares) == pytest.approx(1)
    for intent in INTENTS:
        of_past = [
            label for row in earlier.values() for each in first_session(row)[:1] for label in labels_of(each, intent)
        ]
        assert counted[intent.name] == Counter(of_past)
        hits: dict[tuple[str, str], list[bool]] = {}
        for user in USERS[3:-4]:
            session = first_session(after[user])
            if not session:
                continue
            truths = {"first": labels_of(session[0], intent)}
            every = [label for each in session for label in labels_of(each, intent)]
            truths["commonest"] = [commonest(every)] if every else []
            targets = [each for each in before[user] if each["is_target"]] or before[user][-1:]
            guesses = {
                "model": LABELS[intent.name][len(before[user]) % len(LABELS[intent.name])],
                "majority": commonest(of_past),
                "repeat_last_intent": (labels_of(targets[-1], intent) or [None])[0],
            }
            for kind, truth in truths.items():
                if truth:
                    for name, guess in guesses.items():
                        hits.setdefault((name, kind), []).append(guess in truth)
        for (name, kind), each in hits.items():
            key = f"next_session_{intent.name}_{kind}_accuracy"
            assert found[name][key] == pytest.approx(np.mean(each)), (name, key)
            assert len(each) > 10


def test_no_common_user_has_no_figure() -> None:
    snapshot, _ = made(1, USERS[:3], new=False)
    week, _ = made(2, USERS[3:6], new=True)
    assert next_session(pa.Table.from_batches([snapshot]), [week], {"model": by_length}, INTENTS, {}) == {}
