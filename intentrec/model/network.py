"""The interface of every model: predictions, item vectors and losses. IntentRec and the baselines implement it.

Shape suffixes: B rows, L positions, N targets or positions, D width of user and item vectors, P width of Z, M intents,
C classes of an intent, W last interactions, I titles. Position k, from 0, predicts interaction k + 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Protocol

import torch
from torch import Tensor, nn

from intentrec.model.dated_facts import DatedFacts
from intentrec.model.embeddings import TitleEmbedding
from intentrec.model.features import Batch, Items, TargetPositions
from intentrec.model.logit_bias import LogitBias, NeighbourPath
from intentrec.model.loss import (
    LossParts,
    LossSettings,
    draw,
    in_blocks,
    intent_loss,
    item_loss,
    next_session,
    sampled_item_loss,
)
from intentrec.model.next_session import NextSession
from intentrec.model.own_titles import OwnTitles
from intentrec.model.scores import Logits, TitleScores
from intentrec.model.spec import ModelSpec, Variant, add_variant
from intentrec.model.vocabulary import FIRST, Vocabulary


@dataclass(frozen=True)
class Output:
    """Predictions at every position, in float32 or, in half-precision training, bfloat16."""

    item_BLD: Tensor  # user vectors: dot products with item vectors, plus logit biases, are the logits of p^item
    intent_logit: dict[str, Tensor]  # intent -> (B, L, C); p^intent is their softmax
    intent_BLD: Tensor | None = None  # E^intent, where the spec has heads for the next session
    z_BLP: Tensor | None = None  # Eq. 2; V2 and V3
    attention_BLM: Tensor | None = None  # sigma(alpha): the weight of each intent; V2 and V3
    bias_BLL: Tensor | None = None  # logit bias at position k (second), of the title at position i (third)
    own_BLL: OwnTitles | None = None  # facts of which a conditional variant makes the logit biases by class
    neighbour_weight_BLW: Tensor | None = None  # neighbour weight of each of the last interactions, the latest first


@dataclass(frozen=True)
class Prediction:
    """Predictions after some positions of a batch; the fields of `Output` at those positions."""

    h_ND: Tensor
    intent_logit: dict[str, Tensor]  # intent -> (N, C)
    session_logit: dict[str, Tensor] = field(default_factory=dict)  # intents of the next session, where asked for
    z_NP: Tensor | None = None
    attention_NM: Tensor | None = None
    bias_NL: Tensor | None = None  # logit biases of the titles at the positions of the row
    own_NL: OwnTitles | None = None
    neighbours: LogitBias | None = None  # of the history's neighbours, by their number in the vocabulary

    def of_next_session(self) -> "Prediction":
        """The same with the intents of the next session; as it is, where they were not asked for or are not known."""
        return replace(self, intent_logit=self.session_logit or self.intent_logit)

    def logit_bias(self, title_NL: Tensor, number_I: Tensor | None = None) -> LogitBias | None:
        """The logit biases, if any, of candidates.

        Args:
            title_NL: the titles at the rows' positions, as numbers of candidates.
            number_I: number of each of the vocabulary's titles among the candidates; None where those are the
            candidates.
        """
        own = None if self.bias_NL is None else LogitBias(title_NL, self.bias_NL)
        near = self.neighbours
        if near is not None and number_I is not None:
            near = near.renumbered(number_I)
        return own.beside(near) if own is not None and near is not None else own or near


class Network(nn.Module, ABC):
    """A model that predicts the next interaction. A causal model implements `forward` and `item_vectors` only."""

    titles: TitleEmbedding  # at the input and, tied, at the output

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.neighbours: NeighbourPath | None = None
        self.dated: DatedFacts | None = None
        self.next_session: NextSession | None = None

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Predict at every position; of a causal model, from this and earlier interactions alone."""

    @abstractmethod
    def item_vectors(self, items: Items) -> Tensor:
        """Output vectors (I, D) of titles, known to the vocabulary or not; times user vectors they give logits."""

    def at(self, batch: Batch, row_N: Tensor, k_N: Tensor, session: tuple[Tensor, Tensor] | None = None) -> Prediction:
        """The predictions after positions of a batch, each from the interactions up to its position alone.

        Args:
            batch: the rows.
            row_N: row of each position.
            k_N: the position in its row.
            session: for intents of the next session: the last position before each session, and the session's time in
                seconds since 1970, (N,) each.
        """
        output = self(batch)
        at = row_N, k_N
        neighbours, of_session = None, {}
        if self.next_session is not None and output.intent_BLD is not None and session is not None:
            before_N, moment_N = session
            of_session = self.next_session(output.intent_BLD, batch, row_N, before_N, moment_N)
        if self.neighbours is not None and output.neighbour_weight_BLW is not None:
            neighbours = self.neighbours.logit_bias(output.neighbour_weight_BLW[at], batch.title_BL, row_N, k_N)
        return Prediction(
            output.item_BLD[at],
            {name: logit_BLC[at] for name, logit_BLC in output.intent_logit.items()},
            of_session,
            None if output.z_BLP is None else output.z_BLP[at],
            None if output.attention_BLM is None else output.attention_BLM[at],
            None if output.bias_BLL is None else output.bias_BLL[at],
            None if output.own_BLL is None else output.own_BLL.at(row_N, k_N),
            neighbours,
        )

    def before(self, batch: Batch, targets: TargetPositions) -> Prediction:
        """The predictions of targets (N of each); intents of the next session from the end of the one before."""
        if self.next_session is None:
            return self.at(batch, targets.row_N, targets.k_N)
        _, sessions = targets.next_sessions(batch)
        session = sessions.k_N.clamp(min=0), targets.of(batch.time_BL)
        return self.at(batch, targets.row_N, targets.k_N, session)

    def loss(self, batch: Batch, catalog: Items, settings: LossSettings) -> LossParts:
        """The training loss of the batch's targets with a weight above 0.

        Args:
            batch: the rows.
            catalog: the vocabulary's titles in the order of their indices.
            settings: of the item loss.
        """
        targets = batch.targets()
        targets = targets.part(self.weight(batch, targets) > 0)
        prediction = self.before(batch, targets)
        if self.neighbours is not None and prediction.neighbours is not None:
            without = self.neighbours.without_target(prediction.neighbours, batch.title_BL, targets)
            prediction = replace(prediction, neighbours=without)
        return self.prediction_loss(prediction, batch, targets, catalog, settings)

    def prediction_loss(
        self, prediction: Prediction, batch: Batch, targets: TargetPositions, catalog: Items, settings: LossSettings
    ) -> LossParts:
        """Eq. 3 and 4 of predictions (N of each) for these targets.

        Args:
            prediction: what `before` returns.
            batch: the rows.
            targets: of the batch.
            catalog: the vocabulary's titles in the order of their indices.
            settings: of the item loss.
        """
        weight_N = self.weight(batch, targets)
        title_N = targets.of(batch.title_BL) - FIRST
        logit_bias = prediction.logit_bias(batch.title_BL[targets.row_N] - FIRST)
        sums = {
            "item": self.title_loss(
                prediction.h_ND, logit_bias, title_N, weight_N, catalog, settings, targets.of(batch.week_BL)
            )
        }
        weights = {"item": weight_N.sum()}
        for name, logit_NC in prediction.intent_logit.items():
            sums[name], weights[name] = intent_loss(logit_NC, targets.of(batch.label[name]), weight_N)
        if prediction.session_logit:
            first_N, _ = targets.next_sessions(batch)
            opening_N = weight_N * first_N
            for name, logit_NC in prediction.session_logit.items():
                task = next_session(name)
                sums[task], weights[task] = intent_loss(logit_NC, targets.of(batch.label[name]), opening_N)
        return LossParts(sums, weights, self.spec.intent_weight, self.spec.lead_intent)

    def title_scores(self, prediction: Prediction, title_NL: Tensor, number_I: Tensor | None = None) -> TitleScores:
        """What scores candidates after the predicted positions; arguments as of `Prediction.logit_bias`."""
        return Logits(prediction.h_ND, prediction.logit_bias(title_NL, number_I))

    def title_loss(
        self,
        h_ND: Tensor,
        logit_bias: LogitBias | None,
        title_N: Tensor,
        weight_N: Tensor,
        catalog: Items,
        settings: LossSettings,
        week_N: Tensor,
    ) -> Tensor:
        """The weighted sum of Eq. 3 for the next item, over the catalogue or a sample; arguments as of `item_loss`."""
        if not settings.sampled:
            item_ID = in_blocks(self.item_vectors, catalog)
            loss = h_ND.new_zeros((), dtype=torch.float32)
            for some, one in self.by_week(week_N, catalog):
                vector_ID = one.in_week(item_ID)
                biased = None if logit_bias is None else logit_bias.part(some)
                loss = loss + item_loss(h_ND[some], vector_ID, title_N[some], weight_N[some], settings.cells, biased)
            return loss
        equal_I = torch.ones_like(catalog.title_I, dtype=weight_N.dtype)
        drawn = draw(settings.sampled, equal_I if settings.proposal is None else settings.proposal)
        chosen_U = torch.cat([title_N, drawn[0]]).unique()
        item_UD = self.item_vectors(catalog.map(itemgetter(chosen_U)))
        loss = h_ND.new_zeros((), dtype=torch.float32)
        for some, one in self.by_week(week_N, catalog):

            def vectors(title: Tensor, one: Items = one) -> Tensor:
                return one.map(itemgetter(title)).in_week(item_UD[torch.searchsorted(chosen_U, title)])

            biased = None if logit_bias is None else logit_bias.part(some)
            loss = loss + sampled_item_loss(
                h_ND[some], vectors, title_N[some], weight_N[some], drawn, settings.cells, biased
            )
        return loss

    def by_week(self, week_N: Tensor, catalog: Items) -> Iterator[tuple[Tensor | slice, Items]]:
        """The targets of each week, and the titles with the dated facts of that week."""
        if catalog.dated_IWC is None:
            yield slice(None), catalog
            return
        for week in week_N.unique().tolist():
            yield week_N == week, replace(catalog, dated_IWC=catalog.dated_IWC[:, week : week + 1])

    def weight(self, batch: Batch, targets: TargetPositions) -> Tensor:
        """The duration weight of Eq. 3 (N,): of interaction k or, where the spec says so, of the target."""
        side_N = targets.j_N if self.spec.weight_side == "k+1" else targets.k_N
        return batch.weight_BL[targets.row_N, side_N]


class NetworkBuilder(Protocol):
    """Makes the network of a spec and a vocabulary, with fresh weights. Classes of networks are builders."""

    def __call__(self, spec: ModelSpec, vocabulary: Vocabulary) -> Network:
        """The network."""
        ...


BUILDERS: dict[str, NetworkBuilder] = {}  # of the registered variants


def register(variant: Variant, builder: NetworkBuilder) -> None:
    """Make a variant known to specs, and its networks to `intentrec.model.intentrec.build`.

    Call this when the module that defines the network is imported. A process that loads a saved network of the variant
    must import that module first.

    Raises:
        ValueError: another variant has this name.
    """
    add_variant(variant)
    BUILDERS[variant.name] = builder
