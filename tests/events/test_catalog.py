"""Catalogue rows: which are refused, which are copies, and how genres are cleaned."""

from datetime import date

from pyspark.sql import SparkSession

from intentrec.contracts import CATALOG
from intentrec.events.catalog import checked_items
from intentrec.raw_rows import RAW_ITEM

GOOD = {
    "raw": "the line",
    "source_file": "f",
    "source_line": 1,
    "snapshot_date": date(2026, 8, 3),
    "read_error": None,
    "item_id": "i",
    "title_id": "t",
    "kind": "film",
    "genres": '["war", "crime", "war", "", "\u00a0"]',
    "creator": None,
    "episode": "3",
    "release_ts": "2020-01-01T00:00:00Z",
    "runtime_s": "5400.5",
    "language": None,
    "text": "",
    "available_from": None,
    "available_to": None,
    "promotion": "0.25",
}
NOTHING = {
    name: None for name in GOOD if name not in ("raw", "source_file", "source_line", "snapshot_date", "read_error")
}

LONG = 200 * "\N{CYRILLIC SMALL LETTER ZHE}"  # as long as a label may be, in characters and not in bytes

# Fields changed, every reason, and whether it is a copy of an earlier row. Rows have their own item unless they say so.
CASES: list[tuple[dict, list[str], bool]] = [
    ({}, [], False),
    ({"item_id": None}, ["missing_item_id"], False),
    ({"title_id": " ", "kind": None}, [], False),
    ({"item_id": "17850.0"}, ["bad_number_item_id"], False),
    ({"title_id": "t\u200b"}, ["bad_characters_title_id"], False),
    ({"title_id": "\u00a0"}, [], False),
    ({"title_id": "t" * 257}, ["bad_length_title_id"], False),
    ({"genres": None}, [], False),
    ({"genres": "[]"}, [], False),
    ({"genres": " "}, [], False),
    ({"genres": "crime"}, ["bad_type_genres"], False),
    ({"genres": '["crime"'}, ["bad_type_genres"], False),
    ({"genres": '{"a": "crime"}'}, ["bad_type_genres"], False),
    ({"episode": "two"}, ["bad_type_episode"], False),
    ({"episode": "1.5"}, ["bad_type_episode"], False),
    ({"episode": "99999999999"}, ["bad_type_episode"], False),
    ({"episode": "-1"}, ["bad_episode"], False),
    ({"release_ts": "2020"}, ["bad_type_release_ts"], False),
    ({"runtime_s": "an hour"}, ["bad_type_runtime_s"], False),
    ({"runtime_s": "0"}, ["bad_runtime"], False),
    ({"runtime_s": "NaN"}, ["bad_runtime"], False),
    ({"runtime_s": "Infinity"}, ["bad_runtime"], False),
    ({"promotion": "often"}, ["bad_type_promotion"], False),
    ({"promotion": "40"}, ["bad_promotion"], False),
    ({"promotion": "-0.1"}, ["bad_promotion"], False),
    ({"promotion": "NaN"}, ["bad_promotion"], False),
    ({"promotion": "0"}, [], False),
    ({"promotion": "1"}, [], False),
    ({"promotion": None}, [], False),
    (
        {"available_from": "2026-08-02T00:00:00Z", "available_to": "2026-08-01T00:00:00Z"},
        ["bad_availability"],
        False,
    ),
    ({"genres": f'["{LONG}"]', "kind": LONG, "creator": LONG, "language": LONG}, [], False),
    ({"genres": f'["war", "{LONG}x"]'}, ["label_too_long"], False),
    ({"kind": LONG + "x"}, ["label_too_long"], False),
    ({"creator": LONG + "x", "genres": "crime"}, ["bad_type_genres", "label_too_long"], False),
    ({"language": 300 * "x"}, ["label_too_long"], False),
    ({**NOTHING, "read_error": "unreadable_line"}, ["unreadable_line"], False),
    ({"item_id": "same"}, [], False),
    ({"item_id": "same"}, [], True),
    ({"item_id": "same", "runtime_s": "x"}, ["bad_type_runtime_s"], False),  # a refused row contradicts nobody
    ({"item_id": "same", "snapshot_date": date(2026, 8, 10), "kind": "show"}, [], False),  # another date's facts
    ({"item_id": "torn"}, ["conflicting_item"], False),
    ({"item_id": "torn"}, ["conflicting_item"], False),
    ({"item_id": "torn", "kind": "show"}, ["conflicting_item"], False),
]


def test_items(spark: SparkSession) -> None:
    rows = [
        {**GOOD, "item_id": f"i{number}", **changes, "source_line": number}
        for number, (changes, _, _) in enumerate(CASES)
    ]
    raw = spark.createDataFrame([tuple(row[name] for name in RAW_ITEM.names) for row in rows], RAW_ITEM)
    checked = {row["source_line"]: row for row in checked_items(raw).collect()}
    got = {line: (row["reasons"], row["is_copy"]) for line, row in checked.items()}
    assert len(got) == len(CASES)
    wrong = {str(CASES[n][0]): (got[n], want) for n, (_, *want) in enumerate(CASES) if got[n] != tuple(want)}
    assert not wrong
    good = checked[0].asDict()
    assert good["genres"] == ["crime", "war"]
    assert (good["episode"], good["runtime_s"], good["creator"], good["promotion"]) == (3, 5400.5, None, 0.25)
    assert checked[7]["genres"] == []
    assert set(CATALOG.names) <= good.keys()
