"""KuaiRand's files: small ones with every fault, and the published log and its first lines against DuckDB."""

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.raw_rows import RAW_EVENT, RAW_ITEM
from intentrec.sources import kuairand as reader
from intentrec.storage.runs import Run
from tests.sources.landing import first_lines

WEEK = (date(2022, 4, 25), date(2022, 5, 2))
LOG = "log_standard_part.csv.gz"
HEADER = "user_id,video_id,date,hourmin,time_ms,is_click,play_time_ms,duration_ms,tab"
GOOD = "712,5239,20220425,100,1650819941436,1,61802,49866,1"  # 01:05:41.436 on 26 April in Shanghai's 25th, 17:05 UTC
VIDEOS = "video_id,author_id,upload_dt,upload_type,video_duration,tag"


@pytest.fixture
def run(new_run: Callable[..., Run], kuairand: Domain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """An attempt over tmp_path."""
    monkeypatch.setenv("INTENTREC_DATA", str(tmp_path))
    return new_run("ingest", *WEEK, kuairand)


def write_log(folder: Path, *lines: str, header: str = HEADER) -> None:
    (folder / LOG).write_bytes(gzip.compress("".join(f"{line}\n" for line in (header, *lines)).encode()))


def read(spark: SparkSession, run: Run) -> dict[int, dict]:
    frame = reader.read_events(spark, run, date(2022, 4, 24), date(2022, 5, 4))
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_EVENT]
    exact = frame.withColumn("arrived_at", F.unix_millis("arrived_at"))
    return {row["source_line"]: row.asDict() for row in exact.collect()}


