"""The JSON landing zone: how lines are parsed, which folders are read, and which files are refused."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.errors import PipelineError
from intentrec.events.reasons import UNREAD, bad_id
from intentrec.raw_rows import RAW_EVENT, RAW_ITEM
from intentrec.sources import jsonl
from intentrec.storage.runs import Run
from tests.sources.landing import deliver, event, events_of, item, snapshot_of

DAY = date(2026, 8, 4)

# A line, and the read_error that it must get.
LINES: list[tuple[object, str | None]] = [
    (event(), None),
    (event(new_column="x"), None),
    (event(user_id=7), None),  # a number is as good a text as any; what it is worth is judged later
    ("{}", None),
    (event(arrived_at=None), None),
    (event(arrived_at="yesterday"), "bad_type_arrived_at"),
    (event(arrived_at="2026-08-04T12:00:00"), "bad_type_arrived_at"),  # without a zone
    (event(arrived_at="2026-08-04"), "bad_type_arrived_at"),
    (event(arrived_at="2026-08-05T00:00:00Z"), "wrong_arrived_at"),
    (event(arrived_at="2026-08-05T01:00:00+02:00"), None),  # still 4 August in UTC
    (event(user_id={"$ne": ""}), "bad_type_user_id"),
    (event(item_id=["i1"]), "bad_type_item_id"),
    ("", "unreadable_line"),
    ("   ", "unreadable_line"),
    ("hello", "unreadable_line"),
    ("[]", "unreadable_line"),
    ("[1, 2]", "unreadable_line"),
    ("null", "unreadable_line"),
    ("17", "unreadable_line"),
    ('"text"', "unreadable_line"),
    ('{"event_id": "e1"', "unreadable_line"),
    ('{"event_id": "e1", }', "unreadable_line"),
    ("{'event_id': 'e1'}", "unreadable_line"),
    ('{"duration_s": NaN}', "unreadable_line"),
    ('{"event_id": "e1"} and more', "unreadable_line"),
    ('{"event_id": "e1"}{"event_id": "e2"}', "unreadable_line"),
    ('{"event_id": "e1"}, {"event_id": "e2"}', "unreadable_line"),
    ('{"event_id": "e1"}],[{"event_id": "e2"}', "unreadable_line"),
    ('{"event_id": "e1"}]', "unreadable_line"),
    ('{"event_id": "e1"}] and more', "unreadable_line"),
    ('{"event_id": "e1"},{"mark":"0"}],[{"event_id": "e2"}', "unreadable_line"),
    ('{"event_id": "e1"},"x":{"event_id": "e2"}', "unreadable_line"),
    ('{"user_id": "\\ud800"}', "invalid_unicode"),
    ('{"user_id": "u\\uDC00\\uD800"}', "invalid_unicode"),
    ('{"user_id": "\\ud83d\\ude00\\ude00"}', "invalid_unicode"),
    ('{"user_id": "\\\\\\ud83d"}', "invalid_unicode"),
    ('{"user_id": "\\\\ud83d"}', None),  # a backslash and letters
    ('{"user_id": "\\ud83d\\ude00"}', None),  # one character
    ('{"user_id": "u1", "user_id": "u2"}', "repeated_field"),
    (b'{"event_id": "\xff\xfe"}', "invalid_utf8"),
    (b"\xff\xfe\x00", "invalid_utf8"),
]


@pytest.fixture
def run(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """An attempt over a week of tmp_path/landing."""
    monkeypatch.setenv("INTENTREC_DATA", str(tmp_path / "raw"))
    return new_run("ingest", date(2026, 8, 3), date(2026, 8, 10))


def test_lines_are_split_into_fields(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    deliver(events_of(tmp_path / "raw", DAY), [line for line, _ in LINES])
    frame = jsonl.read_events(spark, run, DAY, date(2026, 8, 5))
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_EVENT]
    rows = {row["source_line"]: row for row in frame.collect()}
    assert {line: rows[line]["read_error"] for line in rows} == {
        number: error for number, (_, error) in enumerate(LINES, start=1)
    }
    apart = {line for line in rows if rows[line]["extra"] is not None}
    assert apart == {number for number, (_, error) in enumerate(LINES, start=1) if error not in UNREAD}
    assert all(row["source_file"] == f"events/arrived={DAY}/part-0.jsonl.gz" for row in rows.values())
    assert rows[2]["extra"] == {"new_column": "x"}
    assert rows[1]["extra"] == {}
    assert (rows[1]["duration_s"], rows[1]["position_s"], rows[3]["user_id"]) == ("60.5", "70", "7")
    assert rows[len(LINES) - 1]["raw"] == '{"event_id": "��"}'


def test_numbers_as_ids(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    """Whole numbers keep their digits. A fraction or an exponent shows in the text, so that the check refuses it."""
    whole = ["17001", "-5", "9007199254740993", "12345678901234567890", "12345678901234567891", "1" * 60]
    others = ["17001.0", "17001.5", "1e5", "1E5", "12345678901234567890.0", "1e-7", "1e400", "-1e400"]
    line = '{{"user_id": {}, "arrived_at": "2026-08-04T12:05:00Z"}}'
    deliver(events_of(tmp_path / "raw", DAY), [line.format(number) for number in whole + others])
    frame = jsonl.read_events(spark, run, DAY, date(2026, 8, 5)).orderBy("source_line")
    rows = frame.select("user_id", *(reason.isNotNull().alias(str(n)) for n, reason in enumerate(bad_id("user_id"))))
    got = [(row["user_id"], any(row[1:])) for row in rows.collect()]
    assert got[: len(whole)] == [(text, False) for text in whole]
    assert all(refused for _, refused in got[len(whole) :]), got


def test_arrival_is_the_rows_own_or_the_start_of_its_folders_date(
    spark: SparkSession, run: Run, tmp_path: Path
) -> None:
    deliver(events_of(tmp_path / "raw", DAY), [event(), event(arrived_at="2031-01-01T00:00:00Z"), "junk"])
    rows = jsonl.read_events(spark, run, DAY, date(2026, 8, 5)).select("source_line", F.unix_millis("arrived_at"))
    got = {line: datetime.fromtimestamp(millis / 1000, UTC) for line, millis in rows.collect()}
    midnight = datetime(2026, 8, 4, tzinfo=UTC)
    assert got == {1: datetime(2026, 8, 4, 12, 5, 0, 250_000, tzinfo=UTC), 2: midnight, 3: midnight}


def test_only_the_folders_asked_for_are_read(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    for day in range(1, 8):
        arrived = f"2026-08-{day:02}T00:00:00Z"
        deliver(events_of(tmp_path / "raw", date(2026, 8, day)), [event(event_id=f"e{day}", arrived_at=arrived)])
    (events_of(tmp_path / "raw", date(2026, 8, 1)) / "part-0.jsonl.gz").write_bytes(b"not a gzip")
    rows = jsonl.read_events(spark, run, date(2026, 8, 3), date(2026, 8, 6)).collect()
    assert sorted(row["event_id"] for row in rows) == ["e3", "e4", "e5"]


def test_a_window_without_files_is_an_error_with_the_folder(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    events_of(tmp_path / "raw", DAY).mkdir(parents=True)
    with pytest.raises(PipelineError, match=rf"{tmp_path}/raw/events: no raw events arrived in \[2026-08-04"):
        jsonl.read_events(spark, run, DAY, date(2026, 8, 5))


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("events/arrived=2026-08-04/readme.txt", r"readme\.txt: only \*\.jsonl\.gz"),
        ("events/arrived=2026-02-30/a.jsonl.gz", "2026-02-30 is not a date"),
        ("events/2026-08-04/a.jsonl.gz", "only folders arrived=YYYY-MM-DD"),
        ("events/a.jsonl.gz", "only folders arrived=YYYY-MM-DD"),
    ],
)
def test_other_files_and_folders_are_refused(
    spark: SparkSession, run: Run, tmp_path: Path, where: str, says: str
) -> None:
    path = tmp_path / "raw" / where
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(PipelineError, match=says):
        jsonl.read_events(spark, run, DAY, date(2026, 8, 5))


def test_snapshots_of_the_interval(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    """Only those in [start, end). Genres stay JSON text. A line that is no object, or a nested field, is marked."""
    for day in (date(2026, 7, 27), date(2026, 8, 3), date(2026, 8, 10)):
        deliver(
            snapshot_of(tmp_path / "raw", day),
            [item(item_id=f"of {day}", text="[REC]"), "junk", item(title_id={"a": 1})],
        )
    frame = jsonl.read_catalog(spark, run)
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_ITEM]
    rows = sorted(frame.collect(), key=lambda row: row["source_line"])
    assert [row["read_error"] for row in rows] == [None, "unreadable_line", "bad_type_title_id"]
    assert {row["snapshot_date"] for row in rows} == {date(2026, 8, 3)}
    assert (rows[0]["item_id"], rows[0]["genres"], rows[0]["episode"]) == ("of 2026-08-03", '["drama","crime"]', None)


def test_an_interval_without_snapshots_is_empty(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    deliver(snapshot_of(tmp_path / "raw", date(2026, 7, 27)), [item()])
    assert jsonl.read_catalog(spark, run).count() == 0
