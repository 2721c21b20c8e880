"""Predicted intents beside the recommended titles (§5 of the paper) and beside the next interactions (Figure 7).

The events are those of `next_event`; the model has an intent mixture. A title contradicts a predicted intent if

- the intent is a fact of titles (kind, genre) and the title has another value, or
- users with the predicted label nearly always return to a known title (or nearly never do), and the recommended title
  is new to this user (or is not). This covers action types, which are no facts of titles.

If neither rule applies, as for the age of an episode, the event is left out.

Shape suffixes: E events, M intents, C classes of an intent, N titles, P width of Z.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.candidates import Histories, Titles, user_ids
from intentrec.evaluation.labels import Labels
from intentrec.evaluation.metrics import Floats, Ints, mean, pair_ranks
from intentrec.evaluation.model_system import ModelSystem
from intentrec.evaluation.next_event import best_labels, hits
from intentrec.evaluation.systems import ScoreSlices, slices
from intentrec.evaluation.targets import Targets
from intentrec.model.titles import FACTS, titles_of

_ARRAYS = ("ranks", "embedding_EP", "attention_EM", "correct_EM", "contradicted_EM")
NEARLY = 0.9  # share of a label's events from which on the label implies a known title; below 1 - NEARLY, a new one


@dataclass(frozen=True)
class Aligned:
    """One row per event.

    Attributes:
        intents: names of the M intents.
        users: user of each event.
        moments: when the next interaction began.
        ranks: rank of the true title: (E,).
        embedding_EP: Z of Eq. 2.
        attention_EM: attention weights.
        correct_EM: whether the most probable label was a true one, 0 or 1; NaN where the event has no label.
        contradicted_EM: whether the first recommended title contradicts the most probable label; NaN where undecided.
    """

    intents: tuple[str, ...]
    users: pa.Array
    moments: pa.Array
    ranks: Floats
    embedding_EP: NDArray
    attention_EM: NDArray
    correct_EM: Floats
    contradicted_EM: Floats

    @property
    def primary(self) -> Ints:
        """The intent of the largest attention weight."""
        return self.attention_EM.argmax(axis=1)

    def metrics(self) -> dict[str, float]:
        """Means over events.

        Names: `attention_INTENT`, `attention_INTENT_spread` (standard deviation), `primary_INTENT` (share of events),
        `correct_of_primary`, `correct_of_any` (an intent drawn at random); `contradicted_INTENT`,
        `next_mrr_contradicted_INTENT`, `next_mrr_agreed_INTENT`, and the same for `any` intent.
        """
        found: dict[str, float] = {}
        for m, name in enumerate(self.intents):
            found[f"attention_{name}"] = mean(self.attention_EM[:, m])
            found[f"attention_{name}_spread"] = float(self.attention_EM[:, m].std())
            found[f"primary_{name}"] = mean((self.primary == m).astype(float))
        of_primary = np.take_along_axis(self.correct_EM, self.primary[:, None], 1)[:, 0]
        found["correct_of_primary"] = _mean_known(of_primary)
        found["correct_of_any"] = _mean_known(self.correct_EM)
        known_EM = ~np.isnan(self.contradicted_EM)
        of_any = np.where(known_EM.any(axis=1), np.nansum(self.contradicted_EM, axis=1) > 0, np.nan)
        for name, contradicted in [*zip(self.intents, self.contradicted_EM.T, strict=True), ("any", of_any)]:
            if not np.isnan(contradicted).all():
                found[f"contradicted_{name}"] = _mean_known(contradicted)
                found[f"next_mrr_contradicted_{name}"] = mean(1 / self.ranks[contradicted == 1])
                found[f"next_mrr_agreed_{name}"] = mean(1 / self.ranks[contradicted == 0])
        return found


def align(
    snapshot: Iterable[pa.RecordBatch],
    titles: Titles,
    system: ModelSystem,
    catalog: pa.Table,
    intents: Sequence[Intent],
    returning: Mapping[str, Mapping[str, float]],
) -> Aligned:
    """Everything of `Aligned` for a model with an intent mixture.

    Args:
        snapshot: rows of `sequences`, as for `next_event`.
        titles: what is ranked.
        system: the model.
        catalog: facts of the titles.
        intents: of the domain; those that the model predicts count.
        returning: `returns` of a snapshot that lies before.

    Raises:
        ValueError: no event.
    """
    chosen = [intent for intent in intents if intent.name in system.predictor.labels]
    has_label = {
        intent.name: titles_with_label(catalog, titles, intent, system.predictor.labels[intent.name])
        for intent in chosen
    }
    parts = [
        _batch(batch, targets, titles, system, chosen, has_label, returning)
        for batch in snapshot
        if len(targets := Targets.of(batch))
    ]
    if not parts:
        raise ValueError("the week has no target with a prefix")
    return Aligned(
        parts[0].intents,
        *(pa.concat_arrays([getattr(part, name) for part in parts]) for name in ("users", "moments")),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS),
    )


def returns(
    snapshot: Iterable[pa.RecordBatch], titles: Titles, intents: Iterable[Intent]
) -> dict[str, dict[str, float]]:
    """Per intent and label the share of its events whose title the user had touched before."""
    names: dict[str, list[pa.Array]] = {}
    again: dict[str, list[NDArray]] = {}
    chosen = list(intents)
    for batch in snapshot:
        targets = Targets.of(batch)
        histories = Histories.of(batch, titles)
        known = _is_known(histories.prefixes(targets.rows, targets.ends), histories.titles[targets.flat], len(titles))
        for intent in chosen:
            labels = Labels.of(batch, intent).select(targets.flat)
            names.setdefault(intent.name, []).append(labels.names)
            again.setdefault(intent.name, []).append(known[labels.at])
    found: dict[str, dict[str, float]] = {}
    for name, parts in names.items():
        table = pa.table({"label": pa.concat_arrays(parts), "again": np.concatenate(again[name]).astype(float)})
        rows = table.group_by("label").aggregate([("again", "mean")]).to_pylist()
        found[name] = {row["label"]: row["again_mean"] for row in rows}
    return found


def _batch(
    batch: pa.RecordBatch,
    targets: Targets,
    titles: Titles,
    system: ModelSystem,
    intents: Sequence[Intent],
    has_label: Mapping[str, NDArray[np.bool_] | None],
    returning: Mapping[str, Mapping[str, float]],
) -> Aligned:
    """`Aligned` of the events of one batch."""
    histories = Histories.of(batch, titles)
    prefixes = targets.prefixes(batch)
    ranks, first = _ranks_and_first(system.title_scores(prefixes), histories.titles[targets.flat], len(titles))
    known = _is_known(histories.prefixes(targets.rows, targets.ends), first, len(titles))
    correct_EM, contradicted_EM = np.full((2, len(targets), len(intents)), np.nan)
    for m, intent in enumerate(intents):
        predicted = system.intent_probabilities(prefixes)[intent.name]
        truth = Labels.of(batch, intent).select(targets.flat)
        labelled = np.unique(truth.at)
        correct_EM[labelled, m] = hits(truth, best_labels(predicted))[labelled]
        label_NC = has_label[intent.name]
        if label_NC is not None:
            decided = label_NC[first].any(axis=1)
            contradicted_EM[decided, m] = ~label_NC[first, predicted.best][decided]
        else:
            of_label = returning.get(intent.name, {})
            share = np.array([of_label.get(label, np.nan) for label in predicted.labels])[predicted.best]
            contradicted_EM[share >= NEARLY, m] = ~known[share >= NEARLY]
            contradicted_EM[share <= 1 - NEARLY, m] = known[share <= 1 - NEARLY]
    moments = batch.column(batch.schema.get_field_index("start_ts")).flatten().take(pa.array(targets.flat))
    users, mixture = user_ids(batch).take(pa.array(targets.rows)), system.mixture(prefixes)
    names = tuple(intent.name for intent in intents)
    arrays = (ranks, mixture.embedding_EP, mixture.attention_EM, correct_EM, contradicted_EM)
    return Aligned(names, users, moments, *arrays)


def _ranks_and_first(scores: ScoreSlices, relevant: Ints, titles: int) -> tuple[Floats, Ints]:
    """Rank of each event's title, and the title with the largest score: (E,) each."""
    count = len(relevant)
    ranks, first = np.empty(count), np.empty(count, np.int64)
    for i, j in slices(count, titles):
        scores_EN = scores(i, j)
        first[i:j] = scores_EN.argmax(axis=1)
        ranks[i:j] = pair_ranks(scores_EN, np.arange(j - i), relevant[i:j])
    return ranks, first


