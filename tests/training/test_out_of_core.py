"""Rows of a user together, through files. Encoded rows in files: see test_prepare."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from intentrec.training import out_of_core
from intentrec.training.out_of_core import SCHEMA, buckets
from tests.model import world


@pytest.mark.parametrize(
    ("rows", "files"), [(10_000, 8), (60, 8), (20, 3), (4, 2)], ids=["one table", "files", "files of files", "deep"]
)
def test_every_row_once_and_a_users_rows_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, files: int
) -> None:
    monkeypatch.setattr(out_of_core, "ROWS", rows)
    monkeypatch.setattr(out_of_core, "FILES", files)
    monkeypatch.setattr(out_of_core, "READ", 32)
    sequences = world.learnable_weeks(4, 60, 4)
    found = []
    for table in buckets(ds.dataset(sequences), tmp_path / "spilled"):
        assert table.schema == SCHEMA
        assert len(table) <= max(2 * rows, 4), "about ROWS rows, and all of a user"
        found.append(table.to_pylist())
    users = Counter(user for part in found for user in {row["user_id"] for row in part})
    assert set(users.values()) == {1}

    def order(row: dict) -> tuple:
        return row["user_id"], row["as_of"]

    assert sorted((row for part in found for row in part), key=order) == sorted(sequences.to_pylist(), key=order)
    assert not list((tmp_path / "spilled").iterdir()), "files are gone"
    assert (len(found) == 1) == (rows == 10_000)


def test_other_types_of_text_become_the_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_core, "ROWS", 20)
    sequences = world.learnable_weeks(4, 30, 2)
    at = sequences.schema.get_field_index("user_id")
    wide = sequences.set_column(
        at, pa.field("user_id", pa.large_string(), False), sequences["user_id"].cast("large_string")
    )
    plain, other = (list(buckets(ds.dataset(rows), tmp_path)) for rows in (sequences, wide))
    assert len(plain) > 1
    assert other == plain
