"""Hand-written parts of a training step against torch's own, on a CPU: `python -m lab.benchmarks.step`.

Three parts can be written by hand: dropout with fewer random bits, attention under a mask with a gradient, and the
softmax over the catalogue. The model keeps such a part only if torch's own makes a step more than 10 % longer. The
first two save less, so the model uses torch's; their code is here to be measured again. The softmax by hand stays in
`loss.item_loss`. On a shared machine with two cores and the settings of conf/streaming.yaml, torch's own took longer
by:

    part               1 thread, 1,000 titles   2 threads, 1,000   1 thread, 3,000   1 thread, long rows
    dropout                    2 to 4 %               3 %                4 %                3 %
    attention                  0 to 3 %               4 %                0 %                2 %
    softmax, chunked         10 to 13 %              22 %               19 %                7 %
    softmax, whole            3 to 7 %               13 %               23 %                3 %

The softmax without chunks holds all logits at once, so its memory grows as positions x titles.

A model with the part by hand and one with torch's make the same steps in turns, so that other load on the machine meets
both. The figure is the ratio of their least CPU seconds per step. Above 1, the part by hand is faster.

Sizes are those of the domain file, rows are random with geometric lengths.

Shape suffixes: N targets, D width, I titles, B rows, H heads, L positions, K width of a head.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from intentrec.config import ROOT, Domain, load_domain
from intentrec.model import network
from intentrec.model.features import Encoded, FeatureEncoder, Items
from intentrec.model.intentrec import IntentRec
from intentrec.model.logit_bias import LogitBias
from intentrec.model.loss import LossSettings
from intentrec.model.spec import ModelSpec
from intentrec.model.titles import titles_of
from intentrec.model.vocabulary import Tally, Vocabulary
from intentrec.training.batches import batches
from intentrec.training.settings import model_spec
from intentrec.training.steps import optimizer_of, step
from lab.benchmarks import rows
from lab.studies.study import NO_PARTS

CHUNKED = torch.nn.LinearCrossEntropyOptions()
_ATTENTION = F.scaled_dot_product_attention


def dropout_by_hand(module: nn.Dropout, x: Tensor) -> Tensor:
    """`nn.Dropout.forward` on a CPU by 15 random bits per number; torch draws 64."""
    if not module.training or not module.p:
        return x
    chance = torch.empty(x.shape, dtype=torch.int16).random_()  # uniform from 0 to 2^15 - 1
    return x * ((chance >= round(module.p * 2**15)).to(x.dtype) / (1 - module.p))


def attention_by_hand(q_HBLK: Tensor, k_HBLK: Tensor, v_HBLK: Tensor, mask_HBLL: Tensor) -> Tensor:
    """`F.scaled_dot_product_attention` in three operations; torch has no fused kernel for a mask with a gradient."""
    if not mask_HBLL.requires_grad:
        return _ATTENTION(q_HBLK, k_HBLK, v_HBLK, mask_HBLL)
    q, k, v, mask = (each.flatten(0, 1) for each in (q_HBLK * q_HBLK.shape[-1] ** -0.5, k_HBLK, v_HBLK, mask_HBLL))
    return torch.bmm(torch.baddbmm(mask, q, k.mT).softmax(-1), v).unflatten(0, mask_HBLL.shape[:2])


def torch_softmax(options: torch.nn.LinearCrossEntropyOptions | None) -> Callable[..., Tensor]:
    """`loss.item_loss` by torch's own function, in chunks or, without options, with all logits at once."""

    def item_loss(
        h_ND: Tensor,
        item_ID: Tensor,
        title_N: Tensor,
        weight_N: Tensor,
        cells: int | None = None,
        logit_bias: LogitBias | None = None,
    ) -> Tensor:
        assert logit_bias is None
        return weight_N @ F.linear_cross_entropy(h_ND, item_ID, title_N, reduction="none", options=options)

    return item_loss


@dataclass(frozen=True)
class Part:
    """A part of the step: contexts in which it is by hand, and in which it is torch's."""

    name: str
    by_hand: Callable[[], AbstractContextManager[Any]]
    by_torch: Callable[[], AbstractContextManager[Any]]
    history_path: bool = True  # whether the model has logit biases, which torch's softmax cannot take


PARTS = (
    Part("dropout", lambda: mock.patch.object(nn.Dropout, "forward", dropout_by_hand), nullcontext),
    Part("attention", lambda: mock.patch.object(F, "scaled_dot_product_attention", attention_by_hand), nullcontext),
    Part(
        "softmax, chunked", nullcontext, lambda: mock.patch.object(network, "item_loss", torch_softmax(CHUNKED)), False
    ),
    Part("softmax, whole", nullcontext, lambda: mock.patch.object(network, "item_loss", torch_softmax(None)), False),
)


