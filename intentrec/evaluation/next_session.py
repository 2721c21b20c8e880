"""Intents of the next session: what a snapshot predicts of each user, and the first session of the week after it.

Two truths are counted: the labels of the session's first target, and the label that most of its targets have. Users
without a target in the week, or without a row in the snapshot, are left out.

Shape suffixes: B users of a batch, E targets of their next sessions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.candidates import user_ids
from intentrec.evaluation.labels import Labels
from intentrec.evaluation.metrics import Ints, mean
from intentrec.evaluation.naive_baselines import constant, majority
from intentrec.evaluation.next_event import hits
from intentrec.evaluation.primary_intents import PrimaryIntents
from intentrec.evaluation.targets import Targets
from intentrec.inference.distinctive import Typical
from intentrec.inference.predictor import Predictor
from intentrec.model.arrow import flat


class SessionPredictor(Protocol):
    """Predicts intents of the next session."""

    def __call__(self, snapshot: pa.RecordBatch) -> "Predicted":
        """After each of B whole rows."""
        ...


@dataclass(frozen=True)
class Predicted:
    """What is predicted of B users.

    Attributes:
        labels: the most probable label of each intent, by name (B,).
        primary: name of the user's primary intent, by `primary_intents.KINDS` (B,).
    """

    labels: dict[str, pa.Array]
    primary: dict[str, pa.Array]

    @classmethod
    def of(cls, snapshot: pa.RecordBatch, predictor: Predictor, typical: Typical, as_of: date) -> "Predicted":
        """What a model predicts as of a date; `typical` are its intents of all users."""
        found = predictor.session_intents(snapshot, as_of)
        names = pa.array(list(predictor.labels), pa.string())
        primary = {"distinctive_intent": names.take(pa.array(typical.distinctive(found.p)))}
        if found.attention_BM.shape[1]:
            primary["primary_intent"] = names.take(pa.array(found.attention_BM.argmax(-1)))
        labels = {
            name: pa.array(labels, pa.string()).take(pa.array(found.p[name].argmax(-1)))
            for name, labels in predictor.labels.items()
        }
        return cls(labels, primary)


@dataclass(frozen=True)
class NextSessions:
    """The first session with a target among the new interactions of each row of a batch.

    Attributes:
        batch: rows of `sequences`.
        first: place of the session's first target in the flattened batch, of the rows that have one: ascending (B,).
        rows: these rows (B,).
        targets: places of all targets of these sessions (E,), ascending.
        of: which of the B sessions each belongs to (E,).
    """

    batch: pa.RecordBatch
    first: Ints
    rows: Ints
    targets: Ints
    of: Ints

    @classmethod
    def in_rows(cls, batch: pa.RecordBatch) -> "NextSessions":
        """Of the `n_new` last interactions of rows."""
        targets = Targets.of(batch)
        session_N = np.cumsum(flat(batch, "opens_session").to_numpy(zero_copy_only=False))
        rows, begins, of = np.unique(targets.rows, return_index=True, return_inverse=True)
        first = targets.flat[begins]
        inside = session_N[targets.flat] == session_N[first][of]
        return cls(batch, first, rows, targets.flat[inside], of[inside])

    def truths(self, intent: Intent) -> dict[str, Labels]:
        """Labels of each session: `first` and `commonest`. Of equally common ones the first in the alphabet counts."""
        every = Labels.of(self.batch, intent)
        labels = every.select(self.targets)
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for session, label in zip(self.of[labels.at].tolist(), labels.names.to_pylist(), strict=True):
            counts[session][label] += 1
        names = [majority(each) for _, each in sorted(counts.items())]
        commonest = Labels(np.array(sorted(counts), np.int64), pa.array(names, pa.string()))
        return {"first": every.select(self.first), "commonest": commonest}


def first_labels(snapshot: Iterable[pa.RecordBatch], intents: Sequence[Intent]) -> dict[str, Counter[str]]:
    """How often each label occurs on the first target of a week's first sessions: what the majority baseline knows."""
    counts: dict[str, Counter[str]] = {intent.name: Counter() for intent in intents}
    for batch in snapshot:
        sessions = NextSessions.in_rows(batch)
        for intent in intents:
            counts[intent.name].update(sessions.truths(intent)["first"].names.to_pylist())
    return counts


def next_session(
    snapshot: pa.Table,
    week: Iterable[pa.RecordBatch],
    systems: Mapping[str, SessionPredictor],
    intents: Sequence[Intent],
    past: Mapping[str, Counter[str]],
) -> dict[str, dict[str, float]]:
    """Accuracies by system, and of the naive baselines `majority` and `repeat_last_intent` (the last target's label).

    Names: `next_session_INTENT_first_accuracy`, `next_session_INTENT_commonest_accuracy`, and those of
    `primary_intents.PrimaryIntents`.

    Args:
        snapshot: the latest row of each user as of the week's start.
        week: rows of `sequences` as of the week's end.
        systems: predict after a whole row of the snapshot.
        intents: of the domain.
        past: what `first_labels` counted in the week before.
    """
    found: dict[tuple[str, str], list[NDArray[np.bool_]]] = defaultdict(list)
    primary = PrimaryIntents(intents)
    for batch in week:
        sessions, rows = _of_known_users(NextSessions.in_rows(batch), snapshot)
        if not len(rows):
            continue
        last = Targets.last_of(rows)
        guesses = {name: system(rows) for name, system in systems.items()}
        truths = {intent.name: sessions.truths(intent) for intent in intents}
        first = {name: each["first"] for name, each in truths.items()}
        primary.add(len(rows), first, {name: guess.primary for name, guess in guesses.items()})
        for intent in intents:
            labels = {name: each.labels[intent.name] for name, each in guesses.items() if intent.name in each.labels}
            labels["majority"] = constant(majority(past.get(intent.name, Counter())), len(rows))
            labels["repeat_last_intent"] = Labels.of(rows, intent).first(last)
            for kind, truth in truths[intent.name].items():
                labelled = np.unique(truth.at)
                for name, guess in labels.items():
                    key = f"next_session_{intent.name}_{kind}_accuracy"
                    found[name, key].append(hits(truth, guess)[labelled])
    metrics = primary.metrics()
    for (name, key), parts in found.items():
        metrics[name][key] = mean(np.concatenate(parts).astype(float))
    return metrics


def _of_known_users(sessions: NextSessions, snapshot: pa.Table) -> tuple[NextSessions, pa.RecordBatch]:
    """The sessions of users with a row in the snapshot, and these rows in the same order."""
    users = user_ids(sessions.batch).take(pa.array(sessions.rows))
    place = pc.index_in(users, value_set=snapshot["user_id"].cast(pa.string()).combine_chunks())
    known = pc.is_valid(place).to_numpy(zero_copy_only=False)
    rows = snapshot.take(place.filter(pa.array(known))).combine_chunks()
    number = np.cumsum(known) - 1
    kept = known[sessions.of]
    chosen = NextSessions(
        sessions.batch, sessions.first[known], sessions.rows[known], sessions.targets[kept], number[sessions.of[kept]]
    )
    return chosen, rows.to_batches()[0] if len(rows) else sessions.batch.slice(0, 0)
