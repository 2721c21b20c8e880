"""Next event, the paper's protocol: each target of the test week from its prefix, over the full catalogue.

No sampling: every target among a row's `n_new` last positions that has a prefix is one event. Beside the title, each
intent of the domain is predicted. Its metrics are accuracy (the most probable label is one of the true ones), NDCG@20
where an interaction can have several labels, and the calibration error.

Shape suffixes: E events of a batch, C classes of an intent.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.candidates import Histories, Titles, user_ids
from intentrec.evaluation.labels import Labels
from intentrec.evaluation.metrics import Floats, Ints, Result, calibration_error, mean, pair_ranks, per_event, per_user
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES, constant, majority
from intentrec.evaluation.systems import IntentProbabilities, System, rank
from intentrec.evaluation.targets import Targets


def next_event(
    snapshot: Iterable[pa.RecordBatch],
    titles: Titles,
    systems: Mapping[str, System],
    intents: Sequence[Intent],
    past: Mapping[str, Counter[str]],
) -> dict[str, Result]:
    """Metrics of every system, and of the intent baselines `majority` and `repeat_last_intent`, over the week's events.

    Per user (`mrr`, `recall_at_k`, `ndcg_at_k`): the mean over the user's events. Names of metrics: `next_mrr`,
    `next_ndcg_at_10`, ..., `intent_NAME_accuracy`, `intent_NAME_ndcg`, `intent_NAME_calibration_error`, and per class
    `intent_NAME_accuracy_of_LABEL` (the share of its events whose most probable label it was). A conditional model also
    has `next_mrr_given_intent`: what a list for the true class of the lead intent would be worth. `next_mrr_repeat` is
    of the events whose title the row before them holds, `next_mrr_explore` of the others.

    Args:
        snapshot: rows of `sequences` at the week's end.
        titles: the candidates.
        systems: by name.
        intents: of the domain.
        past: per intent the label counts before the week, for the majority baseline.

    Raises:
        ValueError: the week has no event.
    """
    week = _Week()
    for batch in snapshot:
        targets = Targets.of(batch)
        if len(targets):
            week.add_titles(batch, targets, titles, systems, intents)
            week.add_intents(batch, targets, systems, intents, past)
    if not week.users:
        raise ValueError("the week has no target with a prefix")
    return week.results()


@dataclass
class _IntentTally:
    """What was counted of one system and one intent, over events that have a label.

    `hits` and `ndcg` hold one value per event. `calibration` holds (2, E): the probability of the best label, and its
    share of the true labels. `by_class` holds hits and events per label. A naive baseline has hits only.
    """

    hits: list[NDArray[np.bool_]] = field(default_factory=list)
    ndcg: list[Floats] = field(default_factory=list)
    calibration: list[Floats] = field(default_factory=list)
    by_class: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def add(self, truth: Labels, guess: pa.Array, labelled: Ints) -> None:
        """Count guesses of a batch; `labelled` are the events that have a label."""
        self.hits.append(hits(truth, guess)[labelled])

    def add_model(self, truth: Labels, predicted: IntentProbabilities, labelled: Ints, multi_label: bool) -> None:
        """Count a model's probabilities of a batch."""
        guess = best_labels(predicted)
        self.add(truth, guess, labelled)
        count = len(guess)
        share = hits(truth, guess) / np.maximum(np.bincount(truth.at, minlength=count), 1)
        self.calibration.append(np.stack([predicted.probability_EC.max(axis=1), share])[:, labelled])
        if multi_label:
            self.ndcg.append(_label_ndcg(truth, predicted)[labelled])
        right = pc.fill_null(pc.equal(guess.take(pa.array(truth.at)), truth.names), False)
        table = pa.table({"label": truth.names, "right": right.cast(pa.int64())})
        for row in table.group_by("label").aggregate([("right", "sum"), ("right", "count")]).to_pylist():
            self.by_class[row["label"]][0] += row["right_sum"]
            self.by_class[row["label"]][1] += row["right_count"]

    def metrics(self, intent: str) -> dict[str, float]:
        """Metrics by their full names."""
        found = {f"intent_{intent}_accuracy": mean(np.concatenate(self.hits).astype(float))}
        if self.calibration:
            pairs = np.concatenate(self.calibration, axis=1)
            found[f"intent_{intent}_calibration_error"] = calibration_error(*pairs)
        if self.ndcg:
            found[f"intent_{intent}_ndcg"] = mean(np.concatenate(self.ndcg))
        for label, (right, total) in sorted(self.by_class.items()):
            found[f"intent_{intent}_accuracy_of_{label}"] = right / total
        return found


