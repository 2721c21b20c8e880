"""Eq. 3 and 4: duration-weighted cross-entropy of the next item and of the next intents.

The softmax over the catalogue takes memory that does not grow as positions x titles, over the whole catalogue or over a
sample of it. It computes in float32 at least, also where the vectors come from a half-precision model.

Shape suffixes: N predicted positions, D width, I titles, J titles of a tile, L titles with a logit bias, S titles
drawn, U distinct titles drawn, C classes of an intent, G true labels of one position.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from intentrec.model.features import Items
from intentrec.model.logit_bias import LogitBias
from intentrec.model.scores import logits

# Logits computed at once: on a CPU as many as its cache holds, on a GPU enough work for each kernel.
CELLS = {"cpu": 2**19, "cuda": 2**27}
# A tile has all titles if that leaves room for MIN_ROWS positions, else ROWS positions and some of the titles.
MIN_ROWS, ROWS = 16, 256
BLOCK = 2**17  # titles whose tower is computed at once


@dataclass(frozen=True)
class LossSettings:
    """How the loss of the next item is computed."""

    cells: int | None = (
        None  # logits (positions x titles) that exist at once, at most; by default what suits the device
    )
    sampled: int = 0  # 0: softmax over the whole catalogue; n > 0: over n titles that all positions share
    proposal: Tensor | None = None  # (I,) chance of each title to be drawn, need not add up to 1; by default all equal


@dataclass(frozen=True)
class LossParts:
    """Numerator (weighted losses) and denominator (weights) of Eq. 3 per task: "item", each intent, and each intent of
    the next session where the model predicts it.

    All are scalars. Those of several batches or processes may be added up; the result is the loss of all of them as one
    batch. The weights have no gradient.
    """

    sums: dict[str, Tensor]
    weights: dict[str, Tensor]
    intent_weight: float  # lambda of Eq. 4
    lead_intent: str = ""  # its losses have the weight 1 instead of lambda; conditional variants only

    def means(self, totals: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Eq. 3 per task: each sum divided by its weight, or by the weight of all processes in `totals`.

        A task with weight 0 has the loss 0.
        """
        by = totals or self.weights
        return {
            name: value / by[name].to(value).clamp(min=torch.finfo(value.dtype).tiny)
            for name, value in self.sums.items()
        }

    def loss(self, totals: Mapping[str, Tensor] | None = None) -> Tensor:
        """Eq. 4. With `totals` it is this process's share, and the gradients must be summed over processes."""
        means = self.means(totals)
        item = means.pop("item")
        for name in (self.lead_intent, next_session(self.lead_intent)):
            item = item + means.pop(name, torch.zeros_like(item))
        return item + self.intent_weight * sum(means.values(), torch.zeros_like(item))


def next_session(intent: str) -> str:
    """Name of the task that predicts an intent of the next session."""
    return f"next_session_{intent}"


