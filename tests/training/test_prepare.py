"""From rows to mapped files: nothing changes on the way, however many buckets it takes."""

import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intentrec.config import ROOT, Domain
from intentrec.errors import PipelineError
from intentrec.model.arrow import flat
from intentrec.model.features import Encoded, FeatureEncoder
from intentrec.model.titles import in_order, last_played, latest_rows, titles_of, with_titles
from intentrec.model.vocabulary import Tally
from intentrec.training import out_of_core
from intentrec.training.prepare import load, prepare
from intentrec.training.settings import model_spec
from intentrec.training.splits import chained, split, validation_start
from tests.model import world
from tests.model.world import NO_TITLE_FACTS
from tests.registry.world import domain_of

WEEKS, TITLES = 3, 24
CUTOFF = (world.START + timedelta(weeks=WEEKS)).date()
FIELDS = ("title_BL", "first_BL", "numeric_BLF", "time_BL", "periodic_BLC", "gap_BL", "weight_BL", "target_BL")


@pytest.fixture(scope="module")
def sequences() -> pa.Table:
    """The catalogue lacks some of the titles, and only a few interactions have two genres."""
    rows = world.learnable_weeks(5, 50, WEEKS, TITLES).to_pylist()
    for row in rows:
        row["genres"] = [labels if user_of(row) < 2 else labels[:1] for labels in row["genres"]]
    return world.table(rows)


def user_of(row: dict) -> int:
    return int(row["user_id"][1:])


def rows_of(encoded: Encoded) -> dict[tuple, list]:
    """Every tensor of each row, by the row's times and titles."""
    found = {}
    ends = encoded.offsets.tolist()
    flats = [getattr(encoded.flat, name) for name in FIELDS]
    flats += [
        each for several in (encoded.flat.tokens, encoded.flat.window, encoded.flat.label) for each in several.values()
    ]
    for begin, end in pairwise(ends):
        key = *encoded.flat.time_BL[begin:end].tolist(), *encoded.flat.title_BL[begin:end].tolist()
        found[key] = [tensor[begin:end].tolist() for tensor in flats]
    assert len(found) == len(encoded)
    return found