@dataclass
class _Week:
    """What was counted over the batches of the week."""

    ranks: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))
    given: dict[str, list[Floats]] = field(default_factory=lambda: defaultdict(list))  # ranks given the true class
    repeat: list[NDArray[np.bool_]] = field(default_factory=list)  # whether the row before an event holds its title
    intents: dict[tuple[str, str], _IntentTally] = field(default_factory=lambda: defaultdict(_IntentTally))
    users: list[pa.Array] = field(default_factory=list)
    user_rows: list[Ints] = field(default_factory=list)
    rows: int = 0

    def add_titles(
        self,
        batch: pa.RecordBatch,
        targets: Targets,
        titles: Titles,
        systems: Mapping[str, System],
        intents: Sequence[Intent],
    ) -> None:
        """Rank the targets of a batch by every system."""
        histories = Histories.of(batch, titles)
        prefixes = targets.prefixes(batch)
        known = histories.prefixes(prefixes.rows, prefixes.ends)
        relevant = histories.titles[targets.flat]
        self.repeat.append(known.holds(np.arange(len(targets)), relevant))
        for name, system in systems.items():
            scores = system.titles.title_scores(prefixes)
            found = rank(scores, known, np.arange(len(targets)), relevant, len(titles), cuts=())
            self.ranks[name].append(found.ranks)
            if system.given is not None:
                (lead,) = [intent for intent in intents if intent.name == system.given.lead_intent]
                true = Labels.of(batch, lead).first(targets.flat)
                scores = system.given.title_scores_given(prefixes, true)
                found = rank(scores, known, np.arange(len(targets)), relevant, len(titles), cuts=())
                self.given[name].append(found.ranks)
        self.users.append(user_ids(batch))
        self.user_rows.append(targets.rows + self.rows)
        self.rows += len(batch)

    def add_intents(
        self,
        batch: pa.RecordBatch,
        targets: Targets,
        systems: Mapping[str, System],
        intents: Sequence[Intent],
        past: Mapping[str, Counter[str]],
    ) -> None:
        """Compare the predicted labels of a batch's events with the true ones."""
        prefixes = targets.prefixes(batch)
        predicted = {
            name: system.intents.intent_probabilities(prefixes) for name, system in systems.items() if system.intents
        }
        for intent in intents:
            every = Labels.of(batch, intent)
            truth = every.select(targets.flat)
            labelled = np.unique(truth.at)
            commonest = constant(majority(past.get(intent.name, Counter())), len(targets))
            self.intents["majority", intent.name].add(truth, commonest, labelled)
            self.intents["repeat_last_intent", intent.name].add(truth, every.first(targets.last_target), labelled)
            for name, of_intent in predicted.items():
                if intent.name in of_intent:
                    tally = self.intents[name, intent.name]
                    tally.add_model(truth, of_intent[intent.name], labelled, intent.multi_label)

    def results(self) -> dict[str, Result]:
        """Of every system, and of the intent baselines."""
        who, rows = pa.concat_arrays(self.users), np.concatenate(self.user_rows)
        present, rows = np.unique(rows, return_inverse=True)
        users, repeat = who.take(pa.array(present)), np.concatenate(self.repeat)
        results = {}
        for name, parts in self.ranks.items():
            ranks = np.concatenate(parts)
            each = per_event(ranks)
            metrics = {f"next_{key}": mean(values) for key, values in each.items()}
            metrics["next_events"] = float(len(ranks))
            metrics["next_mrr_repeat"], metrics["next_mrr_explore"] = (
                mean(each["mrr"][repeat]),
                mean(each["mrr"][~repeat]),
            )
            if name in self.given:
                metrics["next_mrr_given_intent"] = mean(per_event(np.concatenate(self.given[name]))["mrr"])
            results[name] = Result(metrics | self._intent_metrics(name), users, _means(each, rows, len(present)))
        for name in INTENT_NAIVE_BASELINES:
            results[name] = Result(self._intent_metrics(name), who.slice(0, 0))
        return results

    def _intent_metrics(self, system: str) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for (name, intent), tally in self.intents.items():
            if name == system:
                metrics |= tally.metrics(intent)
        return metrics


def best_labels(predicted: IntentProbabilities) -> pa.Array:
    """The most probable label after each prefix, as strings (E,)."""
    return pa.array(predicted.labels, pa.string()).take(pa.array(predicted.best))


def hits(truth: Labels, guess: pa.Array) -> NDArray[np.bool_]:
    """Whether each event's guess is one of its true labels: (E,)."""
    right = pc.fill_null(pc.equal(guess.take(pa.array(truth.at)), truth.names), False).to_numpy(zero_copy_only=False)
    return np.bincount(truth.at, weights=right, minlength=len(guess)) > 0


def _means(of_events: Mapping[str, Floats], users: Ints, count: int) -> dict[str, Floats]:
    """The mean over each of `count` users' events; `users` holds the user of each event."""
    events = np.bincount(users, minlength=count)
    return {name: np.bincount(users, weights=values, minlength=count) / events for name, values in of_events.items()}


def _label_ndcg(truth: Labels, predicted: IntentProbabilities) -> Floats:
    """NDCG@20 of each event's labels among all classes; a label unknown to the model is a miss."""
    known = pc.fill_null(pc.index_in(truth.names, value_set=pa.array(predicted.labels, pa.string())), -1)
    places = known.to_numpy(zero_copy_only=False).astype(np.int64)
    ranks = pair_ranks(predicted.probability_EC, truth.at, places)
    return per_user(truth.at, ranks, len(predicted.probability_EC))["ndcg_at_20"]
