"""Dated facts of titles: their values by a loop, and the loss and the ranks with the facts of each target's week."""

import math
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from intentrec.calendar import day_start_of
from intentrec.config import Domain
from intentrec.model.dated_facts import (
    DATED_FACTS,
    FRESH_DAYS,
    HALF_LIFE_WEEKS,
    YOUNG_DAYS,
    dated_facts,
)
from intentrec.model.features import Batch, FeatureEncoder, Items
from intentrec.model.loss import LossSettings
from intentrec.model.network import Network
from intentrec.model.spec import ModelSpec
from intentrec.model.titles import LOOKBACK_WEEKS
from intentrec.model.vocabulary import FIRST
from tests.model import world

WEEK = timedelta(days=7)
FIRST_WEEK = world.START.date()
PLAIN = world.spec("v0")
SPECS = {
    "v0": replace(PLAIN, dated_facts=True),
    "v3, all biases": replace(world.spec(), dated_facts=True, history_path=True, compatibility=True, neighbours=2),
    "v4": replace(world.spec("v4"), dated_facts=True, decayed_counts=True),
}


def weeks(count: int) -> list[date]:
    return [FIRST_WEEK + number * WEEK for number in range(count)]


def facts_of(users: dict[tuple[str, date], int]) -> pa.Table:
    """Every title that more than ten users engaged is promoted in the week after."""
    rows = [
        {"as_of": as_of, "title_id": title, "users": count, "promotion": 0.25 if count > 10 else None}
        for (title, as_of), count in users.items()
    ]
    return pa.Table.from_pylist(rows, schema=world.NO_TITLE_FACTS.schema)


def by_hand(title: str, release: datetime | None, users: dict[tuple[str, date], int], week: date) -> list[float]:
    age = None if release is None else (datetime.combine(week, datetime.min.time()) - release).total_seconds() / 86400
    decayed = sum(
        users.get((title, week - ago * WEEK), 0) * 0.5 ** (ago / HALF_LIFE_WEEKS) for ago in range(LOOKBACK_WEEKS + 1)
    )
    return [
        math.log1p(users.get((title, week), 0)),
        math.log1p(decayed),
        0.25 if users.get((title, week), 0) > 10 else 0.0,
        float(age is not None and -7 < age <= 0),
        0.5 ** (age / FRESH_DAYS) if age is not None and age > 0 else 0.0,
        0.5 ** (age / YOUNG_DAYS) if age is not None and age > 0 else 0.0,
        float(age is not None and age <= -7),
    ]


def test_facts_by_hand() -> None:
    midnight = datetime.combine(FIRST_WEEK, datetime.min.time())
    releases = {
        "old": midnight - timedelta(days=400),
        "premiere": midnight + timedelta(days=2, hours=5),
        "at the start": midnight,
        "in the next week": midnight + timedelta(days=7),
        "unknown": None,
    }
    users = {
        ("old", FIRST_WEEK): 7,
        ("old", FIRST_WEEK - WEEK): 30,
        ("old", FIRST_WEEK - LOOKBACK_WEEKS * WEEK): 64,
        ("premiere", FIRST_WEEK + WEEK): 12,
        ("unknown", FIRST_WEEK + 2 * WEEK): 1,
        ("not among the titles", FIRST_WEEK): 99,
        ("old", FIRST_WEEK + 3 * WEEK): 1000,  # after the last week
    }
    moments = pa.array(releases.values(), pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    titles = pa.table({"title_id": pa.array(releases), "release_ts": moments})
    found_IWC = dated_facts(titles, facts_of(users), weeks(3))
    assert found_IWC.shape == (5, 3, len(DATED_FACTS))
    for i, (title, release) in enumerate(releases.items()):
        for w, week in enumerate(weeks(3)):
            assert found_IWC[i, w].tolist() == pytest.approx(by_hand(title, release, users, week), abs=1e-6)


def test_what_happens_in_a_week_or_later_changes_no_fact_of_it() -> None:
    titles = pa.table({"title_id": ["a", "b"], "release_ts": pa.array([None, None], pa.timestamp("us", "UTC"))})
    users = {("a", FIRST_WEEK + n * WEEK): n + 1 for n in range(4)}
    changed = users | {("a", FIRST_WEEK + 2 * WEEK): 50, ("b", FIRST_WEEK + 3 * WEEK): 70}  # of weeks 1 and 2
    before, after = (dated_facts(titles, facts_of(each), weeks(4)) for each in (users, changed))
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])


