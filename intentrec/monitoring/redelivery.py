"""Which weeks were ingested from files that have changed since: a file was delivered again, or came later.

Size and time of change are compared first; where they differ, the hash of the content decides. A file that is no longer
there makes nothing stale, because landing zones are emptied. No Spark starts.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from intentrec.calendar import WEEK, due_at
from intentrec.config import Domain, Profile
from intentrec.events.outcomes import arrival_dates
from intentrec.monitoring.staleness import latest_successes
from intentrec.sources import load
from intentrec.sources.delivery import File, files_of

CHUNK = 1 << 20  # bytes


@dataclass
class Redelivered:
    """Pairs of job and week that are stale, and sentences about what could not be checked."""

    weeks: set[tuple[str, date]] = field(default_factory=set)
    unchecked: list[str] = field(default_factory=list)


def redelivered(profile: Profile, domain: Domain, ledger: Iterable[Mapping[str, Any]]) -> Redelivered:
    """Compare the files of each week's latest ingestion with what is delivered now.

    Args:
        profile: names the folder of the reports, where the records of the files are.
        domain: the domain file.
        ledger: as `storage.runs.ledger` returns it.
    """
    found = Redelivered()
    folders: dict[str, _Folder | None] = {}
    changed: dict[str, set[str]] = {}
    for (job, week), row in sorted(latest_successes(ledger, domain).items(), key=lambda each: each[0]):
        files = files_of(profile, domain, row) if job == "ingest" else None
        if files is None:
            continue
        folder = row["delivery"]["folder"]
        if folder not in folders:
            try:
                folders[folder] = _Folder(folder)
            except (OSError, ValueError) as error:  # an unknown scheme, or no access
                folders[folder] = None
                found.unchecked.append(f"{folder} cannot be listed, so redelivered files are not seen: {error}")
        now = folders[folder]
        if now is not None:
            if row["run_id"] not in changed:
                changed[row["run_id"]] = now.changed(files)
            if _concerned(changed[row["run_id"]], now, files, week, domain):
                found.weeks.add((job, week))
    return found


class _Folder:
    """A data folder as it is now."""

    def __init__(self, folder: str) -> None:
        self.system: FileSystem = LocalFileSystem()
        self.path = folder
        if "://" in folder:
            self.system, self.path = FileSystem.from_uri(folder)
        listed = self.system.get_file_info(FileSelector(self.path, allow_not_found=True, recursive=True))
        self.now: dict[str, FileInfo] = {
            info.path.removeprefix(f"{self.path.rstrip('/')}/"): info for info in listed if info.type == FileType.File
        }

    def changed(self, files: Iterable[File]) -> set[str]:
        """Names of files whose content is another one now."""
        return {file.name for file in files if file.name in self.now and self._differs(file, self.now[file.name])}

    def _differs(self, file: File, now: FileInfo) -> bool:
        if now.size != file.size:
            return True
        if now.mtime_ns is not None and now.mtime_ns // 1_000_000 == file.modified:
            return False
        with self.system.open_input_stream(now.path, compression=None) as stream:
            found = hashlib.sha256()
            while chunk := stream.read(CHUNK):
                found.update(chunk)
        return found.hexdigest() != file.sha256


def _concerned(changed: set[str], folder: _Folder, files: Iterable[File], week: date, domain: Domain) -> bool:
    """Whether a changed file, or one that came later, can hold rows of the week that are in time.

    Files of the day of the deadline are left out: rows that are too late go on arriving on that day.
    """
    reads = getattr(load(domain.source.reader), "reads", None)
    if reads is None:
        return bool(changed)
    first, _ = arrival_dates(week, week + WEEK, domain, include_late=False)
    until = due_at(week + WEEK, domain.calendar).date()
    new = folder.now.keys() - {file.name for file in files}
    return any(reads(name, week, week + WEEK, first, until) for name in changed | new)