def data_of(spec: ModelSpec, users: int, length: int, titles: int) -> tuple[Encoded, Items, Vocabulary]:
    """Random rows of geometric lengths, the catalogue, and the vocabulary of both.

    Args:
        spec: of the model.
        users: number of rows.
        length: mean interactions of a row.
        titles: of the catalogue.
    """
    rng = np.random.default_rng(0)
    length_B = rng.geometric(1 / (length - 1), users).clip(max=spec.length - 1) + 1
    offsets = np.concatenate([[0], length_B.cumsum()])
    names = pa.array([f"t{title:06d}" for title in range(titles)])
    n = int(offsets[-1])
    title_N = names.take(pa.array((titles * rng.random(n) ** 2).astype(int)))
    second_N = np.concatenate([rng.integers(1, 400_000, size).cumsum() for size in length_B])
    actions = pa.array(["discover", "resume", "next_episode", "explore"])
    genres = pa.ListArray.from_arrays(
        np.arange(n + 1, dtype=np.int32), pa.array(["drama", "comedy"]).take(pa.array(rng.integers(2, size=n)))
    )
    facts = {
        "action_type": actions.take(pa.array(rng.integers(4, size=n))),
        "genres": genres,
        "kind": pa.array(["film", "show"]).take(pa.array(rng.integers(2, size=n))),
        "duration_s": pa.array(rng.random(n) * 7200),
        "release_age_days": pa.array(rng.random(n) * 100),
    }
    starts = {}
    for h in spec.windows:
        seconds = 86_400 * int(h.removesuffix("d"))
        starts[h] = np.concatenate(
            [np.searchsorted(second_N[i:j], second_N[i:j] - seconds) for i, j in pairwise(offsets)]
        )
    table = rows.sequences(offsets, title_N, second_N, rows.START.date(), facts, starts)
    catalog = titles_of(rows.catalog(names.to_pylist()))
    tally = Tally(spec)
    tally.add(table)
    vocabulary = tally.vocabulary(catalog)
    encoder = FeatureEncoder(spec, vocabulary)
    return encoder.encode(table), encoder.items(catalog), vocabulary


def measure(domain: Domain, part: Part, users: int, length: int, titles: int, rounds: int) -> tuple[float, float]:
    """Least CPU seconds of a step, the mean over batches: with the part by hand, and with torch's."""
    spec = replace(replace(model_spec(domain), **NO_PARTS), history_path=part.history_path)
    encoded, catalog, vocabulary = data_of(spec, users, length, titles)
    order = batches(encoded.lengths, domain.training.tokens, torch.Generator().manual_seed(0))
    padded = [encoded.pad(row_B) for row_B in order]
    systems = []
    for context in (part.by_hand, part.by_torch):
        torch.manual_seed(0)
        model = IntentRec(spec, vocabulary).train()
        systems.append((context, model, optimizer_of(model, domain.training)))
    least = np.full((len(systems), len(padded)), np.inf)
    for _ in range(rounds):
        for i, batch in enumerate(padded):
            for which, (context, model, optimizer) in enumerate(systems):
                with context():
                    begun = time.process_time()
                    step(model, optimizer, batch, catalog, LossSettings(), False, str(i))
                    least[which, i] = min(least[which, i], time.process_time() - begun)
    by_hand, by_torch = least.mean(1).tolist()
    return by_hand, by_torch


def main(
    config: Annotated[Path, typer.Option(help="domain file")] = ROOT / "conf/streaming.yaml",
    users: Annotated[int, typer.Option(help="rows")] = 400,
    length: Annotated[int, typer.Option(help="mean interactions of a row")] = 12,
    titles: Annotated[int, typer.Option(help="titles of the catalogue")] = 1_000,
    rounds: Annotated[int, typer.Option(help="times that each batch is repeated")] = 12,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
) -> None:
    """Print a line per part."""
    torch.set_num_threads(threads)
    domain = load_domain(config)
    for part in PARTS:
        by_hand, by_torch = measure(domain, part, users, length, titles, rounds)
        milliseconds = f"by hand {by_hand * 1e3:6.1f} ms   torch {by_torch * 1e3:6.1f} ms"
        print(f"{part.name:18} {milliseconds}   torch / by hand {by_torch / by_hand:.2f}")


if __name__ == "__main__":
    typer.run(main)
