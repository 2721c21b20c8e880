"""Line numbers without sorting, and files that cannot be read."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from intentrec.errors import PipelineError
from intentrec.sources.files import first_line, listing, numbered_lines
from intentrec.sources.integrity import unchanged

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


def test_a_gzip_without_a_byte_is_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl.gz").write_bytes(b"")
    files = listing(spark, str(tmp_path))
    with pytest.raises(PipelineError, match=f"^{tmp_path}/none.jsonl.gz: has no byte"):
        numbered_lines(spark, files)
    with pytest.raises(PipelineError, match=f"^{tmp_path}/none.jsonl.gz: has no byte"):
        first_line(spark, files[0])


def test_a_link_that_leads_nowhere_is_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_bytes(b"x")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "good.jsonl")
    (tmp_path / "_partial.jsonl").symlink_to(tmp_path / "gone")
    assert [entry.name for entry in listing(spark, str(tmp_path))] == ["good.jsonl", "link.jsonl"]
    (tmp_path / "old.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(PipelineError, match=f"^{tmp_path}/old.jsonl: leads to {tmp_path}/gone, which does not exist"):
        listing(spark, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "lines", "line"),
    [
        ("first.jsonl.gz", [3000, 10, 10], 1),
        ("middle.jsonl.gz", [10, 1001, 1002, 10], 3),
        ("last.jsonl.gz", [10, 10, 40_000], 3),
        ("plain.jsonl", [500] * 60 + [90_000] + [500] * 60, 61),  # over several blocks
        ("only.jsonl.gz", [60_000_000], 1),  # of 58 KB
    ],
)
def test_a_line_that_is_too_long_is_named(
    spark: SparkSession, tmp_path: Path, small_blocks: None, name: str, lines: list[int], line: int
) -> None:
    """Also where the file consists of two gzip files one after the other. A line at the limit is no error."""
    content = [b"x" * length + b"\n" for length in lines]
    zipped = name.endswith(".gz")
    (tmp_path / name).write_bytes(b"".join(map(gzip.compress, content)) if zipped else b"".join(content))
    good = b"\xef\xbb\xbf" + b"a" * 1000 + b"\r\n" * 2 + b"b" * 1000
    (tmp_path / "good.jsonl.gz").write_bytes(gzip.compress(good))
    files = {entry.name: entry for entry in listing(spark, str(tmp_path))}
    assert numbered_lines(spark, [files["good.jsonl.gz"]], longest=1001).count() == 3
    with pytest.raises(PipelineError, match=f"^{tmp_path}/{name}: line {line} is longer than") as error:
        numbered_lines(spark, list(files.values()), longest=1001)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("a.jsonl.gz", lambda path: path.unlink(), "cannot be read to its end"),
        ("a.jsonl.gz", lambda path: path.write_bytes(GOOD[: len(GOOD) // 2]), "cannot be read to its end"),
        ("a.jsonl.gz", lambda path: path.write_bytes(gzip.compress(b"another line\n")), "changed while it was read"),
        ("a.jsonl", lambda path: path.write_bytes(path.read_bytes() + b"one more\n"), "changed while it was read"),
        ("a.jsonl", lambda path: path.write_bytes(b"one line\n"), "changed while it was read"),
    ],
    ids=["removed", "cut", "replaced", "longer", "shorter"],
)
def test_a_file_that_changes_between_the_passes_is_named(
    spark: SparkSession, tmp_path: Path, name: str, change: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(GOOD if name.endswith(".gz") else gzip.decompress(GOOD))
    lines = numbered_lines(spark, listing(spark, str(tmp_path)))
    with unchanged(lines):
        assert lines.count() == 20_000
    change(path)
    with pytest.raises(PipelineError, match=f"^{path}: {says}") as error, unchanged(lines):
        lines.agg({"source_line": "sum"}).collect()
    assert len(str(error.value).splitlines()) == 1


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
