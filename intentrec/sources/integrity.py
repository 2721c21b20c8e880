"""Checks that a file is read whole: it has content, no line is skipped, and nothing changes while it is read.

Spark skips a line that is longer than the limit without a word. So the bytes of the lines that it read are compared
with those of the file. A compressed file is decompressed once more for that, by the driver, with a buffer of a few
kilobytes. The checks use Hadoop's file systems, so they hold for object stores, too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from intentrec.errors import PipelineError

LINE_LIMIT = "mapreduce.input.linerecordreader.line.maxlength"  # Hadoop's name; it counts the end of the line, too
SPLIT_DIFFERENTLY = "split differently than when its lines were counted: "
_AGAIN = "Nothing was written. Deliver the file again, or remove it, and run this interval again."
_SLACK = 3  # bytes that a file may have beyond its lines: a byte order mark
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Entry:
    """A file or folder: its full path, its name relative to the listed folder, and its size in bytes."""

    path: str
    name: str
    is_folder: bool
    size: int


def require_content(files: Sequence[Entry]) -> None:
    """Refuse gzip files without a byte, which are the rest of a broken delivery: an empty gzip file has a header.

    Raises:
        PipelineError: there is such a file; the message names it.
    """
    for file in files:
        if file.name.endswith(".gz") and not file.size:
            raise PipelineError(f"{_plain(file.path)}: has no byte, so it is not a gzip file. {_AGAIN}")


def require_short_lines(spark: SparkSession, files: Sequence[Entry], read: Mapping[str, int], longest: int) -> None:
    """Refuse files with a line that Spark skipped.

    Args:
        spark: the session.
        files: the files.
        read: path -> bytes of the lines that were read, with the ends of the lines.
        longest: bytes that a line may have.

    Raises:
        PipelineError: a line is longer; the message names file and line.
    """
    for file in files:
        size = _decompressed_size(spark, file)
        if size - read.get(file.path, 0) > _SLACK:
            with _named(file.path), _content(spark, file) as stream:
                line = _first_long_line(stream, longest)
            raise PipelineError(
                f"{_plain(file.path)}: line {line:,} is longer than source.max_line_bytes {longest:,}. Nothing was "
                "written. Remove the line from the file, or raise the limit in the domain file, and run this interval "
                "again."
            )


def _decompressed_size(spark: SparkSession, file: Entry) -> int:
    """Bytes of the content of a file. The driver decompresses it for that if need be, a few kilobytes at a time."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    if _codec(spark, file.path) is None:
        return file.size
    with _named(file.path), _content(spark, file) as stream:
        return stream.transferTo(jvm.java.io.OutputStream.nullOutputStream())


def _first_long_line(stream: JavaObject, longest: int) -> int:
    """1-based number of the first line with more than `longest` bytes; of the last line if there is none."""
    number, length = 1, 0
    while chunk := bytes(stream.readNBytes(_CHUNK)):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            if length + len(part) > longest:
                return number
            number, length = number + 1, 0
        length += len(rest)
        if length > longest:
            return number
    return number


@contextmanager
def _content(spark: SparkSession, file: Entry) -> Iterator[JavaObject]:
    """A stream of the file's bytes, decompressed as Hadoop reads its lines."""
    jvm, conf = spark.sparkContext._jvm, spark.sparkContext._jsc.hadoopConfiguration()
    assert jvm is not None
    path = jvm.org.apache.hadoop.fs.Path(file.path)
    codec = _codec(spark, file.path)
    stream = path.getFileSystem(conf).open(path)
    try:
        if codec is not None:
            stream = codec.createInputStream(stream)
        yield stream
    finally:
        stream.close()


def _codec(spark: SparkSession, path: str) -> JavaObject | None:
    """What decompresses a file with this name; None for a plain file."""
    jvm, conf = spark.sparkContext._jvm, spark.sparkContext._jsc.hadoopConfiguration()
    assert jvm is not None
    return jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(conf).getCodec(jvm.org.apache.hadoop.fs.Path(path))


@contextmanager
def unchanged(frame: DataFrame) -> Iterator[None]:
    """Materialise in this context what was read from files: they must still be as they were when `frame` was made.

    Raises:
        PipelineError: a file cannot be read, was changed or was removed; the message names it.
    """
    listed = _listed(frame)
    with read_errors():
        yield
    conf = frame.sparkSession.sparkContext._jsc.hadoopConfiguration()
    for path, size, modified in listed:
        with _named(path.toString()):
            now = path.getFileSystem(conf).getFileStatus(path)
            same = (now.getLen(), now.getModificationTime()) == (size, modified)
        if not same:
            raise _changed(path.toString())


def _listed(frame: DataFrame) -> list[tuple[JavaObject, int, int]]:
    """Path, size and time of change of each file that the frame reads, as Spark listed them when it was made."""
    leaves = frame._jdf.queryExecution().analyzed().collectLeaves()
    found = []
    for leaf in (leaves.apply(index) for index in range(leaves.size())):
        if leaf.getClass().getSimpleName() == "LogicalRelation":
            files = leaf.relation().location().allFiles()
            statuses = (files.apply(index) for index in range(files.size()))
            found += [(each.getPath(), each.getLen(), each.getModificationTime()) for each in statuses]
    return found


@contextmanager
def read_errors() -> Iterator[None]:
    """Turn Spark's failure to read a file into a PipelineError that names the file."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        text = str(error)
        changed = re.search(rf"{SPLIT_DIFFERENTLY}(\S+)", text)
        if changed is not None:
            raise _changed(unquote(changed.group(1))) from error
        found = re.search(r"\[FAILED_READ_FILE[^]]*\][^:]*?file (\S+?)\.?\s", text)
        found = found or re.search(r"\[PATH_NOT_FOUND\] Path does not exist: (\S+?)\.?\s", text)
        if found is None:
            raise
        causes = re.findall(r"Caused by: (?:[\w.$]+\.)?(\w+(?:: [^\n]*)?)", text)
        raise _unreadable(unquote(found.group(1)), causes[-1] if causes else "no cause given") from error


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn a failure of Hadoop's file system into a PipelineError that names the file."""
    try:
        yield
    except Py4JJavaError as error:
        raise _unreadable(path, str(error.java_exception.toString()).splitlines()[0]) from error


def _unreadable(path: str, why: str) -> PipelineError:
    return PipelineError(f"{_plain(path)}: cannot be read to its end ({why}). {_AGAIN}")


def _changed(path: str) -> PipelineError:
    return PipelineError(
        f"{_plain(path)}: changed while it was read. Nothing was written. Deliver whole files (write them under a "
        "name that begins with _ and rename them), and run this interval again."
    )


def _plain(path: str) -> str:
    """A local file's path without the scheme; other paths as they are."""
    return re.sub(r"^file:/+", "/", path)
