"""The encoder, the vocabulary and the title table against plain loops over the rows."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intentrec.model.features import FeatureEncoder
from intentrec.model.spec import ModelSpec
from intentrec.model.titles import in_order, latest_rows, titles_of
from intentrec.model.vocabulary import Vocabulary
from tests.model import world


def index(tokens: list[str] | tuple[str, ...], token: str) -> int:
    return 2 + list(tokens).index(token) if token in tokens else 1


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_encoder_by_a_loop(seed: int) -> None:
    spec = world.spec(windows=("1d", "7d"))
    train, scored = world.random_sequences(seed, titles=12), world.random_sequences(seed + 1, titles=20)
    vocabulary = world.vocabulary_of(train, world.catalog(5), spec)
    encoded = FeatureEncoder(spec, vocabulary).encode(scored)
    batch = encoded.pad(torch.arange(len(encoded)))
    longest = max(len(row["title_id"]) for row in scored.to_pylist())
    assert batch.valid_BL.shape == (len(scored), longest)
    for b, row in enumerate(scored.to_pylist()):
        length = len(row["title_id"])
        assert batch.valid_BL[b].tolist() == [True] * length + [False] * (longest - length)
        for name in ("title_BL", "gap_BL", "time_BL", "target_BL", "weight_BL"):
            assert not getattr(batch, name)[b, length:].any(), f"{name} is not padded with zeros"
        for k in range(length):
            assert batch.title_BL[b, k] == index(vocabulary.titles, row["title_id"][k])
            for name in ("action_type", "kind", "surface", "creator"):
                assert batch.tokens[name][b, k] == index(vocabulary.tokens[name], row[name][k])
            genres = batch.tokens["genres"][b, k].tolist()
            expected = [index(vocabulary.tokens["genres"], genre) for genre in row["genres"][k]]
            assert genres == expected + [0] * (len(genres) - len(expected))
            for i, name in enumerate(spec.numeric):
                mean, std = vocabulary.numeric[name]
                value = row[name][k]
                normal = 0.0 if value < 0 else max(-5.0, min(5.0, (math.log1p(value) - mean) / std))
                assert batch.numeric_BLF[b, k, 2 * i : 2 * i + 2].tolist() == pytest.approx(
                    [normal, float(value < 0)], abs=1e-5
                )
            seconds = int(row["end_ts"][k].timestamp())
            assert batch.time_BL[b, k] == seconds
            day, week = 2 * math.pi * seconds / 86_400, 2 * math.pi * seconds / 604_800
            angles = [day, 2 * day, week, 2 * week, 3 * week]
            periodic = [f(angle) for angle in angles for f in (math.sin, math.cos)]
            assert batch.periodic_BLC[b, k].tolist() == pytest.approx(periodic, abs=1e-5)
            gap = 0 if k == 0 else (1 + seconds - int(row["end_ts"][k - 1].timestamp())).bit_length()
            assert batch.gap_BL[b, k] == min(gap, 31)
            for h in spec.windows:
                assert batch.window[h][b, k] == dict(row["window_start"])[h][k]
            before = sum(end < row["end_ts"][k] for end in row["end_ts"])
            assert batch.known_BL[b, k] == before
            assert batch.first_BL[b, k] == row["title_id"].index(row["title_id"][k])
            assert bool(batch.target_BL[b, k]) == (row["is_target"][k] and before > 0 and k >= length - row["n_new"])
            assert batch.weight_BL[b, k] == pytest.approx(row["weight"][k])
            assert labels(batch.label["action_type"][b, k]) == [
                vocabulary.tokens["action_type"].index(row["action_type"][k])
            ]
            known = [g for g in row["genres"][k] if g in vocabulary.tokens["genres"]]
            assert labels(batch.label["genre"][b, k]) == [vocabulary.tokens["genres"].index(g) for g in known]
            age = row["release_age_days"][k]
            assert labels(batch.label["age"][b, k]) == ([] if age < 0 else [0 if age <= 7 else 1 if age <= 30 else 2])


CHANGES = [  # (UTC, what the clock of the zone shows then) on both sides of a change of the clocks
    ("America/Los_Angeles", [("2026-11-01T03:00", "2026-10-31T20:00"), ("2026-11-02T04:00", "2026-11-01T20:00")]),
    ("Europe/London", [("2026-03-28T20:00", "2026-03-28T20:00"), ("2026-03-29T19:00", "2026-03-29T20:00")]),
    ("Asia/Shanghai", [("2026-03-28T20:00", "2026-03-29T04:00"), ("2026-11-02T04:00", "2026-11-02T12:00")]),
    ("UTC", [("2026-03-28T20:00", "2026-03-28T20:00"), ("2026-03-29T19:00", "2026-03-29T19:00")]),
]


@pytest.mark.parametrize(("zone", "clocks"), CHANGES)
def test_hour_and_weekday_are_those_of_the_services_zone(zone: str, clocks: list[tuple[str, str]]) -> None:
    """After a change of the clocks an evening is still an evening. What lies between two moments stays in seconds."""
    utc, local = ([datetime.fromisoformat(each[i]).replace(tzinfo=UTC) for each in clocks] for i in (0, 1))
    rng = np.random.default_rng(0)
    row = world.row("u", utc[-1].date() + timedelta(days=1), 1, [world.interaction(rng, 1, moment) for moment in utc])
    spec, sequences = replace(world.spec(), zone=zone), world.table([row])
    found = FeatureEncoder(spec, world.vocabulary_of(sequences, world.catalog(5), spec)).encode(sequences).flat
    for k, shown in enumerate(local):
        hour, weekday = shown.hour / 24, (shown.weekday() + shown.hour / 24) / 7
        day, week = 2 * math.pi * hour, 2 * math.pi * (weekday - 3 / 7)  # 1970 began on a Thursday
        angles = [day, 2 * day, week, 2 * week, 3 * week]
        expected = [f(angle) for angle in angles for f in (math.sin, math.cos)]
        assert found.periodic_BLC[k].tolist() == pytest.approx(expected, abs=1e-5)
    assert found.time_BL.tolist() == [int(moment.timestamp()) for moment in utc]


def test_a_model_that_was_registered_without_a_zone_uses_utc() -> None:
    """As it was trained."""
    written = world.spec().to_dict()
    del written["zone"]
    assert ModelSpec.from_dict(written).zone == "UTC"


def labels(label_G: torch.Tensor) -> list[int]:
    return [value for value in label_G.tolist() if value >= 0]


def test_record_batches_slices_and_chunks_give_equal_tensors() -> None:
    """Spark hands over slices and batches; delta-rs a table of several chunks."""
    sequences = world.random_sequences(4, users=9)
    encoder = FeatureEncoder(world.spec(), world.vocabulary_of(sequences, world.catalog(5), world.spec()))
    whole = encoder.encode(sequences)
    chunked = pa.concat_tables([sequences.slice(0, 4), sequences.slice(4)])
    assert all(map(torch.equal, world.tensors(encoder.encode(chunked).flat), world.tensors(whole.flat)))
    part = encoder.encode(sequences.slice(3, 4).combine_chunks().to_batches()[0]).pad(torch.arange(4))
    expected = whole.pad(torch.arange(3, 7))
    for ours, theirs in zip(world.tensors(part), world.tensors(expected), strict=True):
        assert torch.equal(ours, theirs[:, :, : ours.shape[2]] if ours.dim() == 3 else theirs)


def test_vocabulary_is_fitted_on_the_learned_interactions_only() -> None:
    spec = world.spec()
    sequences = world.random_sequences(2, titles=6)
    vocabulary = world.vocabulary_of(sequences, world.catalog(9), spec)
    played = sorted({title for row in sequences["title_id"].to_pylist() for title in row})
    assert vocabulary.titles[: vocabulary.n_seen] == tuple(played)
    assert vocabulary.titles[vocabulary.n_seen :] == tuple(sorted({world.title(i) for i in range(9)} - set(played)))
    assert all(list(tokens) == sorted(set(tokens)) and "" not in tokens for tokens in vocabulary.tokens.values())
    logs = np.log1p([x for row in sequences["duration_s"].to_pylist() for x in row])
    assert vocabulary.numeric["duration_s"] == pytest.approx((logs.mean(), logs.std()))
    shuffled = sequences.take(list(reversed(range(len(sequences)))))
    assert world.vocabulary_of(shuffled, world.catalog(9), spec).tokens == vocabulary.tokens
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_invalid_rows_are_refused() -> None:
    sequences = world.random_sequences(6)
    encoder = FeatureEncoder(world.spec(), world.vocabulary_of(sequences, world.catalog(5), world.spec()))
    with pytest.raises(ValueError, match="'surface' is missing"):
        encoder.encode(sequences.drop_columns(["surface"]))
    short = [values[:-1] for values in sequences["action_type"].to_pylist()]
    at = sequences.schema.get_field_index("action_type")
    with pytest.raises(ValueError, match="action_type are not as long"):
        encoder.encode(sequences.set_column(at, "action_type", pa.array(short, pa.list_(pa.string()))))
    other = FeatureEncoder(world.spec(windows=("2d",)), encoder.vocabulary)
    with pytest.raises(ValueError, match="no '2d' in every row"):
        other.encode(sequences)


def test_title_table_takes_the_latest_snapshot_and_the_first_item() -> None:
    """An item's latest row counts; a title is open where one of its items has no end."""
    day = world.START.date()
    late = datetime(2026, 9, 1, tzinfo=UTC)
    rows = world.catalog(3).to_pylist()
    rows[0] |= {"available_from": late, "available_to": late + timedelta(days=9)}
    rows[1] |= {"available_from": late - timedelta(days=3), "available_to": late + timedelta(days=5)}
    rows[2] |= {"available_to": late}
    newer = [{**row, "snapshot_date": day + timedelta(days=7)} for row in rows[:4]]
    newer[0] |= {"language": None, "genres": ["new"]}
    moved = {**rows[4], "snapshot_date": day + timedelta(days=7), "title_id": "t009"}
    table = pa.Table.from_pylist([*newer, *rows, moved], schema=world.catalog(1).schema)
    found = {row["title_id"]: row for row in titles_of(table).to_pylist()}
    assert list(found) == ["t000", "t001", "t002", "t009"]
    assert found["t000"]["genres"] == ["new"]
    assert found["t000"]["language"] == ""
    assert found["t000"]["available_from"] == late - timedelta(days=3)
    assert found["t000"]["available_to"] == late + timedelta(days=9)
    assert found["t001"]["available_to"] is None
    assert found["t009"]["kind"] == found["t002"]["kind"]