@pytest.mark.parametrize("rows", [10_000, 12])
def test_files_hold_what_memory_would(
    streaming: Domain, sequences: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(out_of_core, "ROWS", rows)
    domain = domain_of(streaming, model={"windows": ["1d", "7d"]})
    spec, begin, catalog = model_spec(domain), validation_start(domain, CUTOFF), world.catalog(TITLES - 6)
    prepare(domain, sequences, catalog, NO_TITLE_FACTS, CUTOFF, tmp_path / "data")
    found = load(tmp_path / "data")

    whole = chained(sequences)
    learned = pc.less(flat(whole, "end_ts"), pa.scalar(begin, pa.timestamp("us", "UTC")))
    vocabulary = world.vocabulary_of(whole, catalog, spec, learned)
    assert found.vocabulary.titles == vocabulary.titles
    assert found.vocabulary.n_seen == vocabulary.n_seen
    assert found.vocabulary.tokens == vocabulary.tokens
    for name, values in vocabulary.numeric.items():
        assert found.vocabulary.numeric[name] == pytest.approx(values, rel=1e-12)
    encoder = FeatureEncoder(spec, found.vocabulary)
    train, validation = split(encoder.encode(whole), begin)
    assert rows_of(found.train) == rows_of(train)
    assert rows_of(found.validation) == rows_of(validation)
    items = encoder.items(in_order(world.with_played_titles(titles_of(catalog), whole), vocabulary.titles))
    assert torch.equal(found.catalog.title_I, items.title_I)
    assert found.catalog.tokens.keys() == items.tokens.keys()
    assert all(torch.equal(found.catalog.tokens[name], items.tokens[name]) for name in items.tokens)
    counts = np.bincount(train.flat.title_BL[train.flat.target_BL].numpy() - 2, minlength=len(vocabulary.titles))
    assert found.count_I.tolist() == counts.tolist()


def test_without_any_duration_weight_there_is_nothing_to_learn(
    streaming: Domain, sequences: pa.Table, tmp_path: Path
) -> None:
    weights = sequences["weight"].combine_chunks()
    zero = pa.ListArray.from_arrays(weights.offsets, pa.array([0.0] * len(weights.values), weights.values.type))
    unweighted = sequences.set_column(sequences.column_names.index("weight"), "weight", zero)
    with pytest.raises(PipelineError, match=r"duration weight 0.*sequences\.weight\.transform to none"):
        prepare(domain_of(streaming), unweighted, world.catalog(TITLES), NO_TITLE_FACTS, CUTOFF, tmp_path)


def test_an_item_may_change_its_title(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    """What it was called before was never played: no snapshot that counts knows it any more."""
    rows = world.catalog(TITLES + 2).to_pylist()
    old = rows[-1]["title_id"]
    later = [{**row, "snapshot_date": row["snapshot_date"] + timedelta(days=7)} for row in rows]
    for row in later:
        row["title_id"] = "t000" if row["title_id"] == old else row["title_id"]
    both = pa.Table.from_pylist([*rows, *later], schema=world.catalog(1).schema)
    prepare(domain_of(streaming), sequences, both, NO_TITLE_FACTS, CUTOFF, tmp_path)
    assert old not in load(tmp_path).vocabulary.titles
    assert (
        latest_rows(both)
        .sort_by("item_id")
        .equals(pa.Table.from_pylist(sorted(later, key=lambda row: row["item_id"]), schema=both.schema))
    )
    assert titles_of(latest_rows(both)).equals(titles_of(both))


def test_the_fingerprint_is_of_rows_and_settings(streaming: Domain, sequences: pa.Table, tmp_path: Path) -> None:
    def mark(domain: Domain, rows: pa.Table) -> str:
        prepare(domain, rows, world.catalog(TITLES), NO_TITLE_FACTS, CUTOFF, tmp_path)
        return load(tmp_path).fingerprint

    domain = domain_of(streaming)
    first = mark(domain, sequences)
    assert mark(domain, sequences.take(list(reversed(range(len(sequences)))))) == first, "no order of rows matters"
    assert mark(domain_of(streaming, training={"seed": 8}), sequences) != first
    assert mark(domain_of(streaming, model={"dim": 32}), sequences) != first
    heavier = [[0.5 * w for w in row] for row in sequences["weight"].to_pylist()]
    at = sequences.schema.get_field_index("weight")
    field = sequences.schema.field(at)
    assert mark(domain, sequences.set_column(at, field, pa.array(heavier, field.type))) != first


def test_vocabulary_learns_nothing_from_validation(streaming: Domain, tmp_path: Path) -> None:
    """Tokens and statistics are those of the interactions before validation begins; later titles have no id vector."""
    domain = domain_of(streaming)
    begin = validation_start(domain, CUTOFF)
    assert begin.isoformat() == "2026-08-22T11:00:00+00:00"  # two days before, at 04:00 in Los Angeles
    rows = world.learnable_weeks(2, 12, 3).to_pylist()
    for row in rows:
        for k, moment in enumerate(row["end_ts"]):
            if moment >= begin:
                row["title_id"][k], row["action_type"][k], row["duration_s"][k] = "t999", "new_label", 1e6
    prepare(domain, world.table(rows), world.catalog(24), NO_TITLE_FACTS, CUTOFF, tmp_path / "one")
    late = load(tmp_path / "one").vocabulary
    early = {t for row in rows for t, m in zip(row["title_id"], row["end_ts"], strict=True) if m < begin}
    assert late.titles[: late.n_seen] == tuple(sorted(early))
    assert "t999" in late.titles[late.n_seen :]
    assert "new_label" not in late.tokens["action_type"]
    for row in rows:
        row["duration_s"] = [2e6 if m >= begin else d for d, m in zip(row["duration_s"], row["end_ts"], strict=True)]
    prepare(domain, world.table(rows), world.catalog(24), NO_TITLE_FACTS, CUTOFF, tmp_path / "two")
    assert load(tmp_path / "two").vocabulary == late


@given(st.lists(st.integers(0, 5), min_size=14, max_size=14), st.booleans())
@settings(max_examples=30)
def test_a_vocabulary_from_parts_is_that_of_the_whole(place: list[int], partly: bool) -> None:
    rows = world.random_sequences(3, users=14)
    spec, catalog = world.spec(), world.catalog(5)
    moment = pa.scalar(world.START + timedelta(days=2), pa.timestamp("us", "UTC"))

    def learned(part: pa.Table) -> pa.Array | None:
        return pc.less(flat(part, "end_ts"), moment) if partly else None

    tally, played = Tally(spec), None
    for part in (rows.filter(pa.array([each == i for each in place])) for i in range(6)):
        tally.add(part, learned(part))
        played = last_played(titles_of(catalog), part, played)
    found, whole = tally.vocabulary(catalog), world.vocabulary_of(rows, catalog, spec, learned(rows))
    assert (found.titles, found.n_seen, found.tokens) == (whole.titles, whole.n_seen, whole.tokens)
    for name, values in whole.numeric.items():
        assert found.numeric[name] == pytest.approx(values, rel=1e-9)
    logs = [np.log1p(d) for row in rows.to_pylist() for d, t in zip(row["duration_s"], row["end_ts"], strict=True)
            if not partly or t < moment.as_py()]  # fmt: skip
    assert found.numeric["duration_s"] == pytest.approx((np.mean(logs), np.std(logs)), rel=1e-9)
    assert played is not None
    facts = {name: with_titles(titles_of(catalog), played)[name].to_pylist() for name in ("title_id", "kind", "genres")}
    expected = world.with_played_titles(titles_of(catalog), rows)
    assert facts == {name: expected[name].to_pylist() for name in facts}
    assert facts["title_id"] == sorted(found.titles)


@pytest.mark.extended
def test_memory_does_not_grow_with_the_users(tmp_path: Path) -> None:
    """Thirty times the users need hardly more than a bucket of them."""
    some = world.learnable_weeks(5, 500, 2, TITLES)
    size = {}
    for name, times in (("few", 4), ("many", 120)):
        parts = []
        for i in range(times):
            users = pc.binary_join_element_wise(some["user_id"], str(i), "-")
            parts.append(some.set_column(some.schema.get_field_index("user_id"), "user_id", users))
        whole = pa.concat_tables(parts)
        (tmp_path / name).mkdir()
        pq.write_table(whole, tmp_path / name / "rows.parquet", row_group_size=1000)
        size[name] = whole.nbytes / 2**20
    folders = [str(tmp_path / name) for name in ("few", "many", "data")]
    command = [sys.executable, "-m", "tests.training.memory", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert size["many"] > 100
    assert float(done.stdout) < size["many"] / 4
