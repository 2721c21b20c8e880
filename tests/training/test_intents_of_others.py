"""The control whose intent labels are another user's."""

import torch

from intentrec.training.data import with_intents_of_others
from tests.model import world


def test_every_row_has_the_labels_of_one_other_row_and_nothing_else_moves() -> None:
    rows = world.random_sequences(4, users=9, longest=20)
    _, _, encoded = world.model_of(world.spec(), rows)
    changed = with_intents_of_others(encoded, seed=3)
    bounds = encoded.offsets.tolist()
    label = {name: (value, changed.flat.label[name]) for name, value in encoded.flat.label.items()}
    donors = []
    for b in range(len(encoded)):
        n = bounds[b + 1] - bounds[b]
        fits = []
        for d in range(len(encoded)):
            m = bounds[d + 1] - bounds[d]
            stretched = [bounds[d] + k * m // n for k in range(n)]
            if all(torch.equal(old[stretched], new[bounds[b] : bounds[b + 1]]) for old, new in label.values()):
                fits.append(d)
        donors.append(fits)
    assert all(any(d != b for d in fits) for b, fits in enumerate(donors)), "somebody else's"
    assert {d for fits in donors for d in fits} == set(range(len(encoded))), "everybody gives"
    for ours, theirs in zip(encoded.flat.tensors(), changed.flat.tensors(), strict=True):
        is_label = any(ours is old for old, _ in label.values())
        assert is_label or ours is theirs
    again, other = with_intents_of_others(encoded, seed=3), with_intents_of_others(encoded, seed=4)
    assert all(torch.equal(again.flat.label[name], new) for name, (_, new) in label.items())
    assert not all(torch.equal(other.flat.label[name], new) for name, (_, new) in label.items())
