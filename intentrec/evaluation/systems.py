"""A trained model as a system of the protocols: scores of titles and probabilities of labels for any prefixes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from intentrec.evaluation.metrics import Ints
from intentrec.evaluation.next_event import System
from intentrec.evaluation.ranking import Part
from intentrec.evaluation.titles import Titles
from intentrec.inference.predictor import Predictor, padded_indices
from intentrec.model.arrow import flat
from intentrec.model.logit_bias import LogitBias, logits


@dataclass(frozen=True)
class _States:
    """Answers for E prefixes: user vectors, logit biases of candidates, intent -> probabilities [E, labels], Z, attention."""

    user_ED: torch.Tensor
    logit_bias: LogitBias | None
    probabilities: dict[str, NDArray]
    mixture: tuple[NDArray, NDArray] | None


class ModelSystem:
    """Scores `titles` with the facts that `catalog` knows of them. One pass of a causal model serves all prefixes.

    A title without facts in the catalogue cannot be scored and ranks last.
    """

    def __init__(self, predictor: Predictor, catalog: pa.Table, as_of: date, titles: Titles) -> None:
        self.predictor = predictor
        items = predictor.items(catalog, as_of)
        self.known_N = Titles(items.title_ids.cast(pa.string())).index(titles.ids)
        self.vectors_ND = items.vectors[torch.from_numpy(np.maximum(self.known_N, 0))]
        self.candidates = titles
        self._last: tuple[pa.RecordBatch, Ints, Ints] | None = None
        self._states = _States(torch.empty(0), None, {}, None)

    @property
    def system(self) -> System:
        """For `next_event`; `titles` alone serves `week_ahead`."""
        return System(self.titles, self.intents if self.predictor.labels else None)

    def titles(self, sequences: pa.RecordBatch, rows: Ints, ends: Ints) -> Part:
        """A `Scorer`."""
        states = self._run(sequences, rows, ends)

        def part(start: int, end: int) -> NDArray:
            logit_bias = None if states.logit_bias is None else states.logit_bias.part(slice(start, end))
            scores_BN = logits(states.user_ED[start:end], self.vectors_ND, logit_bias).numpy()
            scores_BN[:, self.known_N < 0] = -np.inf
            return scores_BN

        return part

    def intents(self, sequences: pa.RecordBatch, rows: Ints, ends: Ints) -> dict[str, tuple[Sequence[str], NDArray]]:
        """An `IntentScorer`."""
        found = self._run(sequences, rows, ends).probabilities
        return {name: (self.predictor.labels[name], each) for name, each in found.items()}

    def mixture(self, sequences: pa.RecordBatch, rows: Ints, ends: Ints) -> tuple[NDArray, NDArray]:
        """Z [E, width] and the attention weights [E, intents], of a model that has them (V2, V3)."""
        found = self._run(sequences, rows, ends).mixture
        assert found is not None, f"{self.predictor.spec.variant} has no intent mixture"
        return found

    @torch.inference_mode()
    def _run(self, sequences: pa.RecordBatch, rows: Ints, ends: Ints) -> "_States":
        """What the model says after `ends` interactions of `rows`; the last answer is kept."""
        if self._last is None or any(
            now is not then for now, then in zip((sequences, rows, ends), self._last, strict=True)
        ):
            encoded = self.predictor.encoder.encode(sequences)
            batch = encoded.pad(torch.arange(len(encoded)))
            answer = self.predictor.model.at(batch, torch.from_numpy(rows), torch.from_numpy(ends) - 1)
            probabilities = {name: logit_EC.softmax(-1).numpy() for name, logit_EC in answer.intent_logit.items()}
            place = torch.from_numpy(self.candidates.index(flat(sequences, "title_id")))
            at_NL = padded_indices(place, encoded, torch.from_numpy(rows), batch.title_BL.shape[1])
            place_I = None
            if answer.near is not None:
                vocabulary = pa.array(self.predictor.vocabulary.titles, pa.string())
                place_I = torch.from_numpy(self.candidates.index(vocabulary))
            logit_bias = answer.logit_bias(at_NL, place_I)
            self._last = (sequences, rows, ends)
            z_NP, attention_NM = answer.z_NP, answer.attention_NM
            mixture = None if z_NP is None or attention_NM is None else (z_NP.numpy(), attention_NM.numpy())
            self._states = _States(answer.h_ND, logit_bias, probabilities, mixture)
        return self._states
