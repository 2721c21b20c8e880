"""MovieLens' files: small ones with faults, and the published ones (whole and cut) against DuckDB."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.config import ROOT, Domain, load_domain
from intentrec.errors import PipelineError
from intentrec.raw_rows import RAW_EVENT, RAW_ITEM
from intentrec.sources import movielens as reader
from intentrec.storage.runs import Run
from tests.sources.landing import first_lines

WEEK = (date(1997, 9, 15), date(1997, 9, 22))
FLAGS = "0|0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
FILM = f"1|Misérables, Les (1995)|20-Oct-1995||http://example.org/a,%20b|{FLAGS}"


@pytest.fixture(scope="module")
def films() -> Domain:
    return load_domain(ROOT / "conf" / "movielens.yaml")


@pytest.fixture
def run(new_run: Callable[..., Run], films: Domain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """An attempt over tmp_path."""
    monkeypatch.setenv("INTENTREC_DATA", str(tmp_path))
    return new_run("ingest", *WEEK, films)


def read(spark: SparkSession, run: Run) -> dict[int, dict]:
    frame = reader.read_events(spark, run, date(1997, 9, 1), date(1998, 5, 1))
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_EVENT]
    return {row["source_line"]: row.asDict() for row in frame.collect()}


def test_a_line_is_a_rating(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    """874724710 is 20 September 1997, 03:05:10 UTC."""
    (tmp_path / reader.RATINGS).write_text("259\t255\t4\t874724710\n259\t255\tfour\t874724711\nnothing\n1\t2\t3\tnow\n")
    rows = read(spark, run)
    row = rows[1]
    assert len(row.pop("event_id")) == 64
    assert row.pop("arrived_at").astimezone(UTC) == datetime(1997, 9, 20, 3, 5, 10, tzinfo=UTC)
    assert row == {
        "raw": "259\t255\t4\t874724710",
        "source_file": reader.RATINGS,
        "source_line": 1,
        "read_error": None,
        "user_id": "259",
        "account_id": "259",
        "item_id": "255",
        "event_ts": "1997-09-20T03:05:10.000000Z",
        "event_type": "rate",
        "duration_s": None,
        "position_s": None,
        "surface": "site",
        "device": "unknown",
        "extra": {"rating": "4"},
    }
    assert rows[2]["extra"] == {"rating": "four"}, "what it is worth is decided elsewhere"
    assert (rows[3]["read_error"], rows[3]["event_id"]) == ("unreadable_line", None)
    assert (rows[4]["read_error"], rows[4]["event_ts"]) == ("bad_type_arrived_at", "now")
    late = reader.read_events(spark, run, date(1998, 1, 1), date(1998, 2, 1)).select("source_line").collect()
    assert sorted(row["source_line"] for row in late) == [3, 4], (
        "a line without a time is in no week, and read with each"
    )


def test_films_are_latin_1_and_may_have_no_date(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    lines = [FILM, f"267|unknown||||{FLAGS}", f"3|Soon|someday||u|{FLAGS}", "4|too few"]
    (tmp_path / reader.FILMS).write_bytes("".join(f"{line}\n" for line in lines).encode("latin-1"))
    frame = reader.read_catalog(spark, run)
    assert [(f.name, f.dataType) for f in frame.schema] == [(f.name, f.dataType) for f in RAW_ITEM]
    first, undated, odd, broken = (row.asDict() for row in frame.orderBy("source_line").collect())
    assert (first["title_id"], first["text"], first["kind"]) == ("1", "Misérables, Les (1995)", "film")
    assert first["genres"] == '["children","comedy"]'
    assert first["release_ts"] == "1995-10-20T00:00:00.000000Z"
    assert first["snapshot_date"] == date(1997, 9, 15)
    assert (undated["release_ts"], undated["read_error"]) == (None, None)
    assert odd["release_ts"] == "someday"
    assert (broken["read_error"], broken["genres"]) == ("unreadable_line", None)
    later = Run("ingest", date(1997, 9, 22), date(1997, 9, 29), run.domain, run.profile)
    assert reader.read_catalog(spark, later).count() == 0


def test_missing_files_are_named(spark: SparkSession, run: Run) -> None:
    with pytest.raises(PipelineError, match=r"u\.data: no such file.*INTENTREC_DATA"):
        read(spark, run)
    with pytest.raises(PipelineError, match=r"u\.item: no such file"):
        reader.read_catalog(spark, run)


@pytest.mark.parametrize(
    "lines", [5000, pytest.param(100_000, marks=pytest.mark.extended)], ids=["first lines", "whole"]
)
def test_the_published_files(spark: SparkSession, run: Run, shared_data: Path, lines: int, tmp_path: Path) -> None:
    folder = tmp_path
    first_lines(shared_data / "movielens-100k" / reader.RATINGS, lines, folder)
    first_lines(shared_data / "movielens-100k" / reader.FILMS, lines, folder)
    frame = reader.read_events(spark, run, date(1997, 9, 1), date(1998, 5, 1))
    counts = frame.agg(
        F.count("*"), F.count("read_error"), F.countDistinct("event_id"), F.min("event_ts"), F.max("event_ts")
    ).first()
    assert counts is not None
    (expected,) = duckdb.sql(
        f"""
        select count(*), 0, count(distinct (u, f, s)), strftime(to_timestamp(min(s))::timestamptz at time zone 'UTC',
               '%Y-%m-%dT%H:%M:%S.%fZ'), strftime(to_timestamp(max(s)) at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')
        from read_csv('{folder / reader.RATINGS}', delim='\t', header=false,
                      columns={{'u': 'varchar', 'f': 'varchar', 'r': 'int', 's': 'bigint'}})
        """
    ).fetchall()
    assert tuple(counts) == expected
    assert counts[0] == lines
    catalog = reader.read_catalog(spark, run).collect()
    plain = [line.split("|") for line in (folder / reader.FILMS).read_text("latin-1").splitlines()]
    assert len(catalog) == len(plain) == 1682
    for row, line in zip(sorted(catalog, key=lambda row: row["source_line"]), plain, strict=True):
        named = [genre for genre, flag in zip(reader.GENRES, line[6:], strict=True) if flag == "1"]
        assert (row["text"], row["genres"]) == (line[1], str(named).replace("'", '"').replace(", ", ","))
        day = datetime.strptime(line[2], "%d-%b-%Y").strftime("%Y-%m-%dT00:00:00.000000Z") if line[2] else None
        assert row["release_ts"] == day
