"""Stacked weeks without the repetition: the same questions, each once."""

from collections import Counter
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from intentrec.model.loss import LossSettings
from intentrec.model.titles import in_order, titles_of
from intentrec.training.data import chained
from tests.model import world

LONGEST = 10


def stacked(seed: int, users: int = 8, weeks: int = 5) -> pa.Table:
    """Weekly rows cut at LONGEST: some users skip weeks, some are active enough to be cut, times tie."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(users):
        past: list[dict] = []
        for week in range(weeks):
            n_new = int(rng.integers(0, 3 if u % 2 else 6))
            monday = world.START + timedelta(weeks=week)
            for offset in np.sort(rng.integers(0, 5, n_new)) * 100_000:
                past.append(world.interaction(rng, int(rng.integers(20)), monday + timedelta(seconds=int(offset))))
            if n_new:
                kept = past[-LONGEST:]
                rows.append(world.row(f"u{u}", (monday + timedelta(weeks=1)).date(), n_new, kept))
    return world.table(rows)


def questions(sequences: pa.Table) -> Counter:
    """Every (user, prefix, target), by the definition of `n_new` and `is_target`."""
    found: Counter = Counter()
    for row in sequences.to_pylist():
        steps = list(zip(row["end_ts"], row["title_id"], row["action_type"], row["weight"], strict=True))
        for k in range(max(1, len(steps) - row["n_new"]), len(steps)):
            if row["is_target"][k]:
                found[row["user_id"], tuple(steps[:k]), steps[k]] += 1
    return found


def cut(row: dict) -> bool:
    return len(row["title_id"]) == LONGEST


@pytest.mark.parametrize("seed", range(5))
def test_every_target_once_with_the_same_prefix(seed: int) -> None:
    rows = stacked(seed)
    if seed % 2:  # histories that begin before the stack does
        rows = rows.filter(pc.greater(rows["as_of"], pc.min(rows["as_of"])))
    short = chained(rows)
    asked = questions(short)
    assert asked == questions(rows)
    assert max(asked.values()) == 1
    assert short.schema == rows.schema
    assert short.equals(chained(rows.take(np.random.default_rng(seed).permutation(len(rows)))))
    users = {row["user_id"]: [] for row in short.to_pylist()}
    for row in short.to_pylist():
        users[row["user_id"]].append(row)
    cut_rows = [row for row in rows.to_pylist() if cut(row)]
    assert cut_rows
    for kept in users.values():
        assert sum(not cut(row) for row in kept) <= 1, "a history that fits is one row"
    dates = {(row["user_id"], row["as_of"]): row for row in short.to_pylist()}
    begins = {(row["user_id"], row["end_ts"][0], row["title_id"][0]) for row in rows.to_pylist() if not cut(row)}
    for row in cut_rows:
        if (row["user_id"], row["end_ts"][0], row["title_id"][0]) not in begins:
            assert dates[row["user_id"], row["as_of"]] == row, "begins elsewhere: stays as it is"


@pytest.mark.parametrize("variant", ["v0", "v1", "v2", "v3"])
@torch.no_grad()
def test_loss_is_that_of_the_stacked_rows(variant: str) -> None:
    rows = stacked(1)
    model, encoder, encoded = world.model_of(world.spec(variant), rows)
    items = encoder.items(in_order(titles_of(world.catalog(25)), encoder.vocabulary.titles))
    found = []
    for rows_encoded in (encoded, encoder.encode(chained(rows))):
        batch = rows_encoded.pad(torch.arange(len(rows_encoded)))
        parts = model.loss(batch, items, LossSettings(cells=1600))
        found.append({name: float(value) for name, value in {"loss": parts.loss(), **parts.means()}.items()})
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert len(chained(rows)) < len(rows)


def test_only_a_continuation_is_merged() -> None:
    """Another user, another beginning, or a gap between two rows: all stay."""
    rng = np.random.default_rng(1)
    steps = [world.interaction(rng, i, world.START + timedelta(days=i)) for i in range(6)]
    first, second = world.START.date(), world.START.date() + timedelta(weeks=1)
    whole = world.row("u", second, 2, steps)
    cases = {
        "other user": world.row("v", first, 4, steps[:4]),
        "other beginning": world.row("u", first, 3, steps[1:5]),
        "an interaction in between": world.row("u", first, 3, steps[:3]),
    }
    for what, earlier in cases.items():
        table = world.table([earlier, whole])
        assert len(chained(table)) == 2, what
    merged = chained(world.table([world.row("u", first, 3, steps[:4]), whole])).to_pylist()
    assert [(row["as_of"], row["n_new"]) for row in merged] == [(second, 5)]
    assert chained(world.table([whole])).equals(world.table([whole]))
    assert len(chained(world.table([]))) == 0