def encoded(spec: ModelSpec, streaming: Domain) -> tuple[Network, Batch, Items, Tensor]:
    """A model, a batch whose targets lie in several weeks, and the titles with random facts of those weeks."""
    rows = world.learnable_weeks(5, 12, 4)
    model, encoder, _ = world.model_of(spec, rows)
    begins = [day_start_of(week, streaming.calendar) for week in weeks(4)]
    encoder = FeatureEncoder(spec, encoder.vocabulary, begins)
    batch = encoder.encode(rows).pad(torch.arange(12, 40))
    catalog = world.catalog_of(encoder)
    fact_IWC = torch.rand(len(catalog.title_I), 4, len(DATED_FACTS))
    return model, batch, replace(catalog, dated_IWC=fact_IWC), fact_IWC


def test_the_week_of_an_interaction_is_that_of_its_start(streaming: Domain) -> None:
    """Its session's service date decides for which week it counts as popularity, and a session ends with the day."""
    spec = SPECS["v0"]
    begins = [day_start_of(week, streaming.calendar) for week in weeks(3)]
    rng, hour = np.random.default_rng(0), timedelta(hours=1)
    half_a_minute = timedelta(seconds=30)  # of a minute
    ends = [begins[0] - hour, begins[1] + half_a_minute, begins[1] + hour, begins[2] + hour, begins[2] + 60 * hour]
    rows = world.table([world.row("u", weeks(4)[3], 5, [world.interaction(rng, 1, end) for end in ends])])
    vocabulary = world.vocabulary_of(rows, world.catalog(25), spec)
    found = FeatureEncoder(spec, vocabulary, begins).encode(rows).flat.week_BL.tolist()
    started = rows["start_ts"].to_pylist()[0]
    assert found == [max(0, sum(moment >= begin for begin in begins) - 1) for moment in started]
    assert found == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_loss_reads_the_facts_of_each_targets_week(spec: ModelSpec, streaming: Domain) -> None:
    model, batch, catalog, fact_IWC = encoded(spec, streaming)
    targets = batch.targets()
    week_N, title_N = targets.of(batch.week_BL), targets.of(batch.title_BL) - FIRST
    assert len(week_N.unique()) > 2
    prediction = model.at(batch, targets.row_N, targets.k_N)
    item_ID = model.item_vectors(catalog)
    if spec.lead_intent:
        prediction = model.given(prediction, targets.of(batch.label[spec.lead_intent])[:, 0])
    bias = prediction.logit_bias(batch.title_BL[targets.row_N] - FIRST)
    expected = 0.0
    for n in range(len(targets)):
        vector_IE = torch.cat([item_ID, fact_IWC[:, week_N[n]]], -1)
        logit_1I = prediction.h_ND[n : n + 1] @ vector_IE.T
        if bias is not None:
            logit_1I = bias.part(slice(n, n + 1)).add_to(logit_1I.clone())
        expected += float(model.weight(batch, targets)[n]) * float(F.cross_entropy(logit_1I, title_N[n : n + 1]))
    prediction = model.at(batch, targets.row_N, targets.k_N)
    found = model.prediction_loss(prediction, batch, targets, catalog, LossSettings(cells=64))
    assert float(found.sums["item"]) == pytest.approx(expected, rel=1e-4)
    # A sample so large that it holds nearly every title as often as expected.
    torch.manual_seed(0)
    sampled = model.prediction_loss(prediction, batch, targets, catalog, LossSettings(sampled=200_000))
    assert float(sampled.sums["item"]) == pytest.approx(expected, rel=0.02)


def test_equal_facts_of_all_weeks_are_as_one_week(streaming: Domain) -> None:
    model, batch, catalog, fact_IWC = encoded(SPECS["v4"], streaming)
    targets = batch.targets()
    prediction = model.at(batch, targets.row_N, targets.k_N)
    equal = replace(catalog, dated_IWC=fact_IWC[:, :1].expand(-1, 4, -1))
    whole = model.prediction_loss(prediction, batch, targets, equal, LossSettings())
    one_week = replace(batch, week_BL=torch.zeros_like(batch.week_BL))
    one = model.prediction_loss(prediction, one_week, targets, equal, LossSettings())
    assert float(whole.sums["item"]) == pytest.approx(float(one.sums["item"]), rel=1e-5)