def intent_loss(logit_NC: Tensor, label_NG: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 3 for an intent: the weighted sum of minus log p over all true labels, and the sum of the weights.

    All true labels are positives, and there are no negatives (§3.4). With a softmax the labels compete, so positives
    are enough; sigmoids would all go to 1. A position without a label (all -1) does not count.
    """
    present_NG = label_NG >= 0
    log_p_NG = wide(logit_NC).log_softmax(-1).gather(-1, label_NG.clamp(min=0))
    loss_N = -(log_p_NG * present_NG).sum(-1)
    counted_N = weight_N * present_NG.any(-1)
    return (counted_N * loss_N).sum(), counted_N.sum()


def item_loss(
    h_ND: Tensor,
    item_ID: Tensor,
    title_N: Tensor,
    weight_N: Tensor,
    cells: int | None = None,
    logit_bias: LogitBias | None = None,
) -> Tensor:
    """The weighted sum of Eq. 3 for the next item, over all titles.

    Equals the weighted sum of `F.cross_entropy(logits(h_ND, item_ID, logit_bias), title_N, reduction="none")`, in value
    and in gradient, but no more than `cells` logits exist at once. `F.linear_cross_entropy` takes no logit bias.
    Without one, a CPU training step with it in chunks took 10 to 13 % longer at 1,000 titles (22 % with two threads)
    and 19 % at 3,000 (`lab.benchmarks.step`).

    Args:
        h_ND: user vectors.
        item_ID: output vectors of the whole catalogue.
        title_N: the true titles, as rows of `item_ID`.
        weight_N: not negative; a weight of zero gives a gradient of zero.
        cells: positions x titles of a tile, at most; by default what suits the device.
        logit_bias: of titles, as rows of `item_ID`.
    """
    cells = cells or CELLS[h_ND.device.type]
    biased, value_NL = (None, None) if logit_bias is None else (logit_bias.title_NL, wide(logit_bias.value_NL))
    with torch.autocast(h_ND.device.type, enabled=False):
        return _TiledCrossEntropy.apply(
            wide(h_ND), wide(item_ID), value_NL, biased, title_N, weight_N, cells, torch.is_grad_enabled()
        )


class _TiledCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass over tiles. No logit is kept for the backward pass.

    The gradient of a logit is w (p - y). The tiles add w p, and the true titles subtract w y at the end.
    """

    @staticmethod
    def forward(ctx, h_ND, item_ID, value_NL, biased_NL, title_N, weight_N, cells, with_gradient):  # type: ignore[no-untyped-def]
        rows, tiles = _tiles(len(item_ID), cells)
        whole = len(tiles) == 1
        logit_bias = None if value_NL is None else LogitBias(biased_NL, value_NL)
        loss = h_ND.new_zeros(())
        gradients = [
            torch.zeros_like(each) if with_gradient and each is not None else None for each in (h_ND, item_ID, value_NL)
        ]
        grad_ND, grad_ID, grad_NL = gradients
        for part in _slices(len(h_ND), rows):
            h, weight, some = h_ND[part], weight_N[part], None if logit_bias is None else logit_bias.part(part)
            if whole:
                logit_NI = logits(h, item_ID, some)
                wp_NJ = logit_NI.softmax(-1)
                log_norm = logit_NI.amax(-1) - wp_NJ.amax(-1).log()
                wp_NJ.mul_(weight[:, None])
            else:
                log_norm = _log_norm(h, item_ID, tiles, some)
            true = (h * item_ID[title_N[part]]).sum(-1)
            loss += weight @ (log_norm - (true if some is None else true + some.of(title_N[part])))
            if grad_ND is None or grad_ID is None:
                continue
            for tile in tiles:
                here = None if some is None else some.within(tile.start, tile.stop)
                if not whole:  # computing the logits again is cheaper than keeping them
                    wp_NJ = (logits(h, item_ID[tile], here) + (weight.log() - log_norm)[:, None]).exp_()
                grad_ND[part].addmm_(wp_NJ, item_ID[tile])
                grad_ID[tile].addmm_(wp_NJ.T, h)
                if here is not None and grad_NL is not None:
                    grad_NL[part] += here.gradient(wp_NJ)
        if grad_ND is not None and grad_ID is not None:
            grad_ND.addcmul_(item_ID[title_N], weight_N[:, None], value=-1)
            grad_ID.index_add_(0, title_N, h_ND * weight_N[:, None], alpha=-1)
            if grad_NL is not None:
                grad_NL -= weight_N[:, None] * (biased_NL == title_N[:, None])
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        found = [None if each is None else grad_loss * each for each in ctx.saved_tensors]
        return (*found, None, None, None, None, None)


def draw(n: int, proposal_I: Tensor) -> tuple[Tensor, Tensor]:
    """Draw `n` of the titles with replacement, by a proposal that need not add up to 1.

    Returns:
        The titles drawn, each once (U,), and what to add to their logits (U,): log of how often each was drawn minus
        log of how often it was expected. The sum of exp(logit + this) then estimates the sum over the catalogue
        without bias for any proposal (the logQ correction; Bengio and Senécal, 2008).
    """
    below_I = proposal_I.double().cumsum(0)
    place_S = torch.rand(n, dtype=torch.double, device=below_I.device) * below_I[-1]
    drawn_U, count_U = torch.searchsorted(below_I, place_S, right=True).unique(return_counts=True)
    expected_U = n * proposal_I[drawn_U].double() / below_I[-1]
    return drawn_U, (count_U / expected_U).log().float()


def sampled_item_loss(
    h_ND: Tensor,
    vectors: Callable[[Tensor], Tensor],
    title_N: Tensor,
    weight_N: Tensor,
    drawn: tuple[Tensor, Tensor],
    cells: int | None = None,
    logit_bias: LogitBias | None = None,
) -> Tensor:
    """The weighted sum of Eq. 3 for the next item, over the true title and a sample of the others.

    Where a drawn title is the position's true one, it is left out, so that it counts once. Vectors are made of true and
    drawn titles only.

    Args:
        h_ND: user vectors.
        vectors: output vectors of the titles with these numbers.
        title_N: the true titles' numbers.
        weight_N: not negative.
        drawn: what `draw` returns.
        cells: positions x titles drawn that exist at once, at most; by default what suits the device.
        logit_bias: of titles, by number.
    """
    drawn_U, log_q_U = drawn
    rows = max(1, (cells or CELLS[h_ND.device.type]) // (1 + len(drawn_U)))
    true_ND, item_UD = wide(vectors(title_N)), wide(vectors(drawn_U))

    def part(h: Tensor, true: Tensor, title: Tensor, weight: Tensor, *biased: Tensor) -> Tensor:
        mine, others = None, None
        if biased:
            place_NL = torch.searchsorted(drawn_U, biased[0]).clamp(max=len(drawn_U) - 1)
            place_NL = torch.where(drawn_U[place_NL] == biased[0], place_NL, -1)
            mine, others = LogitBias(*biased).of(title), LogitBias(place_NL, biased[1])
        true_N = (h * true).sum(-1) if mine is None else (h * true).sum(-1) + mine
        other_NU = (logits(h, item_UD, others) + log_q_U).masked_fill(title[:, None] == drawn_U, -torch.inf)
        logit = torch.cat([true_N[:, None], other_NU], -1)
        return weight @ F.cross_entropy(logit, torch.zeros_like(title), reduction="none")

    with torch.autocast(h_ND.device.type, enabled=False):
        h_ND = wide(h_ND)
        loss = h_ND.new_zeros(())
        for some in _slices(len(h_ND), rows):
            inputs = [h_ND[some], true_ND[some], title_N[some], weight_N[some]]
            if logit_bias is not None:
                inputs += [logit_bias.title_NL[some], wide(logit_bias.value_NL[some])]
            loss = loss + checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)
    return loss


def in_blocks(vectors: Callable[[Items], Tensor], items: Items, titles: int = BLOCK) -> Tensor:
    """`vectors(items)`, computed some titles at a time, and again for the gradient, to save memory: (I, D).

    Args:
        vectors: output vectors of titles.
        items: the titles.
        titles: computed at once.
    """
    if len(items.title_I) <= titles:
        return vectors(items)
    blocks = [items.map(itemgetter(block)) for block in _slices(len(items.title_I), titles)]
    return torch.cat([checkpoint(vectors, each, use_reentrant=False, preserve_rng_state=False) for each in blocks])


def _tiles(titles: int, cells: int) -> tuple[int, list[slice]]:
    """Positions of a tile, and the titles of each tile (see MIN_ROWS)."""
    rows = cells // titles
    if rows < MIN_ROWS:
        rows = min(ROWS, cells)
    return rows, list(_slices(titles, cells // rows))


def _log_norm(h_ND: Tensor, item_ID: Tensor, tiles: list[slice], logit_bias: LogitBias | None) -> Tensor:
    """log of the sum of exp(logit) over the catalogue: (N,)."""
    log_norm_N = h_ND.new_full((len(h_ND),), -torch.inf)
    for tile in tiles:
        here = None if logit_bias is None else logit_bias.within(tile.start, tile.stop)
        log_norm_N = torch.logaddexp(log_norm_N, logits(h_ND, item_ID[tile], here).logsumexp(-1))
    return log_norm_N


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(begin, begin + size) for begin in range(0, n, size))


def wide(value: Tensor) -> Tensor:
    """In float32 at least."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
