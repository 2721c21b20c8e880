"""A trained model at work: intents, vectors and top lists for users, ranks for evaluation. No Spark, no MLflow.

Shape suffixes: B users, L positions, D width, I titles, N targets, C classes of an intent.
"""

from dataclasses import dataclass
from datetime import date, time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from intentrec.calendar import day_start_of
from intentrec.config import Calendar
from intentrec.model.arrow import Rows, column, flat
from intentrec.model.features import Encoded, FeatureEncoder
from intentrec.model.logit_bias import LogitBias, logits
from intentrec.model.neighbours import SPEAK
from intentrec.model.network import Answer
from intentrec.model.ranking import top
from intentrec.model.titles import in_order, titles_of, without_meaning
from intentrec.training.checkpoint import model_from, read_model
from intentrec.training.data import batches

TOKENS = 2**15  # positions of the users scored at once, at most
CELLS = 2**25  # users x titles scored at once, at most

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
    """Titles with their output vectors. `eligible`: may be offered at the date the index was made for."""

    title_ids: pa.Array
    vectors: Tensor
    eligible: Tensor

    def only_eligible(self) -> "ItemIndex":
        """The titles that may be offered."""
        kept = self.title_ids.filter(pa.array(self.eligible.numpy()))
        return ItemIndex(kept, self.vectors[self.eligible], self.eligible[self.eligible])


class Predictor:
    """A model directory, loaded for inference on the CPU."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.model, self.vocabulary, self.about = model_from(files)
        self.spec = self.model.spec
        self.encoder = FeatureEncoder(self.spec, self.vocabulary)
        self.labels = {intent.name: self.vocabulary.labels(intent) for intent in self.spec.intents}

    @classmethod
    def load(cls, directory: Path | str) -> "Predictor":
        """From a model directory.

        Raises:
            PipelineError: it lacks a file.
        """
        return cls(read_model(Path(directory)))

    @classmethod
    def from_bytes(cls, files: dict[str, bytes]) -> "Predictor":
        """From the files of a model directory by name, as `checkpoint.read_model` returns them (for broadcasting)."""
        return cls(files)

    @torch.inference_mode()
    def items(self, catalog: Rows, as_of: date) -> ItemIndex:
        """Vectors of every title of the catalogue, eligible where available when the service day `as_of` begins.

        They come in the order in which titles with equal scores are recommended.
        """
        titles = titles_of(catalog)
        titles = in_order(titles, without_meaning(titles["title_id"].to_pylist()))
        moment = pa.scalar(day_start_of(as_of, self._calendar()), pa.timestamp("us", "UTC"))
        begun = pc.fill_null(pc.less_equal(titles["available_from"], moment), True)
        open_ = pc.fill_null(pc.greater(titles["available_to"], moment), True)
        eligible = pc.and_(begun, open_).to_numpy()
        vectors_ID = self.model.item_vectors(self.encoder.items(titles))
        return ItemIndex(column(titles, "title_id"), vectors_ID, torch.tensor(eligible))

    def item_vectors(self, items: ItemIndex) -> pa.Table:
        """title_id and vector of the eligible titles."""
        chosen = items.only_eligible()
        return pa.table({"title_id": chosen.title_ids, "vector": _float_lists(chosen.vectors)})

    @torch.inference_mode()
    def predict(
        self, sequences: Rows, items: ItemIndex, top_k: int, exclude_seen: bool, top_labels: int = 3
    ) -> pa.RecordBatch:
        """Intents, user vector and the best eligible titles after each row's last interaction (schema PREDICTIONS).

        The dot product of `user_vector` and an item vector, and what `logit_bias` has of that title, are the logit;
        `scores` are those logits. A variant without an intent mixture (V0, V1) has an empty embedding, no attention
        and the primary intent ''.
        Lists are shorter than `top_k` where fewer titles may be offered.
        """
        if len(sequences) == 0:
            return pa.RecordBatch.from_pylist([], PREDICTIONS)
        encoded = self.encoder.encode(sequences)
        offered = items.only_eligible()
        place_N, widest = None, int(encoded.lengths.max()) + SPEAK * self.spec.neighbours
        if exclude_seen or self.spec.history_path or self.spec.compatibility:
            place_N = _indices(flat(sequences, "title_id"), offered.title_ids)
        place_I = self._places(offered)
        found: list[dict[str, Tensor]] = []
        chunk = max(1, CELLS // max(1, len(offered.title_ids)))
        for rows in batches(encoded.lengths, TOKENS, rows=chunk):
            answer = self.model.at(encoded.pad(rows), torch.arange(len(rows)), encoded.lengths[rows] - 1)
            title_BL = torch.zeros(len(rows), 0, dtype=torch.long)
            if place_N is not None:
                title_BL = padded_indices(place_N, encoded, rows)
            logit_bias = answer.logit_bias(title_BL, place_I)
            logit_BI = logits(answer.h_ND, offered.vectors, logit_bias)
            if exclude_seen:
                _forbid(logit_BI, title_BL)
            score_BK, title_BK = top(logit_BI, top_k)
            logit_bias = (logit_bias or LogitBias(title_BL[:, :0], answer.h_ND[:, :0])).padded(widest)
            held = {"biased": logit_bias.title_NL, "bias": logit_bias.value_NL}
            found.append({"rows": rows, **_answered(answer), **held, "score": score_BK, "title": title_BK})
        order = torch.cat([answer.pop("rows") for answer in found]).argsort()
        joined = {name: torch.cat([answer[name] for answer in found])[order] for name in found[0]}
        return self._assemble(sequences, joined, offered, top_labels)

    def _calendar(self) -> Calendar:
        """When days begin; when the history does is of no matter here."""
        about = self.about["calendar"]
        return Calendar(zone=about["zone"], day_start=time.fromisoformat(about["day_start"]), history_start=date.min)

    def _places(self, items: ItemIndex) -> Tensor | None:
        """Place of each of the vocabulary's titles among `items`, -1 where absent; None where no logit bias asks for it."""
        if not self.spec.neighbours:
            return None
        return _indices(pa.array(self.vocabulary.titles, pa.string()), items.title_ids)

    def _assemble(
        self, sequences: Rows, answer: dict[str, Tensor], offered: ItemIndex, top_labels: int
    ) -> pa.RecordBatch:
        kept_BK = torch.isfinite(answer["score"])  # minus infinity: seen, and not to be recommended again
        names = list(self.labels)
        best = {name: top(answer[f"p.{name}"], top_labels) for name in names}
        labels = [np.array(self.labels[name], dtype=object)[best[name][1].numpy()] for name in names]
        b, m = answer["attention"].shape
        primary = pa.array(names).take(pa.array(answer["attention"].argmax(-1).numpy())) if m else pa.array([""] * b)
        columns = {
            "user_id": column(sequences, "user_id"),
            "account_id": column(sequences, "account_id"),
            "intent_embedding": _float_lists(answer["z"]),
            "attention": _map_of_values(names if m else [], answer["attention"]),
            "primary_intent": primary,
            "top_labels": _map_of_lists(names, labels, b, pa.string()),
            "top_probabilities": _map_of_lists(names, [best[name][0].numpy() for name in names], b, pa.float32()),
            "user_vector": _float_lists(answer["user"]),
            "logit_bias": _logit_bias(LogitBias(answer["biased"], answer["bias"]), offered.title_ids),
            "title_ids": _lists(kept_BK.sum(-1), offered.title_ids.take(pa.array(answer["title"][kept_BK].numpy()))),
            "scores": _lists(kept_BK.sum(-1), pa.array(answer["score"][kept_BK].numpy())),
        }
        arrays = [columns[field.name].cast(field.type) for field in PREDICTIONS]
        return pa.RecordBatch.from_arrays(arrays, schema=PREDICTIONS)


