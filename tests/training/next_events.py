"""Every target of some rows, ranked by the predictor's own pieces in one pass: the evaluation is compared with it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from intentrec.inference.lists import indices, padded_indices
from intentrec.inference.predictor import CELLS, TOKENS, ItemIndex, Predictor
from intentrec.model.arrow import Rows, column, flat
from intentrec.model.features import Batch
from intentrec.model.scores import ranks
from intentrec.training.batches import batches


@dataclass(frozen=True)
class NextEvents:
    """The model's predictions of each target of the rows, in the rows' order."""

    user_id: pa.Array
    title_id: pa.Array
    end_ts: pa.Array
    position: np.ndarray  # of the target in its row, from 0
    weight: np.ndarray  # the target's own duration weight
    seen: np.ndarray  # whether the title occurs earlier in the row
    rank: np.ndarray  # among all titles of the index, ties averaged; infinite where the index lacks the title
    n_titles: int
    probabilities: dict[str, np.ndarray]  # intent -> (N, C), in the order of `Predictor.labels`
    truth: dict[str, np.ndarray]  # intent -> (N, C) bool: the target's labels; a row without any is unknown


@torch.inference_mode()
def score_positions(predictor: Predictor, sequences: Rows, items: ItemIndex) -> NextEvents:
    """Rank every target among the `n_new` last interactions from its prefix, over the whole index, in one pass.

    A row's very first interaction has no prefix and is no target. Eligibility plays no part: the catalogue is full
    and nothing is sampled.
    """
    encoded = predictor.encoder.encode(sequences)
    place_N, place_I = indices(flat(sequences, "title_id"), items.title_ids), predictor.places(items)
    chunk = max(1, CELLS // max(1, len(items.title_ids)))
    at: list[Tensor] = []
    rank: list[Tensor] = []
    probability: dict[str, list[Tensor]] = {name: [] for name in predictor.labels}
    for rows in batches(encoded.lengths, TOKENS):
        batch = encoded.pad(rows)
        targets = batch.targets()
        prediction = predictor.model.at(batch, targets.row_N, targets.k_N)
        at_N = encoded.offsets[rows[targets.row_N]] + targets.j_N
        found_N = torch.full((len(at_N),), torch.inf, dtype=torch.float64)
        known_N = place_N[at_N] >= 0
        title_NL = padded_indices(place_N, encoded.offsets, rows)[targets.row_N]
        rank_N = ranks(
            predictor.model.title_scores(prediction, title_NL, place_I),
            items.vectors,
            place_N[at_N].clamp(min=0),
            chunk,
        )
        found_N[known_N] = rank_N[known_N]
        at.append(at_N)
        rank.append(found_N)
        for name, logit_NC in prediction.intent_logit.items():
            probability[name].append(logit_NC.softmax(-1))
    at_N = torch.cat(at) if at else torch.empty(0, dtype=torch.long)
    order = at_N.argsort()
    at_N = at_N[order]
    row_N = torch.searchsorted(encoded.offsets, at_N, right=True) - 1
    take = pa.array(at_N.numpy())
    return NextEvents(
        user_id=column(sequences, "user_id").take(pa.array(row_N.numpy())),
        title_id=flat(sequences, "title_id").take(take),
        end_ts=flat(sequences, "end_ts").take(take),
        position=(at_N - encoded.offsets[row_N]).numpy(),
        weight=encoded.flat.weight_BL[at_N].numpy(),
        seen=(encoded.flat.first_BL[at_N] < at_N - encoded.offsets[row_N]).numpy(),
        rank=(torch.cat(rank)[order] if rank else torch.empty(0)).numpy(),
        n_titles=len(items.title_ids),
        probabilities={name: torch.cat(parts)[order].numpy() for name, parts in probability.items() if parts},
        truth={name: _multi_hot(encoded.flat, name, len(labels), at_N) for name, labels in predictor.labels.items()},
    )


def _multi_hot(flat_batch: Batch, intent: str, classes: int, at_N: Tensor) -> np.ndarray:
    label_NG = flat_batch.label[intent][at_N]
    hot = torch.zeros(len(label_NG), classes + 1, dtype=torch.bool)
    hot.scatter_(1, torch.where(label_NG < 0, classes, label_NG), True)
    return hot[:, :classes].numpy()
