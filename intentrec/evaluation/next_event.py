"""Next event, the paper's protocol: each target of the test week from its prefix, over the full catalogue.

No sampling: every target among a row's `n_new` last positions that has a prefix is one event. Beside the
title, each intent of the domain is predicted: accuracy of the most probable label (one of the true ones where there are
several) and NDCG@20 where an interaction can have several.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.labels import Labels
from intentrec.evaluation.metrics import Floats, Ints, Result, calibration_error, mean, pair_ranks, per_event, per_user
from intentrec.evaluation.naive import constant, majority
from intentrec.evaluation.ranking import Scorer, rank
from intentrec.evaluation.titles import Histories, Titles
from intentrec.model.features import known_before

# Per intent its labels and their probabilities [events, labels], for prefixes (row, number of interactions known).
IntentScorer = Callable[[pa.RecordBatch, Ints, Ints], dict[str, tuple[Sequence[str], NDArray]]]


@dataclass(frozen=True)
class System:
    """Ranks titles, and predicts intents where it can."""

    titles: Scorer
    intents: IntentScorer | None = None


@dataclass(frozen=True)
class Events:
    """Targets of a batch: row, interactions known before, own place and that of the last known one in the flat batch.

    What ended at the same moment, such as the lines of a basket, is not known before it. `last_target` is the place of
    the last known one that was itself a target; of the last known one where none was.
    """

    rows: Ints
    ends: Ints
    flat: Ints
    last: Ints
    last_target: Ints

    @classmethod
    def of(cls, sequences: pa.RecordBatch) -> "Events":
        """Targets among each row's n_new last positions before which something ended."""
        column = sequences.column(sequences.schema.get_field_index("is_target"))
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        is_target = column.flatten().to_numpy(zero_copy_only=False)
        n_new = sequences.column(sequences.schema.get_field_index("n_new")).to_numpy(zero_copy_only=False)
        ended = sequences.column(sequences.schema.get_field_index("end_ts")).flatten()
        known = known_before(ended.cast(pa.int64()).to_numpy(zero_copy_only=False), positions)
        flat = np.flatnonzero(is_target & (known >= 1) & (positions >= (lengths - n_new)[rows]))
        begin = flat - positions[flat]
        last = begin + known[flat] - 1
        target_until = np.maximum.accumulate(np.where(is_target, np.arange(len(rows)), -1))[last]
        return cls(rows[flat], known[flat], flat, last, np.where(target_until >= begin, target_until, last))


def targets_ended(
    sequences: pa.RecordBatch, begin: datetime | None = None, end: datetime | None = None
) -> pa.RecordBatch:
    """The same rows, but targets are only those that ended in [begin, end)."""
    place = sequences.schema.get_field_index("is_target")
    old, ended = sequences.column(place), sequences.column(sequences.schema.get_field_index("end_ts"))
    moments, kept = ended.flatten(), old.flatten()
    if begin is not None:
        kept = pc.and_(kept, pc.greater_equal(moments, pa.scalar(begin, moments.type)))
    if end is not None:
        kept = pc.and_(kept, pc.less(moments, pa.scalar(end, moments.type)))
    lengths = pc.list_value_length(old).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return sequences.set_column(
        place, sequences.schema.field(place), pa.ListArray.from_arrays(offsets, kept).cast(old.type)
    )


def label_counts(snapshot: Iterable[pa.RecordBatch], intents: Iterable[Intent]) -> dict[str, Counter[str]]:
    """How often each label of each intent occurs among the events of a snapshot: what the majority baseline knows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    chosen = list(intents)
    for batch in snapshot:
        events = Events.of(batch)
        for intent in chosen:
            names = Labels.of(batch, intent).select(events.flat).names
            counts[intent.name].update({entry["values"]: entry["counts"] for entry in names.value_counts().to_pylist()})
    return counts


@dataclass
class _IntentTally:
    """Hits per event that has a label; for a model also NDCG, per class its hits and events, and calibration pairs:
    the probability of the best label beside its share of the true ones."""

    hits: list[NDArray] = field(default_factory=list)
    ndcg: list[Floats] = field(default_factory=list)
    calibration: list[Floats] = field(default_factory=list)
    by_class: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))


def next_event(
    snapshot: Iterable[pa.RecordBatch],
    titles: Titles,
    systems: dict[str, System],
    intents: Sequence[Intent],
    past: dict[str, Counter[str]],
) -> dict[str, Result]:
    """Metrics of every system, and of the intent naive baselines `majority` and `repeat_last_intent`, over the week's events.

    Per user (`mrr`, `recall_at_k`, `ndcg_at_k`): the mean over the user's events.

    Names: `next_mrr`, `next_ndcg_at_10`, ... and `intent_NAME_accuracy`, `intent_NAME_ndcg`,
    `intent_NAME_calibration_error`, and per class `intent_NAME_accuracy_of_LABEL` (the share of its events whose most
    probable label it was).

    Raises:
        ValueError: the week has no event.
    """
    ranks: dict[str, list[Floats]] = defaultdict(list)
    tallies: dict[tuple[str, str], _IntentTally] = defaultdict(_IntentTally)
    user_rows: list[Ints] = []
    users: list[pa.Array] = []
    count = 0
    for batch in snapshot:
        events = Events.of(batch)
        if not len(events.rows):
            continue
        histories = Histories.of(batch, titles)
        prefixes = histories.prefixes(events.rows, events.ends)
        everyone = np.arange(len(events.rows))
        wanted = histories.titles[events.flat]
        for name, system in systems.items():
            part = system.titles(batch, events.rows, events.ends)
            ranks[name].append(rank(part, prefixes, everyone, wanted, len(titles), cuts=()).ranks)
        _intents(batch, events, systems, intents, past, tallies)
        users.append(batch.column(batch.schema.get_field_index("user_id")).cast(pa.string()))
        user_rows.append(events.rows + count)
        count += len(batch)
    if not count:
        raise ValueError("the week has no target with a prefix")
    who, rows = pa.concat_arrays(users), np.concatenate(user_rows)
    present, rows = np.unique(rows, return_inverse=True)
    results = {}
    for name, parts in ranks.items():
        all_ranks = np.concatenate(parts)
        each = per_event(all_ranks)
        metrics = {f"next_{key}": mean(values) for key, values in each.items()}
        metrics["next_events"] = float(len(all_ranks))
        metrics.update(_intent_metrics(name, tallies))
        results[name] = Result(metrics, who.take(pa.array(present)), _means(each, rows, len(present)))
    for name in ("majority", "repeat_last_intent"):
        results[name] = Result(_intent_metrics(name, tallies), who.slice(0, 0))
    return results


def _means(of_events: dict[str, Floats], users: Ints, count: int) -> dict[str, Floats]:
    """The mean over each user's events."""
    events = np.bincount(users, minlength=count)
    return {name: np.bincount(users, weights=values, minlength=count) / events for name, values in of_events.items()}


