"""Line numbers without sorting, and files that cannot be read."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.errors import PipelineError
from intentrec.sources.files import first_line, listing, numbered_lines

GOOD = gzip.compress(b"\n".join(b'{"line": %d}' % n for n in range(20_000)), mtime=0)


@pytest.fixture
def small_blocks(spark: SparkSession) -> Iterator[None]:
    """Make tasks read blocks of 16 KiB, so that a plain file has many blocks and several files share a task."""
    name = "spark.sql.files.maxPartitionBytes"
    before = spark.conf.get(name)
    assert before is not None
    spark.conf.set(name, str(16 * 1024))
    yield
    spark.conf.set(name, before)


def test_every_line_has_its_own_number(spark: SparkSession, tmp_path: Path, small_blocks: None) -> None:
    """Plain files in blocks, gzipped ones whole, empty ones, and a folder whose name needs escaping."""
    folder = tmp_path / "a b+c%20[1]{x}" / "arrived=2026-08-04"
    folder.mkdir(parents=True)
    (folder / "plain.jsonl").write_bytes(b"\n".join(b"plain %d" % n for n in range(1, 12_001)))
    (folder / "ends.jsonl").write_bytes(b"".join(b"ends %d\r\n" % n for n in range(1, 4_001)))
    (folder / "many.jsonl.gz").write_bytes(gzip.compress(b"".join(b"many %d\n" % n for n in range(1, 30_001))))
    (folder / "one.jsonl.gz").write_bytes(gzip.compress(b"one 1"))
    (folder / "no-line.jsonl.gz").write_bytes(gzip.compress(b""))
    (folder / "no-byte.jsonl.gz").write_bytes(b"")
    (folder / "no-byte.jsonl").write_bytes(b"")
    lines = numbered_lines(spark, listing(spark, str(folder)))
    got = {(row["source_file"], row["source_line"], row["value"].rstrip("\r")) for row in lines.collect()}
    want = {("plain.jsonl", n, f"plain {n}") for n in range(1, 12_001)}
    want |= {("ends.jsonl", n, f"ends {n}") for n in range(1, 4_001)}
    want |= {("many.jsonl.gz", n, f"many {n}") for n in range(1, 30_001)}
    want |= {("one.jsonl.gz", 1, "one 1")}
    assert got == want


def test_both_passes_must_split_the_files_alike(spark: SparkSession, tmp_path: Path, small_blocks: None) -> None:
    """Lines of a block without a count have no number. This is an error, so that no line is lost."""
    (tmp_path / "plain.jsonl").write_bytes(b"\n".join(b"plain %d" % n for n in range(12_000)))
    files = listing(spark, str(tmp_path))
    assert numbered_lines(spark, files).count() == 12_000
    counted = numbered_lines(spark, files)
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(5 * 1024))
    with pytest.raises(Exception, match=r"split differently than when its lines were counted: .*plain\.jsonl"):
        counted.collect()


def test_empty_files_have_no_lines(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "no-line.jsonl.gz").write_bytes(gzip.compress(b""))
    assert numbered_lines(spark, listing(spark, str(tmp_path))).count() == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.jsonl.gz", GOOD[: len(GOOD) // 2]),
        ("cut-in-trailer.jsonl.gz", GOOD[:-4]),
        ("wrong-sum.jsonl.gz", GOOD[:-8] + b"\0\1\2\3" + GOOD[-4:]),
        ("not-a-gzip.jsonl.gz", b'{"line": 1}\n'),
    ],
)
def test_a_file_that_cannot_be_read_is_named(spark: SparkSession, tmp_path: Path, name: str, content: bytes) -> None:
    """One clear error before anything is returned, even if another file is good."""
    (tmp_path / "good.jsonl.gz").write_bytes(GOOD)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PipelineError, match=f"^{tmp_path}/{name}: cannot be read to its end") as error:
        numbered_lines(spark, listing(spark, str(tmp_path)))
    assert len(str(error.value).splitlines()) == 1
    if name.startswith(("cut.", "not")):
        with pytest.raises(PipelineError, match=name):
            numbered_lines(spark, [entry for entry in listing(spark, str(tmp_path)) if entry.name == name])


def test_listing_leaves_out_work_in_progress(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("b.jsonl.gz", "a.jsonl.gz", ".b.jsonl.gz.crc", "_temporary"):
        (tmp_path / name).touch()
    assert [entry.name for entry in listing(spark, str(tmp_path))] == ["a.jsonl.gz", "b.jsonl.gz"]


def test_a_missing_folder_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="nowhere: no such folder"):
        listing(spark, str(tmp_path / "nowhere"))


def test_first_line(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x,y\n1,2\n"))
    (tmp_path / "b.csv").write_bytes(b"")
    (tmp_path / "c.csv.gz").write_bytes(b"x,y")
    entries = listing(spark, str(tmp_path))
    assert first_line(spark, entries[0]) == "x,y"
    assert first_line(spark, entries[1]) is None
    with pytest.raises(PipelineError, match=r"c\.csv\.gz"):
        first_line(spark, entries[2])
