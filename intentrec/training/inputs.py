"""The pinned inputs of a weekly training, and a fingerprint of everything that determines its result.

Two runs with one fingerprint would train the same model, so the second one does not train.
"""

import ast
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import intentrec
from intentrec.calendar import DAY, WEEK
from intentrec.config import fingerprint
from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS, Table
from intentrec.storage.checksum import checksum
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run, write_text
from intentrec.storage.schemas import require_migrated
from intentrec.training.data import known_from
from intentrec.training.settings import settings


@dataclass(frozen=True)
class Inputs:
    """Pinned versions, the cut-off T - 7d, and the fingerprint of what is read there."""

    trained_for: date
    cutoff: date
    sequences: int
    catalog: int
    title_facts: int
    fingerprint: str

    @classmethod
    def of(cls, run: Run) -> "Inputs":
        """Pin the tables as they are now, and record them as the run's inputs.

        Raises:
            PipelineError: a table does not exist.
        """
        cutoff = run.end - WEEK
        sequences, catalog, title_facts = pin(run, SEQUENCES), pin(run, CATALOG), pin(run, TITLE_FACTS)
        first = cutoff - run.domain.training.weeks * WEEK
        about = {
            "trained_for": run.end,
            "settings": settings(run.domain),
            "sequences": content(run, SEQUENCES, sequences, first + DAY, run.end - WEEK),
            "catalog": content(run, CATALOG, catalog, date.min, cutoff - DAY),
            "title_facts": content(
                run, TITLE_FACTS, title_facts, known_from(cutoff, run.domain.training.weeks), cutoff
            ),
            "code": code_hash("model/*.py", "training/*.py"),
        }
        return cls(run.end, cutoff, sequences, catalog, title_facts, fingerprint(about))


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


def content(run: Run, table: Table, version: int, first: date, last: date) -> str:
    """Hash of the rows in the partitions first to last, both included.

    It does not depend on the files that hold the rows, which `OPTIMIZE` replaces. But a partition whose files are known
    is not read again: the work folder keeps its checksum. So the cost is that of the partitions that changed.

    Args:
        run: the attempt; its profile names the work folder.
        table: a table with partitions.
        version: of the table.
        first: first partition date.
        last: last partition date.
    """
    snapshot = Snapshot(run.warehouse, table, version)
    files: dict[str, list[tuple[str, int]]] = {}
    for file in snapshot.files(first, last + DAY):
        files.setdefault(str(file.day), []).append((file.path, file.size))
    path = Path(run.profile.work) / "checksums" / run.domain.domain / f"{table.name}.json"
    known = _read_checksums(path)
    found = {}
    for day, of_day in sorted(files.items()):
        key = fingerprint([run.warehouse, sorted(of_day)])
        of_files, rows = known.get(day, ("", ""))
        if of_files != key:
            rows = checksum(snapshot.batches(date.fromisoformat(day)))
        found[day] = (key, rows)
    if any(known.get(day) != entry for day, entry in found.items()):
        write_text(path, json.dumps({**known, **found}, indent=0))
    return fingerprint({day: rows for day, (_, rows) in found.items() if not rows.startswith("0:")})


def _read_checksums(path: Path) -> dict[str, tuple[str, str]]:
    """By partition date: a hash of the data files, and the checksum of their rows. Empty if the file is not whole."""
    try:
        return {day: (files, rows) for day, (files, rows) in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def code_hash(*patterns: str) -> str:
    """Hash of the package's code that matches one of the patterns, such as `model/*.py`.

    Comments, docstrings and formatting do not count.
    """
    root = Path(intentrec.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + statements(path.read_text("utf-8")) + b"\0")
    return digest.hexdigest()[:16]


@cache  # a process looks at the same code again and again
def statements(source: str) -> bytes:
    """Python source in one canonical form, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).encode()
