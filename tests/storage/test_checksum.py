"""The checksum of rows: what changes it, and what does not."""

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from intentrec.storage.checksum import checksum

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("n", pa.int32()),
        ("as_of", pa.date32()),
        ("titles", pa.list_(pa.string())),
        ("genres", pa.list_(pa.list_(pa.string()))),
        ("moments", pa.list_(pa.timestamp("us", "UTC"))),
        ("seconds", pa.list_(pa.float64())),
        ("target", pa.bool_()),
        ("starts", pa.map_(pa.string(), pa.list_(pa.int32()))),
        ("fact", pa.struct([("kind", pa.string()), ("age", pa.float32())])),
    ]
)
ROW: dict[str, Any] = {
    "user_id": "u1",
    "n": 2,
    "as_of": date(2026, 8, 31),
    "titles": ["a", "b"],
    "genres": [["x", "y"], []],
    "moments": [datetime(2026, 8, 30, 1, tzinfo=UTC), datetime(2026, 8, 30, 2, tzinfo=UTC)],
    "seconds": [1.5, None],
    "target": True,
    "starts": [("1h", [0, 1]), ("7d", [0, 0])],
    "fact": {"kind": "film", "age": 3.0},
}
OTHER = {**ROW, "user_id": "u2", "titles": [], "genres": None, "target": False, "fact": None}


def of(*rows: dict[str, Any], schema: pa.Schema = SCHEMA, size: int = 100) -> str:
    return checksum(pa.Table.from_pylist(list(rows), schema).to_batches(size))


def test_order_of_rows_batches_columns_and_map_entries_does_not_count() -> None:
    wanted = of(ROW, OTHER)
    assert wanted.startswith("2:")
    assert of(OTHER, ROW) == of(ROW, OTHER, size=1) == wanted
    assert of(ROW, OTHER, schema=pa.schema(list(SCHEMA)[::-1])) == wanted
    assert of({**ROW, "starts": ROW["starts"][::-1]}, OTHER) == wanted
    assert checksum(batch.slice(1) for batch in pa.Table.from_pylist([ROW, ROW, OTHER], SCHEMA).to_batches()) == wanted


def test_a_new_column_that_is_null_does_not_count() -> None:
    assert of(ROW, OTHER, schema=SCHEMA.append(pa.field("new", pa.list_(pa.string())))) == of(ROW, OTHER)


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "u3"},
        {"user_id": None},
        {"n": 3},
        {"n": None},
        {"as_of": date(2026, 9, 1)},
        {"titles": ["b", "a"]},
        {"titles": ["a", "b", None]},
        {"titles": ["ab", ""]},
        {"titles": []},
        {"titles": None},
        {"genres": [["x"], ["y"]]},
        {"genres": [["x", "y"]]},
        {"moments": [datetime(2026, 8, 30, 1, 0, 0, 1, tzinfo=UTC), datetime(2026, 8, 30, 2, tzinfo=UTC)]},
        {"seconds": [1.5, 0.0]},
        {"seconds": [None, 1.5]},
        {"target": False},
        {"target": None},
        {"starts": [("1h", [0, 0]), ("7d", [0, 1])]},
        {"starts": [("1h", [0, 1])]},
        {"fact": {"kind": "film", "age": 4.0}},
        {"fact": {"kind": None, "age": 3.0}},
        {"fact": None},
    ],
)
def test_every_value_counts(change: dict[str, Any]) -> None:
    assert of({**ROW, **change}, OTHER) != of(ROW, OTHER)


def test_rows_count_as_often_as_they_occur() -> None:
    assert len({of(ROW), of(ROW, ROW), of(ROW, OTHER), of()}) == 4
