"""What training learns from: stacked weeks without repetition, held-out days, and the permuted-intent control."""

from collections import Counter
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from intentrec.config import Domain
from intentrec.model.loss import LossSettings
from intentrec.model.titles import in_order, titles_of
from intentrec.training.splits import chained, permute_intents, split, validation_start
from tests.model import world
from tests.registry.world import domain_of

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


def targets_of(sequences: pa.Table) -> Counter:
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
    found = targets_of(short)
    assert found == targets_of(rows)
    assert max(found.values()) == 1
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


def test_validation_targets_are_the_last_days_and_train_nothing(streaming: Domain) -> None:
    domain, sequences = domain_of(streaming), world.learnable_weeks(5, 40, 3, 24)
    _, _, encoded = world.model_of(world.spec(), sequences)
    begin = validation_start(domain, (world.START + timedelta(weeks=3)).date())
    train_part, validation = split(encoded, begin)
    ends, late = [], []
    for row in sequences.to_pylist():
        length = len(row["title_id"])
        for k in range(max(1, length - row["n_new"]), length):
            (late if row["end_ts"][k] >= begin else ends).append(int(row["end_ts"][k].timestamp()))
    for part, expected in ((train_part, ends), (validation, late)):
        found = part.flat.time_BL[part.flat.target_BL]
        assert sorted(found.tolist()) == sorted(expected)
        last = part.offsets[1:] - 1
        assert part.flat.target_BL[last].all(), "nothing after a row's last target is computed"
    assert int(train_part.flat.time_BL.max()) < begin.timestamp()


def test_every_row_has_the_labels_of_one_other_row_and_nothing_else_moves() -> None:
    """Those of its targets, for its targets: which action types a target can have stays as it was."""
    rows = world.random_sequences(4, users=9, longest=20)
    _, _, encoded = world.model_of(world.spec(), rows)
    changed = permute_intents(encoded, seed=3)
    bounds = encoded.offsets.tolist()
    label = {name: (value, changed.flat.label[name]) for name, value in encoded.flat.label.items()}
    targets = [
        [at for at in range(bounds[b], bounds[b + 1]) if encoded.flat.target_BL[at]] for b in range(len(encoded))
    ]
    with_targets = [b for b, mine in enumerate(targets) if mine]
    assert any(len(mine) < bounds[b + 1] - bounds[b] for b, mine in enumerate(targets)), "not all are targets"
    donors = {}
    for b in with_targets:
        n = len(targets[b])
        donors[b] = [
            d
            for d in with_targets
            if all(
                torch.equal(old[[targets[d][k * len(targets[d]) // n] for k in range(n)]], new[targets[b]])
                for old, new in label.values()
            )
        ]
    assert len(with_targets) > 5
    assert all(any(d != b for d in fits) for b, fits in donors.items()), "another row's"
    assert {d for fits in donors.values() for d in fits} == set(with_targets), "every row gives"
    for old, new in label.values():
        assert torch.equal(old[~encoded.flat.target_BL], new[~encoded.flat.target_BL])
    for ours, theirs in zip(world.tensors(encoded.flat), world.tensors(changed.flat), strict=True):
        is_label = any(ours is old for old, _ in label.values())
        assert is_label or ours is theirs
    again, other = permute_intents(encoded, seed=3), permute_intents(encoded, seed=4)
    assert all(torch.equal(again.flat.label[name], new) for name, (_, new) in label.items())
    assert not all(torch.equal(other.flat.label[name], new) for name, (_, new) in label.items())
