"""Predictions of a trained model: intents, vectors and the best titles of users. No Spark, no MLflow, no pydantic.

Shape suffixes: B users, L positions or titles with a logit bias, D width, I titles, N interactions or users, C classes
of an intent, K length of a list, M intents or pairs of user and title, P width of the intent embedding.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from intentrec.inference.by_class import BY_CLASS, by_class
from intentrec.inference.by_class import column as class_column
from intentrec.inference.columns import float_lists, lists_of, logit_bias_maps, map_of_lists, map_of_values
from intentrec.inference.distinctive import Typical
from intentrec.inference.lists import Lists, SeenPlaces, best_titles, indices, padded_indices
from intentrec.model.arrow import Rows, column, flat
from intentrec.model.dated_facts import dated_facts
from intentrec.model.features import Encoded, FeatureEncoder
from intentrec.model.item_given_intent import ClassMixture
from intentrec.model.logit_bias import SOURCES, LogitBias
from intentrec.model.network import Prediction
from intentrec.model.scores import top
from intentrec.model.titles import available, in_hash_order, in_order, titles_of
from intentrec.training.batches import batches
from intentrec.training.checkpoint import model_from, read_model

TOKENS = 2**15  # positions of the users scored at once, at most
CELLS = 2**25  # users x titles scored at once, at most
SESSION_AHEAD = timedelta(days=1)

_FLOATS = pa.list_(pa.float32())
PREDICTIONS = pa.schema(
    [
        ("user_id", pa.string()),
        ("account_id", pa.string()),
        ("intent_embedding", _FLOATS),
        ("attention", pa.map_(pa.string(), pa.float32())),
        ("primary_intent", pa.string()),
        ("distinctive_intent", pa.string()),
        ("top_labels", pa.map_(pa.string(), pa.list_(pa.string()))),
        ("top_probabilities", pa.map_(pa.string(), _FLOATS)),
        ("user_vector", _FLOATS),
        ("logit_bias", pa.map_(pa.string(), pa.float32())),
        ("title_ids", pa.list_(pa.string())),
        ("scores", _FLOATS),
        ("by_class", BY_CLASS),
    ]
)


@dataclass(frozen=True)
class ItemIndex:
    """I titles with their output vectors, as of one date.

    Attributes:
        title_ids: in the order in which titles with equal scores are recommended.
        vectors: float32 (I, D).
        eligible: bool (I,), whether the title may be offered on that date.
        session_at: when the next sessions are expected, in seconds since 1970.
    """

    title_ids: pa.Array
    vectors: Tensor
    eligible: Tensor
    session_at: int

    def only_eligible(self) -> "ItemIndex":
        """The titles that may be offered."""
        kept = self.title_ids.filter(pa.array(self.eligible.numpy()))
        return ItemIndex(kept, self.vectors[self.eligible], self.eligible[self.eligible], self.session_at)


@dataclass(frozen=True)
class SessionIntents:
    """Intents of B users' next sessions.

    Attributes:
        p: distribution of each intent (B, C), by name.
        attention_BM: attention weight of each intent; M is 0 for a variant without an intent mixture.
    """

    p: dict[str, np.ndarray]
    attention_BM: np.ndarray


class Predictor:
    """A trained model, loaded for inference on the CPU.

    Args:
        files: the files of a model directory by name, as `training.checkpoint.read_model` returns them.

    Raises:
        ValueError: the model's variant is neither the paper's nor registered (`intentrec.model.network.register`).
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.model, self.vocabulary, self.about = model_from(files)
        self.spec = self.model.spec
        self.encoder = FeatureEncoder(self.spec, self.vocabulary)
        self.typical: Typical | None = None  # whoever scores sets it; without it no intent is distinctive
        self.labels = {intent.name: self.vocabulary.labels(intent) for intent in self.spec.intents}

    @classmethod
    def load(cls, directory: Path | str) -> "Predictor":
        """Load a model directory.

        Raises:
            PipelineError: a file is missing.
        """
        return cls(read_model(Path(directory)))

    @torch.inference_mode()
    def items(self, catalog: Rows, title_facts: pa.Table, as_of: date) -> ItemIndex:
        """Every title of the catalogue; eligible are those available when the service day `as_of` begins.

        Args:
            catalog: rows of the table.
            title_facts: rows of `title_facts`. Dated facts are those of its newest week.
            as_of: date for which users are scored.
        """
        titles = titles_of(catalog)
        titles = in_order(titles, in_hash_order(titles["title_id"].to_pylist()))
        eligible = available(titles, self._day_start(as_of)).to_numpy()
        items = self.encoder.items(titles)
        if self.spec.dated_facts:
            week = pc.max(title_facts["as_of"]).as_py() or as_of
            items = replace(items, dated_IWC=dated_facts(titles, title_facts, [week]))
        vectors_ID = items.in_week(self.model.item_vectors(items))
        return ItemIndex(column(titles, "title_id"), vectors_ID, torch.tensor(eligible), self.next_session_at(as_of))

    @torch.inference_mode()
    def session_intents(self, sequences: Rows, as_of: date) -> "SessionIntents":
        """Intents of the next session after each of B > 0 rows, as of a date."""
        encoded = self.encoder.encode(sequences)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.labels}
        attention, order = [], []
        for rows in batches(encoded.lengths, TOKENS):
            prediction = self._at_end(encoded, rows, self.next_session_at(as_of))
            for name, logit_NC in prediction.intent_logit.items():
                parts[name].append(logit_NC.softmax(-1).numpy())
            if prediction.attention_NM is not None:
                attention.append(prediction.attention_NM.numpy())
            order.append(rows)
        place = torch.cat(order).argsort().numpy()
        p = {name: np.concatenate(of_batches)[place] for name, of_batches in parts.items()}
        return SessionIntents(p, np.concatenate(attention)[place] if attention else np.empty((len(place), 0)))

    def item_vectors(self, items: ItemIndex) -> pa.Table:
        """The eligible titles: columns title_id and vector."""
        chosen = items.only_eligible()
        return pa.table({"title_id": chosen.title_ids, "vector": float_lists(chosen.vectors)})

    @torch.inference_mode()
    def predict(
        self,
        sequences: Rows,
        items: ItemIndex,
        top_k: int,
        lists: Lists = "all",
        top_labels: int = 3,
        class_lists: int = 0,
    ) -> pa.RecordBatch:
        """Intents, user vector and the best eligible titles after each row's last interaction: schema PREDICTIONS.

        A title's logit is the dot product of `user_vector` and its vector, plus its `logit_bias`; `scores` are the
        logits of `title_ids`. A variant without an intent mixture (V0, V1) has an empty embedding, no attention and the
        primary intent ''. A conditional variant (V4) has vectors and biases in `by_class` only, and `scores` are log
        probabilities (`inference.by_class`).

        Args:
            sequences: one row per user.
            items: titles as of the date for which users are scored.
            top_k: length of each list of titles; lists are shorter where fewer titles may be offered.
            lists: the best of `all` titles, or of `new` ones, which the user has not seen (`titles.seen_titles`);
                `known_and_new`: the best seen and the best new titles, up to `top_k` of each, in one order.
            top_labels: labels per intent.
            class_lists: classes of the lead intent that get a list, the likeliest of each user; conditional variants.
        """
        if len(sequences) == 0:
            return pa.RecordBatch.from_pylist([], PREDICTIONS)
        encoded = self.encoder.encode(sequences)
        offered = items.only_eligible()
        place_N, widest = None, int(encoded.lengths.max()) + SOURCES * self.spec.neighbours
        if self.spec.own_titles:
            place_N = indices(flat(sequences, "title_id"), offered.title_ids)
        place_I = self.places(offered)
        seen = None if lists == "all" else SeenPlaces.of(sequences, offered.title_ids)
        found: list[dict[str, Tensor]] = []
        classes: list[pa.Array] = []
        chunk = max(1, CELLS // max(1, len(offered.title_ids)))
        for rows in batches(encoded.lengths, TOKENS, rows=chunk):
            prediction = self._at_end(encoded, rows, items.session_at)
            title_BL = torch.zeros(len(rows), 0, dtype=torch.long)
            if place_N is not None:
                title_BL = padded_indices(place_N, encoded.offsets, rows)
            scores = self.model.title_scores(prediction, title_BL, place_I)
            seen_BI = None if seen is None else seen.mask(rows, len(offered.title_ids))
            logit_bias = None
            if isinstance(scores, ClassMixture):
                score_BI, of_classes = by_class(scores, offered.vectors, seen_BI, lists, top_k, class_lists)
                labels = self.labels[self.spec.lead_intent]
                classes.append(class_column(of_classes, len(rows), labels, offered.title_ids))
                prediction = replace(prediction, h_ND=prediction.h_ND[:, :0])
            else:
                score_BI, logit_bias = scores.of(offered.vectors), prediction.logit_bias(title_BL, place_I)
                classes.append(lists_of(torch.zeros(len(rows), dtype=torch.long), pa.array([], BY_CLASS.value_type)))
            score_BK, title_BK = best_titles(score_BI, seen_BI, lists, top_k)
            logit_bias = (logit_bias or LogitBias(title_BL[:, :0], prediction.h_ND[:, :0])).padded(widest)
            held = {"biased": logit_bias.title_NL, "bias": logit_bias.value_NL}
            found.append({"rows": rows, **_by_name(prediction), **held, "score": score_BK, "title": title_BK})
        order = torch.cat([prediction.pop("rows") for prediction in found]).argsort()
        joined = {name: torch.cat([prediction[name] for prediction in found])[order] for name in found[0]}
        given = pa.concat_arrays(classes).take(pa.array(order.numpy()))
        return self._assemble(sequences, joined, given, offered, top_labels)

    def _distinctive(self, prediction: dict[str, Tensor]) -> pa.Array:
        names, users = list(self.labels), len(prediction["user"])
        if self.typical is None or not names:
            return pa.nulls(users, pa.string())
        numbers = self.typical.distinctive({name: prediction[f"p.{name}"].numpy() for name in names})
        return pa.array(list(self.typical.mean), pa.string()).take(pa.array(numbers))

    def next_session_at(self, as_of: date) -> int:
        """When the next session after a snapshot is expected, in seconds since 1970: SESSION_AHEAD after it."""
        return int((self._day_start(as_of) + SESSION_AHEAD).timestamp())

    def _at_end(self, encoded: Encoded, rows: Tensor, session_at: int) -> Prediction:
        """Predictions after the last interactions of the chosen rows, with the intents of the next session."""
        last_N = encoded.lengths[rows] - 1
        session = last_N, torch.full_like(last_N, session_at)
        return self.model.at(encoded.pad(rows), torch.arange(len(rows)), last_N, session).of_next_session()

    def _day_start(self, day: date) -> datetime:
        """When a service day begins (aware, UTC), by the calendar that the model was trained with."""
        about = self.about["calendar"]
        clock = time.fromisoformat(about["day_start"])
        return datetime.combine(day, clock, ZoneInfo(about["zone"])).astimezone(UTC)

    def places(self, items: ItemIndex) -> Tensor | None:
        """Place of each of the vocabulary's titles among `items`, -1 where absent; None for a model that needs none."""
        if not self.spec.neighbours:
            return None
        return indices(pa.array(self.vocabulary.titles, pa.string()), items.title_ids)

    def _assemble(
        self,
        sequences: Rows,
        prediction: dict[str, Tensor],
        classes: pa.Array,
        offered: ItemIndex,
        top_labels: int,
    ) -> pa.RecordBatch:
        kept_BK = torch.isfinite(prediction["score"])  # minus infinity: an excluded title
        title_ids = offered.title_ids.take(pa.array(prediction["title"][kept_BK].numpy()))
        names = list(self.labels)
        best = {name: top(prediction[f"p.{name}"], top_labels) for name in names}
        labels = [np.array(self.labels[name], dtype=object)[best[name][1].numpy()] for name in names]
        attention_BM = prediction["attention"]
        b, m = attention_BM.shape
        primary = pa.array(names).take(pa.array(attention_BM.argmax(-1).numpy())) if m else pa.array([""] * b)
        columns = {
            "user_id": column(sequences, "user_id"),
            "account_id": column(sequences, "account_id"),
            "intent_embedding": float_lists(prediction["z"]),
            "attention": map_of_values(names if m else [], attention_BM),
            "primary_intent": primary,
            "distinctive_intent": self._distinctive(prediction),
            "top_labels": map_of_lists(names, labels, b, pa.string()),
            "top_probabilities": map_of_lists(names, [best[name][0].numpy() for name in names], b, pa.float32()),
            "user_vector": float_lists(prediction["user"]),
            "logit_bias": logit_bias_maps(LogitBias(prediction["biased"], prediction["bias"]), offered.title_ids),
            "title_ids": lists_of(kept_BK.sum(-1), title_ids),
            "scores": lists_of(kept_BK.sum(-1), pa.array(prediction["score"][kept_BK].numpy())),
            "by_class": classes,
        }
        arrays = [columns[field.name].cast(field.type) for field in PREDICTIONS]
        return pa.RecordBatch.from_arrays(arrays, schema=PREDICTIONS)


def _by_name(prediction: Prediction) -> dict[str, Tensor]:
    """`user` (B, D), `z` (B, P), `attention` (B, M) and, for each intent, `p.INTENT` (B, C).

    A variant without an intent mixture has P = M = 0.
    """
    nothing = prediction.h_ND[:, :0]
    return {
        "user": prediction.h_ND,
        "z": nothing if prediction.z_NP is None else prediction.z_NP,
        "attention": nothing if prediction.attention_NM is None else prediction.attention_NM,
        **{f"p.{name}": logit_NC.softmax(-1) for name, logit_NC in prediction.intent_logit.items()},
    }
