"""Reading pinned versions."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.contracts import CATALOG, SEQUENCES
from intentrec.errors import PipelineError
from intentrec.training.data import latest_sequences, open_sequences, read_catalog, read_sequences, served_from
from tests.model import world

WEEK = timedelta(weeks=1)
FIRST = (world.START + WEEK).date()


def place(row: dict) -> tuple:
    return row["as_of"], row["user_id"]


def test_sequences_at_a_version_up_to_a_cutoff(tmp_path: Path) -> None:
    rows = world.learnable_weeks(1, 5, 4)
    path = f"{tmp_path}/{SEQUENCES.name}"
    write_deltalake(path, rows.take(list(reversed(range(len(rows))))), partition_by=["as_of"])
    write_deltalake(path, rows.slice(0, 0), mode="overwrite")
    cutoff = FIRST + 2 * WEEK
    expected = [row for row in rows.to_pylist() if FIRST < row["as_of"] <= cutoff]
    opened = open_sequences(str(tmp_path), 0, cutoff, weeks=2).to_table().to_pylist()
    assert sorted(opened, key=place) == sorted(expected, key=place)
    found = read_sequences(str(tmp_path), 0, cutoff)
    assert found.schema == to_arrow_schema(SEQUENCES.schema)
    assert found.to_pylist() == sorted((row for row in expected if row["as_of"] == cutoff), key=place)
    assert len(read_sequences(str(tmp_path), DeltaTable(path).version(), FIRST)) == 0
    with pytest.raises(PipelineError, match="sequences at version 7 cannot be read"):
        read_sequences(str(tmp_path), 7, FIRST)
    with pytest.raises(PipelineError, match="catalog at version 0 cannot be read"):
        read_catalog(str(tmp_path), 0, FIRST)


def test_a_user_is_served_by_the_latest_row_of_the_active_weeks(tmp_path: Path) -> None:
    """Every user misses other weeks; a slow loop finds each one's latest row."""
    rows = world.learnable_weeks(1, 8, 5).to_pylist()
    kept = [row for row in rows if (int(row["user_id"][1:]) * 7 + (row["as_of"] - FIRST).days // 7) % 3 == 0]
    schema = to_arrow_schema(SEQUENCES.schema)
    write_deltalake(f"{tmp_path}/{SEQUENCES.name}", pa.Table.from_pylist(kept, schema), partition_by=["as_of"])
    as_of = FIRST + 3 * WEEK
    sizes = set()
    for active_weeks in (1, 2, 4):
        expected: dict[str, dict] = {}
        for row in kept:
            newest = row["as_of"] >= expected.get(row["user_id"], row)["as_of"]
            if served_from(as_of, active_weeks) <= row["as_of"] <= as_of and newest:
                expected[row["user_id"]] = row
        found = latest_sequences(str(tmp_path), 0, as_of, active_weeks).to_pylist()
        assert found == [expected[user] for user in sorted(expected)]
        sizes.add(len(found))
    assert len(sizes) == 3


def test_catalogue_of_a_date_is_what_was_known_before_it(tmp_path: Path) -> None:
    path = f"{tmp_path}/{CATALOG.name}"
    for week in (1, 0, 2):
        write_deltalake(path, world.catalog(2, FIRST + week * WEEK), mode="append", partition_by=["snapshot_date"])
    found = read_catalog(str(tmp_path), 2, FIRST + 2 * WEEK)
    assert found.schema == to_arrow_schema(CATALOG.schema)
    assert found["snapshot_date"].to_pylist() == [FIRST] * 4 + [FIRST + WEEK] * 4
    assert len(read_catalog(str(tmp_path), 0, FIRST + 2 * WEEK)) == 4
