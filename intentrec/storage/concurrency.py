"""Whether the rows that a run relies on are still current when it commits.

Delta refuses a commit only if another one comes between its own beginning and its end. But an attempt of a job reads
minutes before it commits. If Airflow gives the attempt up, its process lives on. The retry reads newer rows and
commits, and then the first attempt would replace them by what it made of older ones. So before each commit a run checks
that no other run changed

- the interval that it is about to replace, since the run opened the warehouse,
- the rows that it read, since the version that it read,
- the rows that it wrote into other tables before.

Compared are rows. A commit to other partitions, and one that only moves rows into other files (`OPTIMIZE`), refuses
nothing.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import date

from intentrec.contracts import Table
from intentrec.errors import Superseded
from intentrec.storage import delta
from intentrec.storage.delta import Snapshot


@dataclass(frozen=True)
class Seen:
    """Rows of a table as a run saw them: the partitions [start, end), all where None, at a version.

    The version is None where the table did not exist.
    """

    table: Table
    version: int | None
    start: date | None = None
    end: date | None = None

    def __str__(self) -> str:
        if self.start is None and self.end is None:
            return self.table.name
        return f"{self.table.name} [{self.start or '...'}, {self.end or '...'})"

    def meets(self, other: "Seen") -> bool:
        """Whether both can hold the same row."""
        first, last = date.min, date.max
        return (
            self.table.name == other.table.name
            and (self.start or first) < (other.end or last)
            and (other.start or first) < (self.end or last)
        )


class ConcurrencyCheck:
    """What one run has read and written, and the versions that the tables had before.

    Args:
        versions: latest version of each existing table, from before the run read anything.
        content: gives something that is equal for equal rows; None if the rows cannot be read.
    """

    def __init__(self, versions: dict[str, int], content: Callable[[Seen], Hashable | None]) -> None:
        self._versions = versions
        self._content = content
        self._seen: dict[Seen, str] = {}

    def saw(self, seen: Seen) -> None:
        """Note rows that the run read."""
        self._seen[seen] = "read"

    def wrote(self, seen: Seen) -> None:
        """Note rows that the run wrote, or found as it would have written them. From now on it relies on these."""
        assert seen.version is not None
        self._versions[seen.table.name] = seen.version
        self._seen = {each: how for each, how in self._seen.items() if not each.meets(seen)}
        self._seen[seen] = "wrote"

    def require(
        self, warehouse: str, table: Table, what: str, start: date | None = None, end: date | None = None
    ) -> None:
        """Refuse a commit to [start, end) of `table` if another run changed what this one relies on.

        Args:
            warehouse: root of the domain's tables.
            table: the table that is about to be written.
            what: the rows, for the message.
            start: first partition date that is about to be replaced; no interval: only rows that do not exist yet.
            end: partition date after the last.

        Raises:
            Superseded: it did.
        """
        nothing = "this run changed nothing here. Run it again"
        if start is not None and self._changed(warehouse, Seen(table, self._versions.get(table.name), start, end)):
            raise Superseded(f"{table.name} {what}: another run wrote this since this run began; {nothing}")
        for seen, how in self._seen.items():
            if self._changed(warehouse, seen):
                raise Superseded(f"{table.name} {what}: another run changed {seen} since this run {how} it; {nothing}")

    def _changed(self, warehouse: str, seen: Seen) -> bool:
        """Whether the latest version has other rows. Looks at the log first; reads rows only where files differ."""
        if not delta.exists(warehouse, seen.table):
            return False
        latest = Snapshot(warehouse, seen.table)
        if latest.version == seen.version:
            return False
        before = _files(Snapshot(warehouse, seen.table, seen.version), seen) if seen.version is not None else set()
        if _files(latest, seen) == before:
            return False
        now = self._content(Seen(seen.table, latest.version, seen.start, seen.end))
        return now is None or self._content(seen) != now


def _files(snapshot: Snapshot, seen: Seen) -> set[delta.DataFile]:
    return set(snapshot.files(seen.start, seen.end))