def _intents(
    batch: pa.RecordBatch,
    events: Events,
    systems: dict[str, System],
    intents: Sequence[Intent],
    past: dict[str, Counter[str]],
    tallies: dict[tuple[str, str], _IntentTally],
) -> None:
    predicted = {
        name: system.intents(batch, events.rows, events.ends) for name, system in systems.items() if system.intents
    }
    count = len(events.flat)
    for intent in intents:
        every = Labels.of(batch, intent)
        truth = every.select(events.flat)
        labelled = np.unique(truth.at)
        guesses = {
            "majority": constant(majority(past.get(intent.name, Counter())), count),
            "repeat_last_intent": every.first(events.last_target),
        }
        for name, heads in predicted.items():
            if intent.name not in heads:
                continue
            classes, probabilities = heads[intent.name]
            guesses[name] = pa.array(classes, pa.string()).take(pa.array(probabilities.argmax(axis=1)))
            tally = tallies[name, intent.name]
            share = hits(truth, guesses[name], count) / np.maximum(np.bincount(truth.at, minlength=count), 1)
            tally.calibration.append(np.stack([probabilities.max(axis=1), share])[:, labelled])
            if intent.multi_label:
                tally.ndcg.append(_label_ndcg(truth, classes, probabilities)[labelled])
            _count_classes(tally, truth, guesses[name])
        for name, guess in guesses.items():
            tallies[name, intent.name].hits.append(hits(truth, guess, count)[labelled])


def hits(truth: Labels, guess: pa.Array, count: int) -> NDArray:
    """Whether each event's guess is one of its true labels."""
    right = pc.fill_null(pc.equal(guess.take(pa.array(truth.at)), truth.names), False).to_numpy(zero_copy_only=False)
    return np.bincount(truth.at, weights=right, minlength=count) > 0


def _count_classes(tally: _IntentTally, truth: Labels, guess: pa.Array) -> None:
    right = pc.fill_null(pc.equal(guess.take(pa.array(truth.at)), truth.names), False)
    table = pa.table({"label": truth.names, "right": right.cast(pa.int64())})
    for row in table.group_by("label").aggregate([("right", "sum"), ("right", "count")]).to_pylist():
        tally.by_class[row["label"]][0] += row["right_sum"]
        tally.by_class[row["label"]][1] += row["right_count"]


def _label_ndcg(truth: Labels, classes: Sequence[str], probabilities: NDArray) -> Floats:
    """NDCG@20 of each event's labels among all classes; a label unknown to the model is a miss."""
    known = pc.fill_null(pc.index_in(truth.names, value_set=pa.array(classes, pa.string())), -1)
    ranks = pair_ranks(probabilities, truth.at, known.to_numpy(zero_copy_only=False).astype(np.int64))
    return per_user(truth.at, ranks, len(probabilities))["ndcg_at_20"]


def _intent_metrics(system: str, tallies: dict[tuple[str, str], _IntentTally]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for (name, intent), tally in tallies.items():
        if name != system:
            continue
        metrics[f"intent_{intent}_accuracy"] = mean(np.concatenate(tally.hits).astype(float))
        if tally.calibration:
            metrics[f"intent_{intent}_calibration_error"] = calibration_error(
                *np.concatenate(tally.calibration, axis=1)
            )
        if tally.ndcg:
            metrics[f"intent_{intent}_ndcg"] = mean(np.concatenate(tally.ndcg))
        for label, (right, total) in sorted(tally.by_class.items()):
            metrics[f"intent_{intent}_accuracy_of_{label}"] = right / total
    return metrics
