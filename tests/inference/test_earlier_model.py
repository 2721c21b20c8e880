"""A model that an earlier commit made, scored by this code: what it predicted then is stored beside it.

Commit cc931bb trained it on a small made-up world and logged it; `earlier/model` has its artifacts. The scores were
made by that commit, too. Models of that time brought no code of their own, so MLflow alone cannot serve them. If this
test fails, models that are champion today cannot be scored any more: add a step to `UPGRADES` in
`intentrec/model/formats.py`.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from intentrec.errors import PipelineError
from intentrec.inference.scorer import Scorer, read_files
from intentrec.model.formats import LaterFormat, Stored, renamed, upgraded
from intentrec.training.checkpoint import ABOUT, model_from
from tests.model import world
from tests.model.world import NO_TITLE_FACTS

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture(scope="module")
def scores() -> list[dict[str, Any]]:
    """What the earlier commit predicted, per user."""
    return json.loads((EARLIER / "scores.json").read_text())


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in ("user_id", "primary_intent", "cluster"):
        assert found[name] == wanted[name]
    assert list(found["title_ids"]) == wanted["title_ids"]
    for name in ("scores", "intent_embedding", "user_vector"):
        assert list(found[name]) == pytest.approx(wanted[name], rel=1e-4, abs=1e-5)
    for name in ("attention", "logit_bias"):
        assert dict(found[name]) == pytest.approx(wanted[name], rel=1e-4, abs=1e-5)
    assert {name: list(labels) for name, labels in dict(found["top_labels"]).items()} == wanted["top_labels"]


def test_a_model_of_an_earlier_commit_scores_as_it_did_then(scores: list[dict[str, Any]]) -> None:
    rows = pq.read_table(EARLIER / "sequences.parquet").combine_chunks().to_batches()[0]
    catalog = pq.read_table(EARLIER / "model/artifacts/catalog.parquet")
    as_of = rows["as_of"][0].as_py()
    found = Scorer(read_files(EARLIER / "model/artifacts"), catalog, NO_TITLE_FACTS, as_of).score(rows, top_k=5)
    for ours, wanted in zip(found.to_pylist(maps_as_pydicts="strict"), scores, strict=True):
        assert_same(ours, wanted)


def test_steps_lead_from_format_to_format() -> None:
    """A layer was renamed in format 2, and a key moved in format 3."""
    weight = torch.ones(2)
    steps = {
        1: lambda old: Stored(old.about, renamed(old.weights, {"encode": "encoder"})),
        2: lambda old: Stored({**old.about, "zone": old.about["calendar"]["zone"]}, old.weights),
    }
    old = Stored({"calendar": {"zone": "UTC"}}, {"encode.0.weight": weight, "encode": weight, "encoded.weight": weight})
    found = upgraded(old, steps, to=3)
    assert found.weights.keys() == {"encoder.0.weight", "encoder", "encoded.weight"}
    assert (found.about["format"], found.about["zone"]) == (3, "UTC")
    newer = upgraded(Stored({**old.about, "format": 2}, old.weights), steps, to=3)
    assert newer.weights == old.weights
    assert upgraded(found, steps, to=3) is found
    with pytest.raises(LaterFormat):
        upgraded(found, steps, to=2)


def test_heads_of_format_1_do_not_read_how_often_the_row_has_a_label() -> None:
    """Their weights of these shares are 0, so they predict what they did."""
    sequences = world.random_sequences(3, users=4)
    spec = replace(world.spec("v4"), next_session=True)
    model, _, encoded = world.model_of(spec, sequences)
    with torch.no_grad():
        model.next_session.share_MS.zero_()
    weights = {name: value for name, value in model.state_dict().items() if name != "next_session.share_MS"}
    again, _, _ = world.model_of(spec, sequences)
    again.load_state_dict(upgraded(Stored({"spec": spec.to_dict()}, weights)).weights)
    batch = encoded.pad(torch.arange(4))
    row_N, k_N = torch.arange(4), encoded.lengths - 1
    session = k_N, batch.time_BL[row_N, k_N] + 86_400
    found, wanted = (each.at(batch, row_N, k_N, session).session_logit for each in (again, model))
    assert found.keys() == wanted.keys() == {intent.name for intent in spec.intents}
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "a model of format 99 cannot be read by this code, which reads formats 1 to 2: use the code"),
        ({"spec": {"gates": 3}}, r"a model of format 1 cannot be read by this code.*gates"),
        ({"spec": {"dim_intent": 6}}, r"weights of a model of format 1 do not fit.*UPGRADES.*mixture"),
        ({"spec": {"layers": 3}}, r"weights of a model of format 1 do not fit.*Missing key"),
    ],
)
def test_a_model_that_this_code_cannot_read_is_refused(change: dict[str, Any], message: str) -> None:
    files = read_files(EARLIER / "model/artifacts")
    about = json.loads(files[ABOUT])
    for name, value in change.items():
        about[name] = {**about[name], **value} if isinstance(value, dict) else value
    with pytest.raises(PipelineError, match=message) as found:
        model_from({**files, ABOUT: json.dumps(about).encode()})
    assert "\n" not in str(found.value)