def test_items_that_the_newest_snapshot_lacks_are_no_longer_available() -> None:
    """Of t000 nothing is left, of t001 its second item, which comes later; facts stay."""
    day, late = world.START.date(), datetime(2026, 9, 1, tzinfo=UTC)
    old = world.catalog(3).to_pylist()
    newer = [{**row, "snapshot_date": day + timedelta(days=7), "available_from": late} for row in old[3:]]
    table = pa.Table.from_pylist([*newer, *old], schema=world.catalog(1).schema)
    found = {row["title_id"]: row for row in titles_of(table).to_pylist()}
    gone = datetime.combine(day + timedelta(days=7), time(), tzinfo=UTC)
    assert [(row["available_from"], row["available_to"]) for row in found.values()] == [
        (None, gone),
        (late, None),
        (late, None),
    ]
    assert found["t000"]["genres"] == world.facts(0)["genres"]
    assert titles_of(latest_rows(table)) == titles_of(table)


def test_titles_gone_from_the_catalogue_keep_their_last_facts() -> None:
    sequences = world.random_sequences(8, titles=20)
    titles = world.with_played_titles(titles_of(world.catalog(5)), sequences)
    played = {title for row in sequences["title_id"].to_pylist() for title in row}
    ids = titles["title_id"].to_pylist()
    assert set(ids) == played | {world.title(i) for i in range(5)}
    assert ids == sorted(ids)
    for row in titles.to_pylist():
        facts = world.facts(int(row["title_id"][1:]))
        assert {name: row[name] for name in facts} == facts
    assert in_order(titles, ["t003", "t001"])["title_id"].to_pylist() == ["t003", "t001"]
    with pytest.raises(ValueError, match="1 titles have no facts, such as t999"):
        in_order(titles, ["t003", "t999"])
