"""The work per batch: a step of the optimiser (AdamW with warm-up and cosine), or predictions for validation.

Every process has its share of each batch. Sums and gradients are added up over all processes.

Shape suffixes: N targets, D width, I titles.
"""

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from intentrec.config import Training
from intentrec.model.features import Batch, Encoded, Items
from intentrec.model.loss import LossParts, LossSettings, next_session
from intentrec.model.network import Network
from intentrec.model.scores import ranks
from intentrec.model.vocabulary import FIRST
from intentrec.training.batches import batches
from intentrec.training.distributed import add_up, rank, share

CLIP = 1.0
SCORE_TOKENS = 2**14  # positions scored at once
SCORE_CELLS = 2**25  # positions x titles ranked at once, at most


def tasks(model: Network) -> list[str]:
    """The tasks of Eq. 4, as `LossParts` names them."""
    intents = [intent.name for intent in model.spec.intents]
    return ["item", *intents, *(next_session(name) for name in intents if model.spec.next_session)]


def loaded(encoded: Encoded, order: list[Tensor], hardware: torch.device) -> Iterator[Batch | None]:
    """This process's share of each batch on its device; None where a batch has fewer rows than there are processes.

    For a GPU the next batch is padded and copied while the GPU works on this one.
    """

    def load(rows: Tensor) -> Batch | None:
        mine = share(rows)
        if not len(mine):
            return None
        batch = encoded.pad(mine)
        if hardware.type == "cpu":
            return batch
        return batch.map(lambda tensor: tensor.pin_memory().to(hardware, non_blocking=True))

    if hardware.type == "cpu" or not order:
        yield from map(load, order)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(load, order[0])
        for rows in order[1:]:
            ready, waiting = waiting.result(), pool.submit(load, rows)
            yield ready
        yield waiting.result()


def step(
    model: Network,
    optimizer: torch.optim.Optimizer,
    batch: Batch | None,
    catalog: Items,
    settings: LossSettings,
    half: bool,
    seed: str,
) -> Tensor:
    """One step of the optimiser on all processes' shares of a batch.

    Args:
        model: in training mode.
        optimizer: of its parameters.
        batch: this process's share, if it has one.
        catalog: the vocabulary's titles.
        settings: of the loss.
        half: whether matrices are multiplied in bfloat16.
        seed: text that decides all random numbers of this step, with the process's rank.

    Returns:
        The loss and its parts, in the order of `tasks`, as float64.
    """
    names = tasks(model)
    device_type = catalog.title_I.device.type
    torch.manual_seed(int.from_bytes(hashlib.blake2b(f"{seed} {rank()}".encode(), digest_size=8).digest()))
    optimizer.zero_grad(set_to_none=True)
    if batch is None:
        nothing = dict.fromkeys(names, torch.zeros((), device=catalog.title_I.device))
        parts = LossParts(nothing, nothing, model.spec.intent_weight, model.spec.lead_intent)
    else:
        with torch.autocast(device_type, torch.bfloat16, enabled=half):
            parts = model.loss(batch, catalog, settings)
    totals = {name: parts.weights[name].clone() for name in names}
    add_up(totals.values())
    loss = parts.loss(totals)
    if batch is not None:
        loss.backward()
    for parameter in model.parameters():
        # Every process must take part in the sum of each gradient.
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    add_up(parameter.grad for parameter in model.parameters() if parameter.grad is not None)
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    means = parts.means(totals)
    found = torch.stack([loss, *(means[name] for name in names)]).detach().double()
    add_up([found])
    return found


@torch.inference_mode()
def validate(model: Network, encoded: Encoded, catalog: Items, hardware: torch.device) -> dict[str, float]:
    """Losses (Eq. 3 and 4) and unweighted next-event MRR over the encoded targets, full catalogue.

    Args:
        model: is set to evaluation mode.
        encoded: rows with targets.
        catalog: the vocabulary's titles.
        hardware: device of the model.

    Returns:
        `loss`, a loss per task, and `mrr`.
    """
    model.eval()
    names = tasks(model)
    item_ID = model.item_vectors(catalog)
    chunk = max(1, SCORE_CELLS // len(item_ID))
    found = torch.zeros(2 + 2 * len(names), dtype=torch.float64, device=hardware)
    for batch in loaded(encoded, batches(encoded.lengths, SCORE_TOKENS), hardware):
        if batch is None:
            continue
        targets = batch.targets()
        prediction = model.before(batch, targets)
        scores = model.title_scores(prediction, batch.title_BL[targets.row_N] - FIRST)
        title_N, rank_N = (
            targets.of(batch.title_BL) - FIRST,
            torch.zeros(len(targets), dtype=torch.float64, device=hardware),
        )
        for some, one in model.by_week(targets.of(batch.week_BL), catalog):
            rank_N[some] = ranks(scores.part(some), one.in_week(item_ID), title_N[some], chunk)
        parts = model.prediction_loss(prediction, batch, targets, catalog, LossSettings())
        values = [(1 / rank_N).sum(), torch.ones_like(rank_N).sum()]
        values += [part[name].double() for part in (parts.sums, parts.weights) for name in names]
        found += torch.stack(values)
    add_up([found])
    reciprocal, n, *values = found
    sums, weights = (dict(zip(names, part, strict=True)) for part in (values[: len(names)], values[len(names) :]))
    whole = LossParts(sums, weights, model.spec.intent_weight, model.spec.lead_intent)
    losses = {name: float(value) for name, value in {"loss": whole.loss(), **whole.means()}.items()}
    return {**losses, "mrr": float(reciprocal / n)}


def optimizer_of(model: nn.Module, settings: Training) -> torch.optim.AdamW:
    """AdamW with weight decay on linear and recurrent layers only: not on embeddings, norms and biases."""
    decayed = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.RNNBase)
        for name, parameter in module.named_parameters(recurse=False)
        if name.startswith("weight")
    }
    groups = [
        {
            "params": [p for p in model.parameters() if (id(p) in decayed) == decay],
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for decay in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def learning_rate(done: float, peak: float, warmup: float) -> float:
    """Linear up to the peak, then a cosine down to 0.

    Args:
        done: share of the training at the middle of a step, in (0, 1).
        peak: the highest rate.
        warmup: share of the training in which it rises.
    """
    if done < warmup:
        return peak * done / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
