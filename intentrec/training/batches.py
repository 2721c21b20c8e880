"""Rows to batches of similar lengths, by a budget of positions.

Shape suffixes: B rows.
"""

from bisect import bisect_left

import torch

POOL = 16  # batches whose rows are sorted by length together


def batches(
    lengths: torch.Tensor, tokens: int, generator: torch.Generator | None = None, rows: int | None = None
) -> list[torch.Tensor]:
    """Row numbers (int64) of batches of rows with similar lengths, so that there is little padding.

    With a generator, rows are sorted by length only inside random pools of about POOL batches. So batches differ from
    epoch to epoch. Without one, all rows are sorted.

    Args:
        lengths: positions of each row (B,).
        tokens: positions of a batch at most, padding included; a longer row is a batch of its own.
        generator: shuffles rows and batches.
        rows: rows of a batch at most.
    """
    n = len(lengths)
    if generator is None:
        pools = [torch.arange(n)]
    else:
        mean = max(1, int(lengths.sum()) // max(1, n))
        pools = list(torch.randperm(n, generator=generator).split(POOL * max(1, tokens // mean)))
    found = []
    for pool in pools:
        ascending = pool[lengths[pool].argsort(stable=True)]
        found += ascending.split(_sizes(lengths[ascending], tokens, rows or n, even=generator is not None))
    if generator is None:
        return found
    return [found[place] for place in torch.randperm(len(found), generator=generator).tolist()]


def _sizes(ascending: torch.Tensor, tokens: int, rows: int, even: bool) -> list[int]:
    """Number of rows of each batch, the shortest rows first: as few batches as possible.

    With `even`, batches are then made as equal as this number allows. A last batch of a few rows would otherwise move
    the weights as far as any other.
    """
    found = _greedy(ascending, tokens, rows)
    if even and len(found) > 1:
        budgets = range(tokens // 2, tokens)
        smaller = bisect_left(budgets, -len(found), key=lambda some: -len(_greedy(ascending, some, rows)))
        found = _greedy(ascending, tokens // 2 + smaller, rows)
    return found


def _greedy(ascending: torch.Tensor, tokens: int, rows: int) -> list[int]:
    sizes: list[int] = []
    begin = 0
    while begin < len(ascending):
        some = ascending[begin : begin + min(rows, tokens)]
        fits = int((some * torch.arange(1, len(some) + 1) <= tokens).sum())  # the left side only grows
        sizes.append(max(1, fits))
        begin += sizes[-1]
    return sizes
