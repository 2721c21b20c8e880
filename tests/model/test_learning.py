"""Few steps of training: what they cost to the digit, and what they make of a title that they never saw."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from intentrec.model.features import Encoded, FeatureEncoder, Items
from intentrec.model.intentrec import IntentRec
from intentrec.model.loss import LossSettings
from tests.model import world

# Eq. 3 of the item and of each intent, in the order of the heads, and Eq. 4 at the first five steps.
GOLDEN = [
    [3.390774, 1.242738, 2.6903, 0.780131, 1.707551, 4.674918],
    [2.943717, 1.130749, 2.538596, 0.653026, 0.793205, 3.966832],
    [2.627079, 1.08039, 2.33555, 0.614479, 0.7693, 3.587023],
    [2.306489, 1.038591, 2.324519, 0.584219, 0.694987, 3.234953],
    [2.103695, 1.013872, 2.256195, 0.569512, 0.610576, 2.993726],
]


def steps(model: IntentRec, encoded: Encoded, catalog: Items, n: int, rate: float) -> Iterator[dict[str, float]]:
    """Full-batch AdamW; the losses before each step."""
    batch = encoded.pad(torch.arange(len(encoded)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(n):
        optimizer.zero_grad()
        parts = model.loss(batch, catalog, LossSettings())
        loss = parts.loss()
        loss.backward()
        optimizer.step()
        yield {name: float(value.detach()) for name, value in {**parts.means(), "loss": loss}.items()}


def test_first_steps_have_the_recorded_losses() -> None:
    """Without dropout, so that only the model, the losses and their gradients move these numbers."""
    sequences = world.random_sequences(31, users=12)
    torch.manual_seed(0)
    spec = world.spec("v3", windows=("1d", "7d"))
    encoder = FeatureEncoder(spec, world.vocabulary_of(sequences, world.catalog(25), spec))
    model = IntentRec(spec, encoder.vocabulary).eval()
    found = list(steps(model, encoder.encode(sequences), world.catalog_of(encoder), 5, 0.01))
    assert [list(each.values()) for each in found] == [pytest.approx(row, rel=1e-3) for row in GOLDEN]


def table_of(titles: list[str]) -> pa.Table:
    """The facts of titles whose names are a genre and a number."""
    genres = [[title.split("-")[0]] for title in titles]
    return pa.table(
        {"title_id": titles, "genres": genres, "kind": ["film"] * len(titles), "creator": [""] * len(titles)}
    )


def test_a_title_that_training_never_saw_is_ranked_by_its_facts() -> None:
    """Everyone stays with one genre; of the new titles, the one of that genre comes first."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(24):
        genre = world.GENRES[user % 4]
        each = [world.interaction(rng, 0, world.START + timedelta(hours=hour)) for hour in range(8)]
        known = {"genres": [genre], "kind": "film", "creator": "", "is_target": True, "weight": 1.0}
        played = [{**one, **known, "title_id": f"{genre}-{rng.integers(5)}"} for one in each]
        rows.append(world.row(f"u{user}", world.START.date(), 8, played))
    sequences, spec = world.table(rows), world.spec("v3")
    torch.manual_seed(0)
    encoder = FeatureEncoder(spec, world.vocabulary_of(sequences, world.catalog(0), spec))
    model = IntentRec(spec, encoder.vocabulary).eval()
    encoded = encoder.encode(sequences)
    list(steps(model, encoded, encoder.items(table_of(list(encoder.vocabulary.titles))), 60, 0.01))
    new = [f"{genre}-new" for genre in world.GENRES]
    assert not set(new) & set(encoder.vocabulary.titles)
    with torch.no_grad():
        prediction = model.at(encoded.pad(torch.arange(24)), torch.arange(24), encoded.lengths - 1)
        logit_BI = prediction.h_ND @ model.item_vectors(encoder.items(table_of(new))).T
    assert logit_BI.argmax(-1).tolist() == [user % 4 for user in range(24)]
