"""What training, evaluation and serving ask of any system: IntentRec and its baselines answer to the same calls.

Shape suffixes: B rows, L positions, N asked positions, D width of user and item vectors, P width of Z, M intents,
C classes of an intent, I titles. Position k, from 0, predicts interaction k + 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor, nn

from intentrec.model.features import Batch, Items
from intentrec.model.items import TitleEmbedding
from intentrec.model.logit_bias import LogitBias
from intentrec.model.loss import LossParts, LossSettings, intent_loss
from intentrec.model.neighbours import NeighbourPath
from intentrec.model.softmax import draw, in_blocks, item_loss, sampled_item_loss
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST


@dataclass(frozen=True)
class Output:
    """Predictions at every position."""

    item_BLD: Tensor  # dot products with item vectors, and what is biased, are the logits of p^item
    intent_logit: dict[str, Tensor]  # intent -> (B, L, C); p^intent is their softmax
    z_BLP: Tensor | None = None  # Eq. 2; V2 and V3
    attention_BLM: Tensor | None = None  # sigma(alpha): the weight of each intent
    bias_BLL: Tensor | None = None  # at position k (second), of the title at position i (third)
    loud_BLW: Tensor | None = None  # how loud each of the last interactions speaks for the titles near its own


@dataclass(frozen=True)
class Answer:
    """Predictions at the positions that were asked for."""

    h_ND: Tensor  # dot products with item vectors, and what is biased, are the logits of p^item
    intent_logit: dict[str, Tensor]  # intent -> (N, C)
    z_NP: Tensor | None = None
    attention_NM: Tensor | None = None
    bias_NL: Tensor | None = None  # of the titles at the positions of the row
    near: LogitBias | None = None  # of titles near those, by their number in the vocabulary

    def logit_bias(self, title_NL: Tensor, place_I: Tensor | None = None) -> LogitBias | None:
        """The logit biases, if any, of candidates.

        Args:
            title_NL: the titles at the rows' positions, as numbers of candidates.
            place_I: the vocabulary's titles, as numbers of candidates; None where those are the candidates.
        """
        own = None if self.bias_NL is None else LogitBias(title_NL, self.bias_NL)
        near = self.near if self.near is None or place_I is None else self.near.placed(place_I)
        return own.beside(near) if own is not None and near is not None else own or near


class Network(nn.Module, ABC):
    """A system that predicts the next interaction. A causal one has `forward` and `item_vectors`; the rest follows."""

    titles: TitleEmbedding  # at the input and, tied, at the output

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.neighbours: NeighbourPath | None = None

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Predict at every position; of a causal system, from this and earlier interactions alone."""

    @abstractmethod
    def item_vectors(self, items: Items) -> Tensor:
        """Output vectors (I, D) of titles, known to the vocabulary or not; with a user's vector, their logit."""

    def at(self, batch: Batch, row_N: Tensor, k_N: Tensor) -> Answer:
        """The answers after position k of a row, from interactions up to k alone."""
        output = self(batch)
        at = row_N, k_N
        return Answer(
            output.item_BLD[at],
            {name: logit_BLC[at] for name, logit_BLC in output.intent_logit.items()},
            None if output.z_BLP is None else output.z_BLP[at],
            None if output.attention_BLM is None else output.attention_BLM[at],
            None if output.bias_BLL is None else output.bias_BLL[at],
            None
            if self.neighbours is None or output.loud_BLW is None
            else self.neighbours.logit_bias(output.loud_BLW[at], batch.title_BL, row_N, k_N),
        )

    def loss(self, batch: Batch, catalog: Items, settings: LossSettings) -> LossParts:
        """The loss that training descends: here that of the batch's targets; what weighs nothing is left out first."""
        row_N, k_N, j_N = batch.questions()
        counts_N = self.weight(batch, row_N, k_N, j_N) > 0
        row_N, k_N, j_N = row_N[counts_N], k_N[counts_N], j_N[counts_N]
        answer = self.at(batch, row_N, k_N)
        if self.neighbours is not None and answer.near is not None:
            answer = replace(answer, near=self.neighbours.uncounted(answer.near, batch.title_BL, row_N, k_N, j_N))
        return self.answer_loss(answer, batch, row_N, k_N, j_N, catalog, settings)

    def answer_loss(
        self,
        answer: Answer,
        batch: Batch,
        row_N: Tensor,
        k_N: Tensor,
        j_N: Tensor,
        catalog: Items,
        settings: LossSettings,
    ) -> LossParts:
        """Eq. 3 and 4 of answers given after position k of a row, against interaction j, the next one.

        `catalog` are the vocabulary's titles in the order of their indices.
        """
        weight_N = self.weight(batch, row_N, k_N, j_N)
        title_N = batch.title_BL[row_N, j_N] - FIRST
        logit_bias = answer.logit_bias(batch.title_BL[row_N] - FIRST)
        sums = {"item": self.title_loss(answer.h_ND, logit_bias, title_N, weight_N, catalog, settings)}
        weights = {"item": weight_N.sum()}
        for name, logit_NC in answer.intent_logit.items():
            sums[name], weights[name] = intent_loss(logit_NC, batch.label[name][row_N, j_N], weight_N)
        return LossParts(sums, weights, self.spec.intent_weight)

    def title_loss(
        self,
        h_ND: Tensor,
        logit_bias: LogitBias | None,
        title_N: Tensor,
        weight_N: Tensor,
        catalog: Items,
        settings: LossSettings,
    ) -> Tensor:
        """The weighted sum of Eq. 3 for the next item, over all titles of the catalogue or a sample of them."""
        if not settings.sampled:
            item_ID = in_blocks(self.item_vectors, catalog)
            return item_loss(h_ND, item_ID, title_N, weight_N, settings.cells, logit_bias)
        alike_I = torch.ones_like(catalog.title_I, dtype=weight_N.dtype)
        drawn = draw(settings.sampled, alike_I if settings.proposal is None else settings.proposal)

        def vectors(title: Tensor) -> Tensor:
            return self.item_vectors(catalog.map(itemgetter(title)))

        return sampled_item_loss(h_ND, vectors, title_N, weight_N, drawn, settings.cells, logit_bias)

    def weight(self, batch: Batch, row_N: Tensor, k_N: Tensor, j_N: Tensor) -> Tensor:
        """The duration weight of Eq. 3: of interaction k or, where the spec says so, of the next one."""
        return batch.weight_BL[row_N, j_N if self.spec.weight_side == "k+1" else k_N]
