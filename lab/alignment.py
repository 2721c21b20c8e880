"""What a model's intents have to do with what it recommends (§5 of the paper) and with what happens then (Figure 7).

Over the same events as `next_event`, for a model that has an intent mixture. A title contradicts a predicted intent if

- the intent is a fact of titles (kind, genre) and the title has it otherwise, or
- users with the predicted label nearly always return to a title, or nearly never do, and the title is new to this user,
  or is not: so an action type, which no title has, can be contradicted too.

What says nothing either way, such as the age of an episode that a recommended title does not name, is left out.

Shape suffixes: E events, M intents, C classes of an intent, N titles, P width of Z.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intentrec.config import Intent
from intentrec.evaluation.labels import Labels
from intentrec.evaluation.metrics import Floats, Ints, mean, pair_ranks
from intentrec.evaluation.next_event import Events, hits
from intentrec.evaluation.ranking import pieces
from intentrec.evaluation.systems import ModelSystem
from intentrec.evaluation.titles import Histories, Titles
from intentrec.model.titles import FACTS, titles_of

_ARRAYS = ("ranks", "embedding_EP", "attention_EM", "came_true_EM", "contradicted_EM")
NEARLY = 0.9  # of the events with a label: from here on it says that the title is known, or new


@dataclass(frozen=True)
class Aligned:
    """One row per event; `came_true` and `contradicted` are NaN where nothing can be said."""

    intents: tuple[str, ...]
    users: pa.Array
    moments: pa.Array  # when the next interaction began
    ranks: Floats
    embedding_EP: NDArray
    attention_EM: NDArray
    came_true_EM: Floats  # the most probable label was a true one
    contradicted_EM: Floats  # by the first recommended title

    @property
    def primary(self) -> Ints:
        """The intent of the largest attention weight."""
        return self.attention_EM.argmax(axis=1)

    def metrics(self) -> dict[str, float]:
        """Names: `attention_INTENT` and its spread over events, `primary_INTENT` (share of events),
        `came_true_of_primary`, `came_true_of_any` (an intent drawn blindly); and `contradicted_INTENT`,
        `next_mrr_contradicted_INTENT`, `next_mrr_agreed_INTENT`, the same of `any`.
        """
        found: dict[str, float] = {}
        for m, name in enumerate(self.intents):
            found[f"attention_{name}"] = mean(self.attention_EM[:, m])
            found[f"attention_{name}_spread"] = float(self.attention_EM[:, m].std())
            found[f"primary_{name}"] = mean((self.primary == m).astype(float))
        of_primary = np.take_along_axis(self.came_true_EM, self.primary[:, None], 1)[:, 0]
        found["came_true_of_primary"] = _mean_known(of_primary)
        found["came_true_of_any"] = _mean_known(self.came_true_EM)
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
    borne = {intent.name: _borne(catalog, titles, intent, system.predictor.labels[intent.name]) for intent in chosen}
    parts = [
        _batch(batch, events, titles, system, chosen, borne, returning)
        for batch in snapshot
        if len((events := Events.of(batch)).rows)
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
        events = Events.of(batch)
        histories = Histories.of(batch, titles)
        known = _is_known(histories.prefixes(events.rows, events.ends), histories.titles[events.flat], len(titles))
        for intent in chosen:
            labels = Labels.of(batch, intent).select(events.flat)
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
    events: Events,
    titles: Titles,
    system: ModelSystem,
    intents: Sequence[Intent],
    borne: Mapping[str, NDArray[np.bool_] | None],
    returning: Mapping[str, Mapping[str, float]],
) -> Aligned:
    count = len(events.rows)
    histories = Histories.of(batch, titles)
    prefixes, wanted = histories.prefixes(events.rows, events.ends), histories.titles[events.flat]
    part = system.titles(batch, events.rows, events.ends)
    ranks, first = np.empty(count), np.empty(count, np.int64)
    for i, j in pieces(count, len(titles)):
        scores_EN = part(i, j)
        first[i:j] = scores_EN.argmax(axis=1)
        ranks[i:j] = pair_ranks(scores_EN, np.arange(j - i), wanted[i:j])
    known = _is_known(prefixes, first, len(titles))
    came_true_EM, contradicted_EM = np.full((2, count, len(intents)), np.nan)
    for m, intent in enumerate(intents):
        classes, p_EC = system.intents(batch, events.rows, events.ends)[intent.name]
        guess = p_EC.argmax(axis=1)
        truth = Labels.of(batch, intent).select(events.flat)
        labelled = np.unique(truth.at)
        came_true_EM[labelled, m] = hits(truth, pa.array(classes, pa.string()).take(pa.array(guess)), count)[labelled]
        bears_NC = borne[intent.name]
        if bears_NC is not None:
            told = bears_NC[first].any(axis=1)
            contradicted_EM[told, m] = ~bears_NC[first, guess][told]
        else:
            share = np.array([returning.get(intent.name, {}).get(label, np.nan) for label in classes])[guess]
            contradicted_EM[share >= NEARLY, m] = ~known[share >= NEARLY]
            contradicted_EM[share <= 1 - NEARLY, m] = known[share <= 1 - NEARLY]
    users = batch.column(batch.schema.get_field_index("user_id")).cast(pa.string()).take(pa.array(events.rows))
    moments = batch.column(batch.schema.get_field_index("start_ts")).flatten().take(pa.array(events.flat))
    embedding_EP, attention_EM = system.mixture(batch, events.rows, events.ends)
    names = tuple(intent.name for intent in intents)
    return Aligned(names, users, moments, ranks, embedding_EP, attention_EM, came_true_EM, contradicted_EM)


def _is_known(prefixes: Histories, title_of_row: Ints, count: int) -> NDArray[np.bool_]:
    """Whether each prefix contains its title; a title that is no candidate counts as new."""
    touched = prefixes.rows * count + prefixes.titles
    own = np.arange(len(title_of_row)) * count + title_of_row
    return np.isin(own, touched[prefixes.titles >= 0]) & (title_of_row >= 0)


def _borne(catalog: pa.Table, titles: Titles, intent: Intent, classes: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which title has which label (N, C); None of an intent that is no fact of titles."""
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
    bears_NC = np.zeros((len(titles), len(classes)), bool)
    bears_NC[place[rows][inside], label_of[inside]] = True
    return bears_NC


def _mean_known(values: Floats) -> float:
    return mean(values[~np.isnan(values)])
