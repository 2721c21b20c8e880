"""The control of V4 whose classes mean nothing: a mixture of as many classes that it finds for itself.

    p(i | h) = sum over c of p(c | h) p(i | c, h)        c: latent classes, as many as the lead intent has

The network and its parameters are V4's. Only the loss differs: it is minus log p(i | h) of the true title, without a
label of the lead intent. What V4 gains over this control is due to what its classes mean.

Shape suffixes: N targets, I titles, C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.model.features import Batch, Items, TargetPositions
from intentrec.model.item_given_intent import ItemGivenIntent
from intentrec.model.loss import LossParts, LossSettings, intent_loss, next_session
from intentrec.model.network import Prediction
from intentrec.model.scores import logits
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST, Vocabulary

START = 0.1  # standard deviation of the classes' shifts, before anything is learned


class LatentMixture(ItemGivenIntent):
    """The model of a spec and a vocabulary."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary)
        nn.init.normal_(self.shift, std=START)  # equal classes would learn the same

    def prediction_loss(
        self, prediction: Prediction, batch: Batch, targets: TargetPositions, catalog: Items, settings: LossSettings
    ) -> LossParts:
        """Eq. 3 and 4, with the mixture's own item loss. The lead intent has no loss, now or in the next session."""
        weight_N = self.weight(batch, targets)
        log_p_N = self._log_p(prediction, batch, targets, catalog)
        sums, weights = {"item": -(weight_N * log_p_N).sum()}, {"item": weight_N.sum()}
        first_N, _ = targets.next_sessions(batch)
        tasks = [(name, logit_NC, name, weight_N) for name, logit_NC in prediction.intent_logit.items()]
        tasks += [
            (next_session(name), logit_NC, name, weight_N * first_N)
            for name, logit_NC in prediction.session_logit.items()
        ]
        for task, logit_NC, intent, counted_N in tasks:
            known = intent != self.spec.lead_intent
            sums[task], weights[task] = intent_loss(logit_NC, targets.of(batch.label[intent]), counted_N * known)
        return LossParts(sums, weights, self.spec.intent_weight, self.spec.lead_intent)

    def _log_p(self, prediction: Prediction, batch: Batch, targets: TargetPositions, catalog: Items) -> Tensor:
        """log p(i | h) of the true titles (N,)."""
        title_NL = batch.title_BL[targets.row_N] - FIRST
        title_N, week_N = targets.of(batch.title_BL) - FIRST, targets.of(batch.week_BL)
        item_ID = self.item_vectors(catalog)
        log_p_NC = []
        for latent in range(self.classes):
            given = self.given(prediction, torch.full_like(title_N, latent))
            logit_bias, log_p_N = given.logit_bias(title_NL), torch.zeros_like(given.h_ND[:, 0])
            for some, one in self.by_week(week_N, catalog):
                biased = None if logit_bias is None else logit_bias.part(some)
                logit_NI = logits(given.h_ND[some], one.in_week(item_ID), biased)
                log_p_N[some] = -F.cross_entropy(logit_NI, title_N[some], reduction="none")
            log_p_NC.append(log_p_N)
        return (torch.stack(log_p_NC, -1) + prediction.intent_logit[self.spec.lead_intent].log_softmax(-1)).logsumexp(
            -1
        )
