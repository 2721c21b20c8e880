"""The control whose intent labels are another user's."""

import torch

from intentrec.training.data import with_intents_of_others
from tests.model import world


def test_every_row_has_the_labels_of_one_other_row_and_nothing_else_moves() -> None:
    """Those of its targets, for its targets: which action types a target can have stays as it was."""
    rows = world.random_sequences(4, users=9, longest=20)
    _, _, encoded = world.model_of(world.spec(), rows)
    changed = with_intents_of_others(encoded, seed=3)
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
    assert all(any(d != b for d in fits) for b, fits in donors.items()), "somebody else's"
    assert {d for fits in donors.values() for d in fits} == set(with_targets), "everybody gives"
    for old, new in label.values():
        assert torch.equal(old[~encoded.flat.target_BL], new[~encoded.flat.target_BL])
    for ours, theirs in zip(encoded.flat.tensors(), changed.flat.tensors(), strict=True):
        is_label = any(ours is old for old, _ in label.values())
        assert is_label or ours is theirs
    again, other = with_intents_of_others(encoded, seed=3), with_intents_of_others(encoded, seed=4)
    assert all(torch.equal(again.flat.label[name], new) for name, (_, new) in label.items())
    assert not all(torch.equal(other.flat.label[name], new) for name, (_, new) in label.items())
