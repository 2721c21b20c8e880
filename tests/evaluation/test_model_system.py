"""A trained model in the protocols: its scores are the predictor's own."""

from pathlib import Path

import numpy as np
import pytest

from intentrec.evaluation.candidates import Histories, Prefixes, Titles
from intentrec.evaluation.model_system import ModelSystem
from intentrec.evaluation.systems import rank
from intentrec.evaluation.targets import Targets
from intentrec.inference.predictor import Predictor
from intentrec.registry.versions import Registry
from intentrec.training.data import read_catalog, read_sequences
from tests.model.world import NO_TITLE_FACTS
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
    items = predictor.items(catalog, NO_TITLE_FACTS, world.END)
    titles = Titles.of(items.title_ids.to_pylist())
    system = ModelSystem(predictor, catalog, NO_TITLE_FACTS, world.END, titles)

    targets = Targets.of(batch)
    histories = Histories.of(batch, titles)
    prefixes = targets.prefixes(batch)
    known = histories.prefixes(prefixes.rows, prefixes.ends)
    relevant = histories.titles[targets.flat]
    ours = rank(system.title_scores(prefixes), known, np.arange(len(targets)), relevant, len(titles), cuts=())
    theirs = score_positions(predictor, batch, items)
    assert len(theirs.rank) == len(targets) > 0
    np.testing.assert_array_equal(ours.ranks, theirs.rank)
    for name, found in system.intent_probabilities(prefixes).items():
        assert tuple(found.labels) == tuple(predictor.labels[name])
        np.testing.assert_allclose(found.probability_EC, theirs.probabilities[name], atol=1e-6)

    served = predictor.predict(batch, items, top_k=5).to_pydict()
    scores_BN = system.title_scores(Prefixes.whole(batch))(0, len(batch))
    best = np.argsort(-scores_BN, axis=1, kind="stable")[:, :5]
    assert [[titles.ids[int(j)].as_py() for j in row] for row in best] == served["title_ids"]
