"""Predictions of a trained model: intents, vectors and the best titles of users. No Spark, no MLflow, no pydantic.

Shape suffixes: B users, L positions or titles with a logit bias, D width, I titles, N interactions or users, C classes
of an intent, K length of a list, M intents or pairs of user and title, P width of the intent embedding.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from intentrec.model.arrow import Rows, column, flat, offsets_of
from intentrec.model.features import FeatureEncoder
from intentrec.model.logit_bias import SOURCES, LogitBias
from intentrec.model.network import Prediction
from intentrec.model.scores import logits, top
from intentrec.model.titles import available, in_hash_order, in_order, seen_titles, titles_of
from intentrec.training.batches import batches
from intentrec.training.checkpoint import model_from, read_model

TOKENS = 2**15  # positions of the users scored at once, at most
CELLS = 2**25  # users x titles scored at once, at most
Lists = Literal["all", "new", "known_and_new"]

_FLOATS = pa.list_(pa.float32())
PREDICTIONS = pa.schema(
    [
        ("user_id", pa.string()),
        ("account_id", pa.string()),
        ("intent_embedding", _FLOATS),
        ("attention", pa.map_(pa.string(), pa.float32())),
        ("primary_intent", pa.string()),
        ("top_labels", pa.map_(pa.string(), pa.list_(pa.string()))),
        ("top_probabilities", pa.map_(pa.string(), _FLOATS)),
        ("user_vector", _FLOATS),
        ("logit_bias", pa.map_(pa.string(), pa.float32())),
        ("title_ids", pa.list_(pa.string())),
        ("scores", _FLOATS),
    ]
)


@dataclass(frozen=True)
class ItemIndex:
    """I titles with their output vectors, as of one date.

    Attributes:
        title_ids: in the order in which titles with equal scores are recommended.
        vectors: float32 (I, D).
        eligible: bool (I,), whether the title may be offered on that date.
    """

    title_ids: pa.Array
    vectors: Tensor
    eligible: Tensor

    def only_eligible(self) -> "ItemIndex":
        """The titles that may be offered."""
        kept = self.title_ids.filter(pa.array(self.eligible.numpy()))
        return ItemIndex(kept, self.vectors[self.eligible], self.eligible[self.eligible])


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
        self.labels = {intent.name: self.vocabulary.labels(intent) for intent in self.spec.intents}

    @classmethod
    def load(cls, directory: Path | str) -> "Predictor":
        """Load a model directory.

        Raises:
            PipelineError: a file is missing.
        """
        return cls(read_model(Path(directory)))

    @torch.inference_mode()
    def items(self, catalog: Rows, as_of: date) -> ItemIndex:
        """Every title of the catalogue; eligible are those available when the service day `as_of` begins."""
        titles = titles_of(catalog)
        titles = in_order(titles, in_hash_order(titles["title_id"].to_pylist()))
        eligible = available(titles, self._day_start(as_of)).to_numpy()
        vectors_ID = self.model.item_vectors(self.encoder.items(titles))
        return ItemIndex(column(titles, "title_id"), vectors_ID, torch.tensor(eligible))

    def item_vectors(self, items: ItemIndex) -> pa.Table:
        """The eligible titles: columns title_id and vector."""
        chosen = items.only_eligible()
        return pa.table({"title_id": chosen.title_ids, "vector": _float_lists(chosen.vectors)})

    @torch.inference_mode()
    def predict(
        self, sequences: Rows, items: ItemIndex, top_k: int, lists: Lists = "all", top_labels: int = 3
    ) -> pa.RecordBatch:
        """Intents, user vector and the best eligible titles after each row's last interaction: schema PREDICTIONS.

        A title's logit is the dot product of `user_vector` and its vector, plus its `logit_bias`; `scores` are the
        logits of `title_ids`. A variant without an intent mixture (V0, V1) has an empty embedding, no attention and the
        primary intent ''.

        Args:
            sequences: one row per user.
            items: titles as of the date for which users are scored.
            top_k: length of each list of titles; lists are shorter where fewer titles may be offered.
            lists: the best of `all` titles, or of `new` ones, which the user has not seen (`titles.seen_titles`);
                `known_and_new`: the best seen and the best new titles, up to `top_k` of each, in one order.
            top_labels: labels per intent.
        """
        if len(sequences) == 0:
            return pa.RecordBatch.from_pylist([], PREDICTIONS)
        encoded = self.encoder.encode(sequences)
        offered = items.only_eligible()
        place_N, widest = None, int(encoded.lengths.max()) + SOURCES * self.spec.neighbours
        if self.spec.history_path or self.spec.compatibility:
            place_N = _indices(flat(sequences, "title_id"), offered.title_ids)
        place_I = self._places(offered)
        seen = None if lists == "all" else _Seen.of(sequences, offered.title_ids)
        found: list[dict[str, Tensor]] = []
        chunk = max(1, CELLS // max(1, len(offered.title_ids)))
        for rows in batches(encoded.lengths, TOKENS, rows=chunk):
            prediction = self.model.at(encoded.pad(rows), torch.arange(len(rows)), encoded.lengths[rows] - 1)
            title_BL = torch.zeros(len(rows), 0, dtype=torch.long)
            if place_N is not None:
                title_BL = padded_indices(place_N, encoded.offsets, rows)
            logit_bias = prediction.logit_bias(title_BL, place_I)
            logit_BI = logits(prediction.h_ND, offered.vectors, logit_bias)
            if seen is None:
                score_BK, title_BK = top(logit_BI, top_k)
            else:
                seen_BI = _mask(padded_indices(seen.place_N, seen.offsets, rows), logit_BI.shape[1])
                score_BK, title_BK = top(logit_BI.masked_fill(seen_BI, -torch.inf), top_k)
                if lists == "known_and_new":
                    known = top(logit_BI.masked_fill(~seen_BI, -torch.inf), top_k)
                    score_BK, title_BK = _merged((score_BK, title_BK), known)
            logit_bias = (logit_bias or LogitBias(title_BL[:, :0], prediction.h_ND[:, :0])).padded(widest)
            held = {"biased": logit_bias.title_NL, "bias": logit_bias.value_NL}
            found.append({"rows": rows, **_by_name(prediction), **held, "score": score_BK, "title": title_BK})
        order = torch.cat([prediction.pop("rows") for prediction in found]).argsort()
        joined = {name: torch.cat([prediction[name] for prediction in found])[order] for name in found[0]}
        return self._assemble(sequences, joined, offered, top_labels)

    def _day_start(self, day: date) -> datetime:
        """When a service day begins (aware, UTC), by the calendar that the model was trained with."""
        about = self.about["calendar"]
        clock = time.fromisoformat(about["day_start"])
        return datetime.combine(day, clock, ZoneInfo(about["zone"])).astimezone(UTC)

    def _places(self, items: ItemIndex) -> Tensor | None:
        """Place of each of the vocabulary's titles among `items`, -1 where absent; None for a model that needs none."""
        if not self.spec.neighbours:
            return None
        return _indices(pa.array(self.vocabulary.titles, pa.string()), items.title_ids)

    def _assemble(
        self, sequences: Rows, prediction: dict[str, Tensor], offered: ItemIndex, top_labels: int
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
            "intent_embedding": _float_lists(prediction["z"]),
            "attention": _map_of_values(names if m else [], attention_BM),
            "primary_intent": primary,
            "top_labels": _map_of_lists(names, labels, b, pa.string()),
            "top_probabilities": _map_of_lists(names, [best[name][0].numpy() for name in names], b, pa.float32()),
            "user_vector": _float_lists(prediction["user"]),
            "logit_bias": _logit_bias(LogitBias(prediction["biased"], prediction["bias"]), offered.title_ids),
            "title_ids": _lists(kept_BK.sum(-1), title_ids),
            "scores": _lists(kept_BK.sum(-1), pa.array(prediction["score"][kept_BK].numpy())),
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


def _indices(values: pa.Array, known: pa.Array) -> Tensor:
    """Place of each value in `known`, -1 where absent."""
    found = pc.fill_null(pc.index_in(values, value_set=known.cast(values.type)), -1)
    return torch.from_numpy(found.to_numpy(zero_copy_only=False).astype(np.int64))


@dataclass(frozen=True)
class _Seen:
    """Seen titles of all rows in a line, as places among the titles on offer (-1: none), and where each row begins."""

    place_N: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, sequences: Rows, offered: pa.Array) -> "_Seen":
        lists = seen_titles(sequences)
        return cls(_indices(lists.flatten(), offered), torch.from_numpy(offsets_of(lists)))