def test_a_row_is_a_play(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    write_log(tmp_path, GOOD)
    row = read(spark, run)[2]
    assert len(row.pop("event_id")) == 64
    assert row == {
        "raw": GOOD,
        "source_file": LOG,
        "source_line": 2,
        "arrived_at": 1650819941436,
        "read_error": None,
        "user_id": "712",
        "account_id": "712",
        "item_id": "5239",
        "event_ts": "2022-04-24T17:05:41.436000Z",
        "event_type": "play",
        "duration_s": "61.802",
        "position_s": "49.866",
        "surface": "tab_1",
        "device": "unknown",
        "extra": {"is_click": "1"},
    }


def test_faulty_rows(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    """Each keeps its text and line. A fault shows as a read error, or as text that a later check refuses."""
    write_log(
        tmp_path,
        GOOD,
        GOOD.replace("100,1650819941436", "200,1650819941436"),  # 3: the same play, logged an hour later
        "712,5239,20220425,100",  # 4: too short
        GOOD + ",1,2",  # 5: too long
        GOOD.replace("1650819941436", "soon"),  # 6
        GOOD.replace("1650819941436", "9223372036854775807"),  # 7: beyond any timestamp
        GOOD.replace("1650819941436", "32503680000000"),  # 8: the year 3000
        GOOD.replace("20220425", "99999999"),  # 9: no such date of logging
        GOOD.replace("61802", "-5"),  # 10
        GOOD.replace("61802", "1d"),  # 11
        GOOD.replace("712,", ","),  # 12: nobody
        "",  # 13
    )
    rows = read(spark, run)
    assert sorted(rows) == list(range(2, 14))
    assert rows[2]["event_id"] == rows[3]["event_id"]
    assert rows[3]["arrived_at"] - 1650819941436 == pytest.approx(3_600_000 - 341_436), "the start of the later hour"
    errors = {line: row["read_error"] for line, row in rows.items() if row["read_error"]}
    unread = dict.fromkeys((4, 5, 13), "unreadable_line")
    assert errors == {**unread, 9: "bad_type_arrived_at"}
    assert [rows[line]["event_ts"] for line in (6, 7)] == ["soon", "9223372036854775807"]
    assert rows[8]["event_ts"].startswith("3000-01-01")
    late = datetime.fromtimestamp(rows[8]["arrived_at"] / 1000, UTC)
    assert late == datetime(2022, 4, 24, 18, 0, tzinfo=UTC), "a clock years off does not move the arrival"
    assert (rows[10]["duration_s"], rows[11]["duration_s"], rows[12]["user_id"]) == ("-0.005", "1d", None)
    assert all(rows[line]["extra"] is None for line in unread)
    later = reader.read_events(spark, run, date(2022, 5, 1), date(2022, 5, 2)).select("source_line").collect()
    assert {row["source_line"] for row in later} == errors.keys(), (
        "a line without a time is in no week, and read with each"
    )


def test_an_extra_column_goes_to_extra_in_any_order(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    write_log(tmp_path, f"new,{GOOD},", header=f"a `new` one,{HEADER},empty")
    row = read(spark, run)[2]
    assert row["extra"] == {"is_click": "1", "a `new` one": "new"}
    assert row["user_id"] == "712"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (HEADER.replace("time_ms,is", "time,is"), f"{LOG}: column time_ms is missing"),
        (HEADER.replace("user_id,", "").replace(",tab", ""), f"{LOG}: column tab, user_id is missing"),
        (HEADER + ",Tab", "a column appears twice"),
    ],
)
def test_a_wrong_header_is_one_error(spark: SparkSession, run: Run, tmp_path: Path, header: str, says: str) -> None:
    write_log(tmp_path, GOOD, header=header)
    with pytest.raises(PipelineError, match=says):
        read(spark, run)


def test_a_missing_file_is_an_error_with_the_folder(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=f"{tmp_path}: no log_standard"):
        read(spark, run)
    with pytest.raises(PipelineError, match=f"{tmp_path}/video_features_basic_pure.csv: no such file"):
        reader.read_catalog(spark, run)


def test_a_truncated_log_is_named(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    write_log(tmp_path, *[GOOD] * 1000)
    (tmp_path / LOG).write_bytes((tmp_path / LOG).read_bytes()[:-20])
    with pytest.raises(PipelineError, match=f"{LOG}: cannot be read"):
        read(spark, run)


def test_videos(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    lines = [VIDEOS, '7,99,2022-04-10,Web,9233.0,"3,12"', "8,98,someday,Web,,", "9"]
    (tmp_path / reader.VIDEOS).write_text("\n".join(lines) + "\n")
    frame = reader.read_catalog(spark, run)
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_ITEM]
    rows = {row["source_line"]: row for row in frame.collect()}
    assert rows[2]["snapshot_date"] == date(2022, 4, 25)
    facts = ("item_id", "title_id", "kind", "genres", "creator", "release_ts", "runtime_s")
    uploaded = "2022-04-09T16:00:00.000000Z"  # midnight in Shanghai
    assert [rows[2][name] for name in facts] == ["7", "7", "Web", '["tag_3","tag_12"]', "99", uploaded, "9.233"]
    assert [rows[3][name] for name in facts] == ["8", "8", "Web", "[]", "98", "someday", None]
    assert rows[4]["read_error"] == "unreadable_line"


def test_videos_belong_to_the_first_week(spark: SparkSession, new_run, kuairand: Domain) -> None:
    assert reader.read_catalog(spark, new_run("ingest", WEEK[1], date(2022, 5, 9), kuairand)).count() == 0


@pytest.mark.parametrize("lines", [5000, pytest.param(None, marks=pytest.mark.extended)], ids=["first lines", "whole"])
def test_the_published_log(
    spark: SparkSession,
    run: Run,
    shared_data: Path,
    lines: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Every row arrives once, with DuckDB's sums; plays that were logged twice share an id."""
    folder = shared_data / "kuairand"
    if lines is None:
        request.getfixturevalue("compiling")
        monkeypatch.setenv("INTENTREC_DATA", str(folder))
    else:
        first_lines(next(folder.glob("log_standard_*.csv.gz")), lines, tmp_path)
        folder = tmp_path
    frame = reader.read_events(spark, run, date(2022, 4, 1), date(2022, 6, 1))
    got = frame.agg(
        F.count("*"),
        F.count_distinct("event_id"),
        F.count("read_error"),
        F.sum(F.round(F.col("duration_s").try_cast("double") * 1000).cast("bigint")),
        F.sum(F.unix_millis(F.col("event_ts").try_cast("timestamp"))),
        F.sum(F.col("extra")["long_view"].try_cast("bigint")),
        F.min("source_line"),
        F.max("source_line"),
    ).first()
    want = duckdb.sql(f"""
        select count(*), count(distinct (user_id, video_id, time_ms)), 0,
               sum(play_time_ms), sum(time_ms), sum(long_view),
               2, count(*) + 1
        from read_csv('{folder}/log_standard_*.csv.gz')
    """).fetchall()[0]
    assert got is not None
    assert tuple(got) == tuple(int(value) for value in want)
    assert got[1] < got[0]
