"""A trained model in the protocols: its scores are the predictor's own."""

from pathlib import Path

import numpy as np
import pytest

from intentrec.evaluation.next_event import Events
from intentrec.evaluation.ranking import rank
from intentrec.evaluation.systems import ModelSystem
from intentrec.evaluation.titles import Histories, Titles
from intentrec.inference.predictor import Predictor
from intentrec.registry.versions import Registry
from intentrec.training.data import read_catalog, read_sequences
from tests.registry import world
from tests.registry.judged import Judged
from tests.training.next_events import score_positions


@pytest.mark.slow
def test_scores_of_prefixes_are_the_predictors_own(judged: Judged, tmp_path: Path) -> None:
    root = judged.run("gate").warehouse
    batch = read_sequences(root, 0, world.END).combine_chunks().to_batches()[0]
    catalog = read_catalog(root, 0, world.END)
    artifacts = Registry(judged.profile, judged.domain).artifacts(judged.version, tmp_path)
    predictor = Predictor.load(artifacts / "model")
    items = predictor.items(catalog, world.END)
    titles = Titles.of(items.title_ids.to_pylist())
    system = ModelSystem(predictor, catalog, world.END, titles)

    events = Events.of(batch)
    histories = Histories.of(batch, titles)
    part = system.titles(batch, events.rows, events.ends)
    prefixes = histories.prefixes(events.rows, events.ends)
    ours = rank(part, prefixes, np.arange(len(events.rows)), histories.titles[events.flat], len(titles), cuts=())
    theirs = score_positions(predictor, batch, items)
    assert len(theirs.rank) == len(events.rows) > 0
    np.testing.assert_array_equal(ours.ranks, theirs.rank)
    for name, (labels, found) in system.intents(batch, events.rows, events.ends).items():
        assert tuple(labels) == tuple(predictor.labels[name])
        np.testing.assert_allclose(found, theirs.probabilities[name], atol=1e-6)

    served = predictor.predict(batch, items, top_k=5, exclude_seen=False).to_pydict()
    scores_BN = system.titles(batch, np.arange(len(batch)), histories.lengths)(0, len(batch))
    best = np.argsort(-scores_BN, axis=1, kind="stable")[:, :5]
    assert [[titles.ids[int(j)].as_py() for j in row] for row in best] == served["title_ids"]
