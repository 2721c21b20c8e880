"""V4: the item given the intent. Ours; V0 to V3 are the paper's.

    p(i | h) = sum over a of p(a | h) p(i | a, h)        a: the classes of the lead intent

In V3 the predicted intents enter the item encoder as Z, a function of what this encoder sees anyway. Here the next item
is predicted once for every class of one intent, as if that class were certain:

- Class a scales and shifts E^item, before FC_item and before the weights of all logit biases.
- Where compatibility reads p of the lead intent, it reads certainty of a.

Training conditions each target on its own class (teacher forcing), and the loss of p(a | h) has the weight 1. A target
without a class is conditioned on nothing. Scoring sums over the classes that hold nearly all of p(a | h).

Shape suffixes: B rows, L positions, N targets or positions, D width of E^item, C classes of the lead intent, K classes
that are summed, I titles, W last interactions, J candidates of neighbours.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.features import Batch, Items, TargetPositions
from intentrec.model.intentrec import IntentRec
from intentrec.model.logit_bias import SOURCES, LogitBias
from intentrec.model.loss import LossParts, LossSettings
from intentrec.model.network import Output, Prediction
from intentrec.model.own_titles import OwnTitles
from intentrec.model.scores import logits
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary

MASS = 0.99  # of p(a | h): the likeliest classes that hold so much are summed


class ItemGivenIntent(IntentRec):
    """The model of a spec and a vocabulary."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary)
        (lead,) = [intent for intent in spec.intents if intent.name == spec.lead_intent]
        self.classes = len(vocabulary.labels(lead))
        self.scale = nn.Parameter(torch.zeros(self.classes, spec.dim))
        self.shift = nn.Parameter(torch.zeros(self.classes, spec.dim))

    def next_item(self, output: Output, p: dict[str, Tensor], own_BLL: OwnTitles | None) -> Output:
        """E^item and the facts about the user's own titles, as they are: `given` needs both."""
        weight_BLW = None
        if self.neighbours is not None:
            weight_BLW = torch.ones(*output.item_BLD.shape[:2], SOURCES, device=output.item_BLD.device)
        return replace(output, own_BLL=own_BLL, neighbour_weight_BLW=weight_BLW)

    def given(self, prediction: Prediction, class_N: Tensor) -> Prediction:
        """The prediction of the next item if the next class of the lead intent is certain.

        Args:
            prediction: as `at` returns it.
            class_N: the class after each position; negative where it is unknown.
        """
        p = {name: logit_NC.softmax(-1) for name, logit_NC in prediction.intent_logit.items()}
        item_ND, p = self.conditioned(prediction.h_ND, p, class_N)
        own, near = prediction.own_NL, prediction.neighbours
        if self.neighbours is not None and near is not None:
            value_NWK = near.value_NL.unflatten(1, (SOURCES, -1)) * self.neighbours(item_ND).unsqueeze(-1)
            near = LogitBias(near.title_NL, value_NWK.flatten(1))
        return replace(
            prediction,
            h_ND=self.user_vectors(item_ND, p),
            bias_NL=None if own is None else self.own_title_biases.bias(item_ND, p, own),
            own_NL=None,
            neighbours=near,
        )

    def conditioned(self, item_ND: Tensor, p: dict[str, Tensor], class_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """E^item and the distributions by intent (N, C), if the next class of the lead intent is certain.

        Args:
            item_ND: E^item.
            p: distributions (N, C) by intent.
            class_N: as of `given`.
        """
        known_N1 = (class_N >= 0).unsqueeze(-1)
        place_N = class_N.clamp(min=0)
        item_ND = item_ND * (1 + self.scale[place_N] * known_N1) + self.shift[place_N] * known_N1
        return item_ND, {**p, self.spec.lead_intent: F.one_hot(place_N, self.classes).to(item_ND) * known_N1}

    def prediction_loss(
        self, prediction: Prediction, batch: Batch, targets: TargetPositions, catalog: Items, settings: LossSettings
    ) -> LossParts:
        """Eq. 3 and 4, with the item conditioned on the class of its target."""
        class_N = targets.of(batch.label[self.spec.lead_intent])[:, 0]
        return super().prediction_loss(self.given(prediction, class_N), batch, targets, catalog, settings)

    def title_scores(self, prediction: Prediction, title_NL: Tensor, number_I: Tensor | None = None) -> "ClassMixture":
        """log p(i | h) of candidates; arguments as of `Prediction.logit_bias`."""
        log_p_NK, class_NK = self.likely_classes(prediction.intent_logit)
        return ClassMixture(self, prediction, title_NL, number_I, log_p_NK, class_NK)

    def likely_classes(self, intent_logit: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """log p(a | h), the likeliest class first, and these classes: (N, K) each.

        It is minus infinity for the classes that are left out.

        Args:
            intent_logit: logits (N, C) by intent.
        """
        log_p_NC = intent_logit[self.spec.lead_intent].float().log_softmax(-1)
        log_p_NK, class_NK = log_p_NC.sort(dim=-1, descending=True, stable=True)
        before_NK = log_p_NK.exp().cumsum(-1) - log_p_NK.exp()
        return log_p_NK.masked_fill(before_NK >= MASS, -torch.inf), class_NK


@dataclass(frozen=True)
class ClassMixture:
    """Scores log of the sum over classes of p(a | h) p(i | a, h), over the candidates of one list.

    Attributes:
        model: predicts the item given a class.
        prediction: after N positions.
        title_NL: the titles at the rows' positions, as numbers of candidates.
        number_I: as of `Prediction.logit_bias`.
        log_p_NK: log p(a | h), the likeliest class first; minus infinity where a class is left out.
        class_NK: these classes.
    """

    model: ItemGivenIntent
    prediction: Prediction
    title_NL: Tensor
    number_I: Tensor | None
    log_p_NK: Tensor
    class_NK: Tensor

    def __len__(self) -> int:
        """N."""
        return len(self.log_p_NK)

    def part(self, some: slice | Tensor) -> "ClassMixture":
        """Of some of the positions."""
        return replace(
            self,
            prediction=_part(self.prediction, some),
            title_NL=self.title_NL[some],
            log_p_NK=self.log_p_NK[some],
            class_NK=self.class_NK[some],
        )

    def of(self, item_ID: Tensor) -> Tensor:
        """log p(i | h) of all candidates (N, I)."""
        score_NI = torch.full((len(self), len(item_ID)), -torch.inf, device=item_ID.device)
        for log_p_N, class_N in zip(self.log_p_NK.T, self.class_NK.T, strict=True):
            if torch.isinf(log_p_N).all():  # also of all classes after it
                break
            _, logit_NI = self.given(class_N, item_ID)
            score_NI = torch.logaddexp(score_NI, logit_NI.log_softmax(-1) + log_p_N[:, None])
        return score_NI

    def given(self, class_N: Tensor, item_ID: Tensor) -> tuple[Prediction, Tensor]:
        """The prediction given a class after each position, and its logits of all candidates (N, I)."""
        given = self.model.given(self.prediction, class_N)
        return given, logits(given.h_ND, item_ID, given.logit_bias(self.title_NL, self.number_I)).float()


def _part(value: Any, some: slice | Tensor) -> Any:
    """Some of the N positions of a prediction, or of what stands in it."""
    if isinstance(value, Tensor):
        return value[some]
    if isinstance(value, dict):
        return {name: _part(each, some) for name, each in value.items()}
    if isinstance(value, OwnTitles):
        return value.part(some)
    if isinstance(value, Prediction | LogitBias):
        return replace(value, **{field.name: _part(getattr(value, field.name), some) for field in fields(value)})
    return value
