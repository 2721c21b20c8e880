"""The pinned inputs of a weekly training, and a fingerprint of everything that determines its result.

Two runs with one fingerprint would train the same model, so the second one does not train.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import intentrec
from intentrec.calendar import DAY, WEEK
from intentrec.config import fingerprint
from intentrec.contracts import CATALOG, SEQUENCES, Table
from intentrec.storage.conformity import require_migrated
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run
from intentrec.training.settings import settings


@dataclass(frozen=True)
class Inputs:
    """Pinned versions, the cut-off T - 7d, and the fingerprint of what is read there."""

    trained_for: date
    cutoff: date
    sequences: int
    catalog: int
    fingerprint: str

    @classmethod
    def of(cls, run: Run) -> "Inputs":
        """Pin the tables as they are now, and record them as the run's inputs.

        Raises:
            PipelineError: a table does not exist.
        """
        cutoff = run.end - WEEK
        sequences, catalog = pin(run, SEQUENCES), pin(run, CATALOG)
        first = cutoff - run.domain.training.weeks * WEEK
        about = {
            "trained_for": run.end,
            "settings": settings(run.domain),
            "sequences": content(run.warehouse, SEQUENCES, sequences, first + DAY, run.end - WEEK),
            "catalog": content(run.warehouse, CATALOG, catalog, date.min, cutoff - DAY),
            "code": code_hash("model/*.py", "training/*.py"),
        }
        return cls(run.end, cutoff, sequences, catalog, fingerprint(about))


def pin(run: Run, table: Table) -> int:
    """The table's latest version, which the run records as an input and reads from then on.

    Raises:
        PipelineError: the table does not exist, or an earlier version made it.
    """
    if table.name not in run.inputs:
        latest = Snapshot(run.warehouse, table)
        require_migrated(latest, run.domain.domain)
        run.inputs[table.name] = latest.version
    return run.inputs[table.name]


def content(warehouse: str, table: Table, version: int, first: date, last: date) -> str:
    """Hash of the data files that hold the partitions first to last, both included.

    A table's version moves with every commit to any partition; these files are replaced only when the warehouse
    commits other rows to theirs.
    """
    files = Snapshot(warehouse, table, version).files(first, last + DAY)
    return fingerprint(sorted((file.path, file.size) for file in files))


def code_hash(*patterns: str) -> str:
    """Hash of the package's sources that match one of the patterns, such as `model/*.py`."""
    root = Path(intentrec.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