def _answered(answer: Answer) -> dict[str, Tensor]:
    """user (B, D), z, attention, `p.INTENT` (B, C)."""
    nothing = answer.h_ND[:, :0]
    return {
        "user": answer.h_ND,
        "z": nothing if answer.z_NP is None else answer.z_NP,
        "attention": nothing if answer.attention_NM is None else answer.attention_NM,
        **{f"p.{name}": logit_NC.softmax(-1) for name, logit_NC in answer.intent_logit.items()},
    }


def _indices(values: pa.Array, known: pa.Array) -> Tensor:
    """Place of each value in `known`, -1 where absent."""
    found = pc.fill_null(pc.index_in(values, value_set=known.cast(values.type)), -1)
    return torch.from_numpy(found.to_numpy(zero_copy_only=False).astype(np.int64))


def padded_indices(index_N: Tensor, encoded: Encoded, rows: Tensor, width: int = 0) -> Tensor:
    """Of each position of the rows: (B, L), -1 where there is none; as wide as the longest row, or `width`."""
    lengths = encoded.lengths[rows]
    position_L = torch.arange(width or int(lengths.max()))
    valid_BL = position_L < lengths[:, None]
    return torch.where(valid_BL, index_N[torch.where(valid_BL, encoded.offsets[rows, None] + position_L, 0)], -1)


def _forbid(logit_BI: Tensor, seen_BL: Tensor) -> None:
    """Set the logits of seen titles to minus infinity, in place; -1 stands for nothing."""
    width = logit_BI.shape[1]
    mask = torch.zeros(len(logit_BI), width + 1, dtype=torch.bool)
    mask.scatter_(1, torch.where(seen_BL < 0, width, seen_BL), True)
    logit_BI.masked_fill_(mask[:, :width], -torch.inf)


def _lists(length_B: Tensor, values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], length_B.cumsum(0).numpy()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _float_lists(value_BD: Tensor) -> pa.ListArray:
    b, width = value_BD.shape
    return _lists(torch.full((b,), width), pa.array(value_BD.reshape(-1).numpy()))


def _logit_bias(logit_bias: LogitBias, title_ids: pa.Array) -> pa.MapArray:
    """Per user a map from title to what its logit has on top, of titles that have any; several of a title add up."""
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
    """Per user a map from intent to a list, from one (B, K) array per intent."""
    widths = [value.shape[1] for value in value_BK]
    values = np.concatenate(value_BK, axis=1).reshape(-1) if value_BK else np.empty(0, object)
    lists = _lists(torch.tensor(widths * b, dtype=torch.long), pa.array(values, of))
    offsets = pa.array(np.arange(b + 1, dtype=np.int32) * len(names))
    return pa.MapArray.from_arrays(offsets, pa.array(names * b, pa.string()), lists)
