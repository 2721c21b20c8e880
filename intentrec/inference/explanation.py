"""What the scores of one user's titles are made of, recomputed with the model from the row that was scored.

A logit is a sum. Each part of the model gives one number to it: the dot product of the vectors (`vectors`), further
channels of the vectors, and the logit biases. Parts have the names of `model.spec.ModelSpec`. A score of V0 to V3 is a
logit. V4 predicts a logit per class a of the lead intent, and its score is

    log of the sum over a of exp(log_weight_a + logit_a)

where log_weight_a is log p(a | h) minus the log of the sum of exp(logit_a) over the titles on offer. The leading class
of a title holds the largest share of the sum over classes. The score is the logit given the leading class, plus its
`log_weight`, plus what the `other_classes` add: minus the log of the share.

Shape suffixes: K classes of the lead intent, one for a variant without; L positions of the row, I titles on offer, D
width of E^item, C classes of an intent or channels of a part, W last interactions, J neighbours of a title.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import cast

import torch
from torch import Tensor

from intentrec.inference.lists import indices
from intentrec.inference.predictor import ItemIndex, Predictor
from intentrec.model.arrow import Rows, flat
from intentrec.model.features import Batch
from intentrec.model.intentrec import IntentRec
from intentrec.model.item_given_intent import ItemGivenIntent
from intentrec.model.logit_bias import SOURCES, LogitBias
from intentrec.model.network import Output
from intentrec.model.own_titles import OwnTitles

NEIGHBOURS = "neighbours"
LOG_WEIGHT, OTHER_CLASSES = "log_weight", "other_classes"  # parts of a score of V4, beside those of the logit


@dataclass(frozen=True)
class Neighbour:
    """A logit bias that a title has because it is often engaged near a title of the history.

    Attributes:
        title_id: the title of the history.
        ago: how many interactions ago it was; 0 is the last one.
        bias: part of the title's `neighbours`.
    """

    title_id: str
    ago: int
    bias: float


@dataclass(frozen=True)
class TitleScore:
    """One title's score.

    Attributes:
        title_id: the title.
        score: as in `recommendations`.
        logit: parts of the logit, given the leading class where there are classes.
        beside: further parts of the score: LOG_WEIGHT and OTHER_CLASSES, empty for a variant without classes.
        shares: share of each class in exp(score), the likeliest class first; empty for a variant without classes.
        neighbours: what the history's neighbours gave to the logit, the latest interaction first.
    """

    title_id: str
    score: float
    logit: dict[str, float]
    beside: dict[str, float]
    shares: dict[str, float]
    neighbours: list[Neighbour]

    @property
    def leading(self) -> str | None:
        """The class that holds the largest share."""
        return max(self.shares, key=self.shares.__getitem__) if self.shares else None


@dataclass(frozen=True)
class Explanation:
    """What a model says about one user.

    Attributes:
        intents: probability of each label by intent.
        attention: weight by intent; empty for a variant without an intent mixture.
        titles: in the order that was asked for.
    """

    intents: dict[str, dict[str, float]]
    attention: dict[str, float]
    titles: list[TitleScore]


@dataclass(frozen=True)
class _Ends:
    """The end of the row, once for each class that is summed.

    Attributes:
        batch: the row.
        row_K: its number, which is 0.
        last_K: its last position.
        labels: names of the classes; empty for a variant without.
        log_p_K: log p(a | h); 0 for a variant without classes.
        item_KD: E^item given the class.
        p: distribution of each intent (K, C) given the class.
        own: facts about the user's own titles; None where no part needs them.
    """

    batch: Batch
    row_K: Tensor
    last_K: Tensor
    labels: list[str]
    log_p_K: Tensor
    item_KD: Tensor
    p: dict[str, Tensor]
    own: OwnTitles | None


@torch.inference_mode()
def explain(predictor: Predictor, items: ItemIndex, row: Rows, title_ids: Sequence[str]) -> Explanation:
    """Explain the scores of some titles.

    Args:
        predictor: an IntentRec of any variant.
        items: titles as of the date for which the user was scored.
        row: of `sequences`, the one of the user.
        title_ids: titles on offer.

    Raises:
        ValueError: there is another number of rows than one, or a title is not on offer.
    """
    if len(row) != 1:
        raise ValueError(f"one row of sequences is needed, got {len(row)}")
    offered, model = items.only_eligible(), cast(IntentRec, predictor.model)
    place_of = {title: place for place, title in enumerate(offered.title_ids.to_pylist())}
    if absent := [title for title in title_ids if title not in place_of]:
        raise ValueError(f"not on offer: {', '.join(absent)}")
    encoded = predictor.encoder.encode(row)
    batch, last = encoded.pad(torch.arange(1)), int(encoded.lengths[0]) - 1
    output, p, own = model.encoded(batch)
    logit = {name: each[:, last] for name, each in output.intent_logit.items()}
    if model.next_session is not None and output.intent_BLD is not None:
        row_N, moment_N = torch.zeros(1, dtype=torch.long), torch.tensor([items.session_at])
        logit = model.next_session(output.intent_BLD, batch, row_N, torch.tensor([last]), moment_N)
    ends = _ends(model, batch, last, (output, p, own), logit, predictor.labels)
    attention = [] if output.attention_BLM is None else output.attention_BLM[0, last].tolist()
    return Explanation(
        {
            name: dict(zip(labels, logit[name][0].softmax(-1).tolist(), strict=True))
            for name, labels in predictor.labels.items()
        },
        dict(zip(predictor.labels, attention, strict=False)),
        _titles(predictor, ends, offered, row, {title: place_of[title] for title in title_ids}),
    )


def _ends(
    model: IntentRec,
    batch: Batch,
    last: int,
    encoded: tuple[Output, dict[str, Tensor], OwnTitles | None],
    logit: dict[str, Tensor],
    labels: Mapping[str, Sequence[str]],
) -> _Ends:
    """What `IntentRec.encoded` returned, at the last position of the row, given each class.

    The logits (1, C) are those of the intents of the next session.
    """
    output, p, own = encoded
    item_KD, p = output.item_BLD[:, last], {name: p_BLC[:, last] for name, p_BLC in p.items()}
    names: list[str] = []
    log_p_K = torch.zeros(1)
    if isinstance(model, ItemGivenIntent):
        p = {name: logit_1C.softmax(-1) for name, logit_1C in logit.items()}
        log_p_1K, class_1K = model.likely_classes(logit)
        kept_1K = torch.isfinite(log_p_1K)
        log_p_K, class_K = log_p_1K[kept_1K], class_1K[kept_1K]
        several = {name: p_1C.expand(len(class_K), -1) for name, p_1C in p.items()}
        item_KD, p = model.conditioned(item_KD.expand(len(class_K), -1), several, class_K)
        names = [labels[model.spec.lead_intent][place] for place in class_K.tolist()]
    row_K = torch.zeros(len(item_KD), dtype=torch.long)
    last_K = torch.full_like(row_K, last)
    own = None if own is None else own.at(row_K, last_K)
    return _Ends(batch, row_K, last_K, names, log_p_K, item_KD, p, own)


def _titles(
    predictor: Predictor, ends: _Ends, offered: ItemIndex, row: Rows, place_of: Mapping[str, int]
) -> list[TitleScore]:
    """The scores of titles on offer, by their places."""
    model, history = cast(IntentRec, predictor.model), flat(row, "title_id")
    near = _neighbours(model, ends, predictor.places(offered))
    parts = _logit_parts(model, ends, offered, indices(history, offered.title_ids), near)
    logit_KI = reduce(torch.add, parts.values())
    log_weight_K = ends.log_p_K - logit_KI.logsumexp(-1) if ends.labels else ends.log_p_K
    joint_KI = logit_KI + log_weight_K[:, None]
    score_I = joint_KI.logsumexp(0)
    found = []
    for title, i in place_of.items():
        k = int(joint_KI[:, i].argmax())
        beside, shares = {}, {}
        if ends.labels:
            beside = {LOG_WEIGHT: float(log_weight_K[k]), OTHER_CLASSES: float(score_I[i] - joint_KI[k, i])}
            shares = dict(zip(ends.labels, (joint_KI[:, i] - score_I[i]).exp().tolist(), strict=True))
        logit = {name: float(value_KI[k, i]) for name, value_KI in parts.items()}
        sources = [] if near is None else _sources(near, k, i, history.to_pylist())
        found.append(TitleScore(title, float(score_I[i]), logit, beside, shares, sources))
    return found


def _neighbours(model: IntentRec, ends: _Ends, number_I: Tensor | None) -> LogitBias | None:
    """Logit biases (K, W x J) of titles on offer near the last interactions, the latest first."""
    if model.neighbours is None or number_I is None:
        return None
    weight_KW = model.neighbours(ends.item_KD)
    return model.neighbours.logit_bias(weight_KW, ends.batch.title_BL, ends.row_K, ends.last_K).renumbered(number_I)


def _logit_parts(
    model: IntentRec, ends: _Ends, offered: ItemIndex, title_L: Tensor, near: LogitBias | None
) -> dict[str, Tensor]:
    """What each part gives to the logit of every title on offer: (K, I) by the part's name.

    Args:
        model: gives the parts.
        ends: what they are computed from.
        offered: the titles.
        title_L: the titles of the row by their place among those on offer, -1 where absent.
        near: what `_neighbours` returns.
    """
    channels = model.user_channels(ends.item_KD, ends.p)
    item_vectors = offered.vectors.split([user.shape[-1] for user in channels.values()], -1)
    parts = {name: user_KC @ item_IC.T for (name, user_KC), item_IC in zip(channels.items(), item_vectors, strict=True)}
    nothing_KI = torch.zeros(len(ends.item_KD), len(offered.vectors))
    biases: dict[str, LogitBias] = {} if near is None else {NEIGHBOURS: near}
    if ends.own is not None:
        title_KL = title_L.expand(len(ends.item_KD), -1)
        for name, value_KL in model.own_title_biases.parts(ends.item_KD, ends.p, ends.own).items():
            biases[name] = LogitBias(title_KL, value_KL * ends.own.is_last)
    for name, bias in biases.items():
        parts[name] = bias.add_to(parts.get(name, nothing_KI).clone())
    return parts


def _sources(near: LogitBias, k: int, title: int, history: Sequence[str]) -> list[Neighbour]:
    """The interactions whose neighbour a title on offer is, given class k."""
    is_it_WJ = (near.title_NL[k] == title).unflatten(0, (SOURCES, -1))
    bias_W = (near.value_NL[k].unflatten(0, (SOURCES, -1)) * is_it_WJ).sum(-1)
    return [Neighbour(history[-1 - ago], ago, float(bias_W[ago])) for ago in bias_W.nonzero()[:, 0].tolist()]
