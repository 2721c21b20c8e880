"""A trained model as a system of the protocols: scores of titles and probabilities of labels after any prefixes.

Shape suffixes: B rows, E prefixes, D width of vectors, N candidate titles, I titles of the vocabulary, L positions of a
batch, C classes of an intent, M intents, P width of Z.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from intentrec.evaluation.candidates import Prefixes, Titles
from intentrec.evaluation.systems import IntentProbabilities, ScoreSlices, System
from intentrec.inference.lists import padded_indices
from intentrec.inference.predictor import Predictor
from intentrec.model.arrow import flat
from intentrec.model.item_given_intent import ClassMixture
from intentrec.model.scores import TitleScores


@dataclass(frozen=True)
class IntentMixture:
    """Eq. 2 after E prefixes: the intent embedding Z, floats (E, P), and the attention weights, floats (E, M)."""

    embedding_EP: NDArray[np.floating]
    attention_EM: NDArray[np.floating]


@dataclass(frozen=True)
class _Output:
    """The model's output after E prefixes."""

    scores: TitleScores
    intents: dict[str, IntentProbabilities]
    mixture: IntentMixture | None


class ModelSystem:
    """Scores the candidates `titles` with the facts that `catalog` and `title_facts` have of them as of `as_of`.

    With `next_session` each prefix is followed by another session, as a snapshot is; otherwise that is open.

    One pass of a causal model serves all prefixes of a batch. A title without facts in the catalogue cannot be scored
    and ranks last.
    """

    def __init__(
        self,
        predictor: Predictor,
        catalog: pa.Table,
        title_facts: pa.Table,
        as_of: date,
        titles: Titles,
        next_session: bool = False,
    ) -> None:
        self.predictor, self.moment = predictor, predictor.next_session_at(as_of) if next_session else None
        items = predictor.items(catalog, title_facts, as_of)
        self.known_N = Titles(items.title_ids.cast(pa.string())).index(titles.ids)
        self.vectors_ND = items.vectors[torch.from_numpy(np.maximum(self.known_N, 0))]
        self.candidates = titles
        self._last: tuple[Prefixes, _Output] | None = None

    @property
    def system(self) -> System:
        """Titles, intents where the model has heads for them, and titles given the intent where it is conditional."""
        return System(self, self if self.predictor.labels else None, self if self.lead_intent else None)

    @property
    def lead_intent(self) -> str:
        """The intent that a conditional model is conditioned on; empty for others."""
        return self.predictor.spec.lead_intent

    def title_scores(self, prefixes: Prefixes) -> ScoreSlices:
        """Scores of the candidates after each prefix."""
        output = self._output(prefixes)

        @torch.inference_mode()
        def scores(start: int, end: int) -> NDArray[np.floating]:
            scores_EN = output.scores.part(slice(start, end)).of(self.vectors_ND).numpy()
            scores_EN[:, self.known_N < 0] = -np.inf
            return scores_EN

        return scores

    def title_scores_given(self, prefixes: Prefixes, label_E: pa.Array) -> ScoreSlices:
        """Scores of the candidates after each prefix if the next class of the lead intent is known."""
        mixture = self._output(prefixes).scores
        assert isinstance(mixture, ClassMixture), f"{self.predictor.spec.variant} has no lead intent"
        known = pa.array(self.predictor.labels[self.lead_intent], pa.string())
        class_E = pc.fill_null(pc.index_in(label_E.cast(pa.string()), value_set=known), -1).to_numpy().astype(np.int64)

        @torch.inference_mode()
        def scores(start: int, end: int) -> NDArray[np.floating]:
            some = slice(start, end)
            _, logit_EN = mixture.part(some).given(torch.from_numpy(class_E[some]), self.vectors_ND)
            return np.where(self.known_N < 0, -np.inf, logit_EN.numpy())

        return scores

    def intent_probabilities(self, prefixes: Prefixes) -> dict[str, IntentProbabilities]:
        """Label probabilities of each intent that the model predicts."""
        return self._output(prefixes).intents

    def mixture(self, prefixes: Prefixes) -> IntentMixture:
        """Z and attention, of a model that has them (V2 and later)."""
        found = self._output(prefixes).mixture
        assert found is not None, f"{self.predictor.spec.variant} has no intent mixture"
        return found

    def _output(self, prefixes: Prefixes) -> _Output:
        """The model's output after `prefixes`. The last one is kept for requests of titles and then of intents."""
        if self._last is None or not _same(prefixes, self._last[0]):
            self._last = (prefixes, self._forward(prefixes))
        return self._last[1]

    @torch.inference_mode()
    def _forward(self, prefixes: Prefixes) -> _Output:
        encoded = self.predictor.encoder.encode(prefixes.sequences)
        batch = encoded.pad(torch.arange(len(encoded)))
        rows, ends = torch.from_numpy(prefixes.rows), torch.from_numpy(prefixes.ends)
        session = None if self.moment is None else (ends - 1, torch.full_like(ends, self.moment))
        prediction = self.predictor.model.at(batch, rows, ends - 1, session).of_next_session()
        place = torch.from_numpy(self.candidates.index(flat(prefixes.sequences, "title_id")))
        place_EL = padded_indices(place, encoded.offsets, rows, batch.title_BL.shape[1])
        place_I = None
        if prediction.neighbours is not None:
            vocabulary = pa.array(self.predictor.vocabulary.titles, pa.string())
            place_I = torch.from_numpy(self.candidates.index(vocabulary))
        intents = {
            name: IntentProbabilities(self.predictor.labels[name], logit_EC.softmax(-1).numpy())
            for name, logit_EC in prediction.intent_logit.items()
        }
        mixture = None
        if prediction.z_NP is not None and prediction.attention_NM is not None:
            mixture = IntentMixture(prediction.z_NP.numpy(), prediction.attention_NM.numpy())
        scores = self.predictor.model.title_scores(prediction, place_EL, place_I)
        return _Output(scores, intents, mixture)


def _same(one: Prefixes, other: Prefixes) -> bool:
    """Whether both stand for the same arrays, not copies of them."""
    return one.sequences is other.sequences and one.rows is other.rows and one.ends is other.ends
