"""Batches by a budget of positions."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from intentrec.training.batches import batches

LENGTHS = torch.randint(1, 51, (3000,), generator=torch.Generator().manual_seed(0))


def shuffled(seed: int) -> list[list[int]]:
    return [rows.tolist() for rows in batches(LENGTHS, 640, torch.Generator().manual_seed(seed))]


@given(
    st.lists(st.integers(1, 60), max_size=200),
    st.integers(1, 300),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(1, 20),
)
def test_every_row_once_and_no_more_positions_than_asked(
    lengths: list[int], tokens: int, seed: int | None, rows: int | None
) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    found = [part.tolist() for part in batches(torch.tensor(lengths, dtype=torch.long), tokens, generator, rows)]
    assert sorted(row for part in found for row in part) == list(range(len(lengths)))
    for part in found:
        assert 1 <= len(part) <= (rows or len(lengths))
        assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= tokens


def test_rows_of_like_length_in_batches_of_like_size() -> None:
    cells = [len(rows) * max(LENGTHS[row].item() for row in rows) for rows in shuffled(1)]
    assert sum(cells) < 1.15 * int(LENGTHS.sum()), "padding"
    assert min(cells) > 0.5 * 640, "a batch of a few rows would move the weights as far as any other"
    assert sum(cells) / len(cells) > 0.85 * 640


def test_the_generator_decides_the_order() -> None:
    assert shuffled(1) == shuffled(1) != shuffled(2)
    first = {tuple(rows) for rows in shuffled(1)}
    assert not first & {tuple(rows) for rows in shuffled(2)}, "other rows meet in another epoch"


def test_without_a_generator_the_shortest_come_first() -> None:
    longest = [int(LENGTHS[rows].max()) for rows in batches(LENGTHS, 640)]
    assert longest == sorted(longest)
