"""What a run of ingestion read: its delivered files, with size and hash, and which of them the simulator wrote.

The ledger keeps a summary (`Run.delivery`): the data folder and what named it, number, bytes and a digest of the files,
and how many are simulated. The list of all files is a record in the report folder of the run's interval, named after
the digest. A week on a cluster has thousands of files, and every command reads the whole ledger, so the list is not in
it.

A file is simulated if a marker beside it holds its hash (`marker_name`). A real file that takes the place of a
simulated one has another hash. Markers travel with their folder.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession

from intentrec.calendar import WEEK
from intentrec.config import Domain, Profile, marker_name, seconds
from intentrec.errors import PipelineError
from intentrec.sources import data_folder, named_by
from intentrec.storage.runs import Run, report_dir, write_text

THREADS = 4  # files that are hashed at the same time


@dataclass(frozen=True)
class File:
    """A delivered file.

    Attributes:
        name: relative to the data folder.
        size: bytes.
        modified: time of the last change, milliseconds since 1970.
        sha256: of its bytes, in hex.
        simulated: whether the simulator wrote it.
    """

    name: str
    size: int
    modified: int
    sha256: str
    simulated: bool


def record(spark: SparkSession, run: Run, frames: Sequence[DataFrame]) -> None:
    """Note the files behind the frames of a reader in `run.delivery`, and write the list into the report folder.

    Args:
        spark: the session.
        run: the attempt.
        frames: raw rows, as the reader returned them.

    Raises:
        PipelineError: a file cannot be read.
    """
    folder = data_folder(run)
    paths = sorted({path for frame in frames for path in frame.inputFiles()})
    with ThreadPoolExecutor(THREADS) as pool:
        files = sorted(pool.map(lambda path: _file(spark, folder, path), paths), key=lambda file: file.name)
    found = digest(files)
    run.delivery = {
        "folder": folder,
        "named_by": named_by(run),
        "files": str(len(files)),
        "bytes": str(sum(file.size for file in files)),
        "sha256": found,
        "simulated_files": str(sum(file.simulated for file in files)),
    }
    content = json.dumps({**run.delivery, "list": [asdict(file) for file in files]}, indent=1)
    write_text(run.report_dir / _record_name(found), content + "\n")


def digest(files: Iterable[File]) -> str:
    """SHA-256 over names, sizes and hashes; the times of change have no influence."""
    lines = sorted(f"{file.sha256} {file.size} {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_of(profile: Profile, domain: Domain, attempt: Mapping[str, Any]) -> list[File] | None:
    """The files that an attempt read.

    Args:
        profile: names the folder of the reports.
        domain: the domain file.
        attempt: a row of the ledger.

    Returns:
        None if the attempt read no files, or their record is not on this machine.
    """
    if not (attempt.get("delivery") or {}).get("sha256"):
        return None
    folder = report_dir(profile, domain, attempt["start"], attempt["end"])
    path: Path = folder / _record_name(attempt["delivery"]["sha256"])
    if not path.exists():
        return None
    return [File(**each) for each in json.loads(path.read_text("utf-8"))["list"]]


def simulated_weeks(ledger: Iterable[Mapping[str, Any]]) -> set[date]:
    """First service dates of the weeks for which the latest ingestion read a simulated file.

    The latest successful ingestion counts, whose rows are in the tables, and the latest one of any other status, whose
    counts a page shows.

    Args:
        ledger: as `storage.runs.ledger` returns it, oldest attempt first.
    """
    latest: dict[tuple[date, bool], bool] = {}
    for row in ledger:
        if row["job"] == "ingest" and row.get("delivery"):
            week = row["start"]
            while week < row["end"]:
                simulated = int(row["delivery"].get("simulated_files", 0)) > 0
                latest[week, False] = simulated
                if row["status"] == "succeeded":
                    latest[week, True] = simulated
                week += WEEK
    return {week for (week, _), simulated in latest.items() if simulated}


def provenance(ledger: Iterable[Mapping[str, Any]], weeks: Sequence[date]) -> str:
    """What a page says about the weeks whose rows it shows: a sentence if some are simulated, else nothing."""
    found = simulated_weeks(ledger) & {*weeks}
    if not found:
        return ""
    return "Simulated data." if len(found) == len(weeks) else f"Simulated data in {len(found)} of {len(weeks)} weeks."


def simulated_before(ledger: Iterable[Mapping[str, Any]], end: date, domain: Domain) -> bool:
    """Whether a model trained for `end`, or a sequence that it read, can rest on simulated rows."""
    reach = WEEK * domain.training.weeks + timedelta(seconds=seconds(domain.sequences.lookback))
    return any(end - reach <= week < end for week in simulated_weeks(ledger))


def _file(spark: SparkSession, folder: str, uri: str) -> File:
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    path = jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(uri))
    system = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    try:
        status = system.getFileStatus(path)
        sha256 = _read(system, path, jvm.org.apache.commons.codec.digest.DigestUtils.sha256Hex)
        marker = jvm.org.apache.hadoop.fs.Path(path.getParent(), marker_name(path.getName()))
        claimed = None
        if system.exists(marker):
            claimed = _read(system, marker, lambda stream: bytes(stream.readNBytes(64)).decode("ascii", "replace"))
    except Py4JJavaError as error:
        cause = str(error.java_exception).splitlines()[0]
        raise PipelineError(
            f"{uri}: cannot be read ({cause}). Nothing was written. Deliver the file again, or remove it, and run this "
            "interval again."
        ) from error
    full = path.toUri().getPath()
    root = jvm.org.apache.hadoop.fs.Path(folder).toUri().getPath().rstrip("/") + "/"
    return File(full.removeprefix(root), status.getLen(), status.getModificationTime(), sha256, claimed == sha256)


def _read(system: Any, path: Any, use: Any) -> Any:
    stream = system.open(path)
    try:
        return use(stream)
    finally:
        stream.close()


def _record_name(of: str) -> str:
    return f"delivery-{of[:16]}.json"