def _is_known(prefixes: Histories, title_of_row: Ints, count: int) -> NDArray[np.bool_]:
    """Whether each prefix contains its title; a title that is no candidate counts as new."""
    touched = prefixes.rows * count + prefixes.titles
    own = np.arange(len(title_of_row)) * count + title_of_row
    return np.isin(own, touched[prefixes.titles >= 0]) & (title_of_row >= 0)


def titles_with_label(
    catalog: pa.Table, titles: Titles, intent: Intent, classes: Sequence[str]
) -> NDArray[np.bool_] | None:
    """Which title has which label: bool (N, C); None for an intent that is not a fact of titles."""
    if intent.column not in FACTS:
        return None
    facts = titles_of(catalog)
    place, values = titles.index(facts["title_id"]), facts[intent.column].combine_chunks()
    rows = np.arange(len(values))
    if intent.multi_label:
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        rows, values = np.repeat(rows, lengths), values.flatten()
    label = pc.fill_null(pc.index_in(values.cast(pa.string()), value_set=pa.array(classes, pa.string())), -1)
    label_of = label.to_numpy(zero_copy_only=False)
    inside = (label_of >= 0) & (place[rows] >= 0)
    label_NC = np.zeros((len(titles), len(classes)), bool)
    label_NC[place[rows][inside], label_of[inside]] = True
    return label_NC


def _mean_known(values: Floats) -> float:
    return mean(values[~np.isnan(values)])
