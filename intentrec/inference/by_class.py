"""What a conditional variant predicts for each class of its lead intent: vectors, logit biases and a list of titles.

    score of a title = log of the sum over a user's classes of exp(log_weight + logit given the class)

Shape suffixes: N users of a batch, R pairs of a user and a class, E width of user and item vectors, I candidate titles,
L titles with a logit bias, K length of a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from intentrec.inference.columns import float_lists, lists_of, logit_bias_maps
from intentrec.inference.lists import Lists, best_titles
from intentrec.model.item_given_intent import ClassMixture
from intentrec.model.logit_bias import LogitBias

BY_CLASS = pa.list_(
    pa.struct(
        [
            ("label", pa.string()),
            ("probability", pa.float32()),
            ("log_weight", pa.float32()),
            ("vector", pa.list_(pa.float32())),
            ("logit_bias", pa.map_(pa.string(), pa.float32())),
            ("title_ids", pa.list_(pa.string())),
            ("scores", pa.list_(pa.float32())),
        ]
    )
)


@dataclass(frozen=True)
class ByClass:
    """R pairs of a user and a class, the likeliest class of each user first.

    Attributes:
        user_R: number of the user in the batch.
        class_R: the class.
        log_p_R: log p(a | h).
        log_weight_R: log p(a | h) minus the log of the sum of exp(logit) over the candidates.
        vector_RE: user vector given the class.
        logit_bias: of candidates, given the class.
        title_RK: the class's list as places among the candidates.
        score_RK: log p(i | a, h) of these; minus infinity fills up a short list.
    """

    user_R: Tensor
    class_R: Tensor
    log_p_R: Tensor
    log_weight_R: Tensor
    vector_RE: Tensor
    logit_bias: LogitBias
    title_RK: Tensor
    score_RK: Tensor


def by_class(
    scores: ClassMixture, item_IE: Tensor, seen_NI: Tensor | None, lists: Lists, top_k: int, listed: int
) -> tuple[Tensor, ByClass]:
    """The scores of all candidates (N, I), as `ClassMixture.of` gives them, and what they are made of.

    Args:
        scores: of N users.
        item_IE: output vectors of the candidates.
        seen_NI: which of them each user has seen; None only where `lists` is `all`.
        lists: which titles a list may hold.
        top_k: length of a list.
        listed: so many classes of each user, the likeliest, have a list.
    """
    score_NI = torch.full((len(scores), len(item_IE)), -torch.inf)
    score_NK, title_NK = score_NI[:, :0], scores.class_NK[:, :0]
    found: list[ByClass] = []
    for place, (log_p_N, class_N) in enumerate(zip(scores.log_p_NK.T, scores.class_NK.T, strict=True)):
        kept_N = torch.isfinite(log_p_N)
        if not kept_N.any():
            break
        given, logit_NI = scores.given(class_N, item_IE)
        log_norm_N = logit_NI.logsumexp(-1)
        log_i_NI = logit_NI - log_norm_N[:, None]
        score_NI = torch.logaddexp(score_NI, log_i_NI + log_p_N[:, None])
        if place < listed:
            score_NK, title_NK = best_titles(log_i_NI, seen_NI, lists, top_k)
        else:
            score_NK = torch.full_like(score_NK, -torch.inf)
        bias = given.logit_bias(scores.title_NL, scores.number_I)
        bias = bias or LogitBias(scores.title_NL[:, :0], given.h_ND[:, :0])
        user_R = kept_N.nonzero()[:, 0]
        found.append(
            ByClass(
                user_R,
                class_N[user_R],
                log_p_N[user_R],
                (log_p_N - log_norm_N)[user_R],
                given.h_ND[user_R],
                bias.part(user_R),
                title_NK[user_R],
                score_NK[user_R],
            )
        )
    return score_NI, _joined(found)


def _joined(found: Sequence[ByClass]) -> ByClass:
    """All pairs, sorted by user; of a user the likeliest class comes first, as in `found`."""
    user_R = torch.cat([each.user_R for each in found])
    order_R = user_R.argsort(stable=True)

    def chosen(name: str) -> Tensor:
        return torch.cat([getattr(each, name) for each in found])[order_R]

    titles = torch.cat([each.logit_bias.title_NL for each in found])[order_R]
    values = torch.cat([each.logit_bias.value_NL for each in found])[order_R]
    return ByClass(
        user_R[order_R],
        chosen("class_R"),
        chosen("log_p_R"),
        chosen("log_weight_R"),
        chosen("vector_RE"),
        LogitBias(titles, values),
        chosen("title_RK"),
        chosen("score_RK"),
    )


def column(found: ByClass, users: int, labels: Sequence[str], offered: pa.Array) -> pa.Array:
    """A list of classes per user, of type BY_CLASS.

    Args:
        found: of one batch.
        users: number of users in it.
        labels: names of the classes.
        offered: ids of the candidates.
    """
    kept_RK = torch.isfinite(found.score_RK)
    title_ids = offered.take(pa.array(found.title_RK[kept_RK].numpy()))
    length_R = kept_RK.sum(-1)
    columns = [
        pa.array(np.array(labels, dtype=object)[found.class_R.numpy()], pa.string()),
        pa.array(found.log_p_R.exp().numpy(), pa.float32()),
        pa.array(found.log_weight_R.numpy(), pa.float32()),
        float_lists(found.vector_RE),
        logit_bias_maps(found.logit_bias, offered),
        lists_of(length_R, title_ids),
        lists_of(length_R, pa.array(found.score_RK[kept_RK].numpy(), pa.float32())),
    ]
    fields = list(BY_CLASS.value_type)
    arrays = [each.cast(field.type) for each, field in zip(columns, fields, strict=True)]
    structs = pa.StructArray.from_arrays(arrays, fields=fields)
    count_N = torch.bincount(found.user_R, minlength=users)
    return lists_of(count_N, structs)