def padded_indices(index_N: Tensor, offsets: Tensor, rows: Tensor, width: int = 0) -> Tensor:
    """`index_N` of each position of the rows: (B, L), -1 beyond a row's end; L is the longest row, or `width`.

    Args:
        index_N: of all rows in a line.
        offsets: where each row begins, and the end of the last.
        rows: the chosen rows (B,).
        width: L.
    """
    lengths = offsets.diff()[rows]
    position_L = torch.arange(width or int(lengths.max()))
    valid_BL = position_L < lengths[:, None]
    return torch.where(valid_BL, index_N[torch.where(valid_BL, offsets[rows, None] + position_L, 0)], -1)


def _mask(seen_BL: Tensor, titles: int) -> Tensor:
    """Whether each title is among those of the row: bool (B, I); -1 in `seen_BL` is no title."""
    mask = torch.zeros(len(seen_BL), titles + 1, dtype=torch.bool)
    mask.scatter_(1, torch.where(seen_BL < 0, titles, seen_BL), True)
    return mask[:, :titles]


def _merged(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two lists of scores and titles as one, best first; equal scores in the order of the titles."""
    score_BK, title_BK = (torch.cat(pair, dim=-1) for pair in zip(one, other, strict=True))
    title_BK, order_BK = title_BK.sort(dim=-1)
    score_BK, order_BK = score_BK.gather(-1, order_BK).sort(dim=-1, descending=True, stable=True)
    return score_BK, title_BK.gather(-1, order_BK)


def _lists(length_B: Tensor, values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], length_B.cumsum(0).numpy()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _float_lists(value_BD: Tensor) -> pa.ListArray:
    b, width = value_BD.shape
    return _lists(torch.full((b,), width), pa.array(value_BD.reshape(-1).numpy()))


def _logit_bias(logit_bias: LogitBias, title_ids: pa.Array) -> pa.MapArray:
    """Per user a map from title to its logit bias, of titles that have one; several of one title add up."""
    kept_BL = (logit_bias.title_NL >= 0) & (logit_bias.value_NL != 0)
    user_N, titles = kept_BL.nonzero(as_tuple=True)[0].numpy(), len(title_ids)
    pair_N = user_N * titles + logit_bias.title_NL[kept_BL].numpy()
    pair_M, of_N = np.unique(pair_N, return_inverse=True)
    value_M = np.bincount(of_N, weights=logit_bias.value_NL[kept_BL].numpy(), minlength=len(pair_M)).astype(np.float32)
    offsets = np.searchsorted(pair_M, np.arange(len(kept_BL) + 1) * titles).astype(np.int32)
    return pa.MapArray.from_arrays(
        pa.array(offsets), title_ids.take(pa.array(pair_M % max(1, titles))), pa.array(value_M)
    )


def _map_of_values(names: list[str], value_BM: Tensor) -> pa.MapArray:
    b, m = value_BM.shape
    keys = pa.array(names * b, pa.string())
    return pa.MapArray.from_arrays(
        pa.array(np.arange(b + 1, dtype=np.int32) * m), keys, pa.array(value_BM.reshape(-1).numpy())
    )


def _map_of_lists(names: list[str], value_BK: list[np.ndarray], b: int, of: pa.DataType) -> pa.MapArray:
    """Per user a map from intent to a list; `value_BK` has one (B, K) array per intent."""
    widths = [value.shape[1] for value in value_BK]
    values = np.concatenate(value_BK, axis=1).reshape(-1) if value_BK else np.empty(0, object)
    lists = _lists(torch.tensor(widths * b, dtype=torch.long), pa.array(values, of))
    offsets = pa.array(np.arange(b + 1, dtype=np.int32) * len(names))
    return pa.MapArray.from_arrays(offsets, pa.array(names * b, pa.string()), lists)
