"""Every interaction is a target once, in one part alone; the files read as published."""

import gzip
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intentrec.errors import PipelineError
from lab.benchmarks.held_out import VALIDATION, read_games, read_movielens, split
from lab.benchmarks.published import training_rows

HISTORIES = st.dictionaries(st.text("uv", min_size=1), st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12))


@settings(max_examples=60)
@given(HISTORIES.filter(bool), st.integers(2, 6), st.data())
def test_every_interaction_is_a_target_once(histories: dict[str, list[str]], length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length - 1))
    parts = split(histories, length, stride)
    targets_of: Counter[tuple[str, str]] = Counter()
    late: Counter[tuple[str, str]] = Counter()
    keys = set()
    for row in parts.train.to_pylist():
        keys.add((row["as_of"], row["user_id"]))
        titles, user = row["title_id"], row["user_id"]
        assert len(titles) <= length
        for k in range(max(1, len(titles) - row["n_new"]), len(titles)):
            (late if row["end_ts"][k] >= VALIDATION else targets_of)[user, titles[k]] += 1
    assert len(keys) == len(parts.train)  # the key of `sequences`
    tested = {user: items for user, items in histories.items() if len(items) >= 3}
    train = {user: items[1:-2] if user in tested else items[1:] for user, items in histories.items()}
    assert targets_of == Counter((user, item) for user, items in train.items() for item in items)
    assert late == Counter((user, items[-2]) for user, items in tested.items())
    before = dict(zip(parts.before["user_id"].to_pylist(), parts.before["title_id"].to_pylist(), strict=True))
    assert before == {user: items[:-1][1 - length :] for user, items in tested.items()}
    assert parts.held_out.to_pylist() == [items[-1] for items in tested.values()]
    assert set(parts.catalog["title_id"].to_pylist()) == {item for items in histories.values() for item in items}
    targets = sum(pc.sum(rows["is_target"].flatten()).as_py() for rows in training_rows(parts.train))
    validating = sum(pc.sum(pc.greater_equal(ends.values, VALIDATION)).as_py() for ends in parts.train["end_ts"])
    assert targets == len(parts.train["title_id"].combine_chunks().flatten()) - validating


def test_times_keep_the_order() -> None:
    parts = split({"u": list("abcabcabc")}, 4, 3)
    for row in parts.train.to_pylist():
        assert row["end_ts"] == sorted(set(row["end_ts"]))


def test_files_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "Video.txt.gz").write_bytes(gzip.compress(b"1 20\n1 7\n2 7\n"))
    assert read_games(tmp_path) == {"1": ["20", "7"], "2": ["7"]}
    (tmp_path / "u.data").write_text("2\t9\t3\t50\n1\t5\t3\t70\n1\t6\t1\t60\n1\t4\t1\t60\n")
    assert read_movielens(tmp_path) == {"1": ["6", "4", "5"], "2": ["9"]}  # ties in the order of the file


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="--data"):
        read_games(tmp_path)


def test_the_data_sets_have_the_published_sizes(shared_data: Path) -> None:
    for histories, users, items, events in (
        (read_games(shared_data / "games"), 31_013, 23_715, 287_107),
        (read_movielens(shared_data / "movielens-100k"), 943, 1_682, 100_000),
    ):
        assert len(histories) == users
        assert len({item for found in histories.values() for item in found}) == items
        assert sum(map(len, histories.values())) == events
