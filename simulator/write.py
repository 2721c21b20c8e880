"""Landing files and truth files: deterministic bytes, each file replaced atomically."""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from simulator.dirt import Row


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def lines(path: Path, texts: Iterable[str]) -> None:
    """A gzip file of lines whose bytes depend on the lines alone."""
    replace(path, gzip.compress("".join(f"{text}\n" for text in texts).encode(), compresslevel=5, mtime=0))


def parquet(path: Path, table: pa.Table) -> None:
    """A Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    replace(path, buffer.getvalue().to_pybytes())


def catalogue(landing: Path, week: date, rows: list[dict]) -> None:
    """The snapshot of a week, in an order that carries no meaning."""
    rows = sorted(rows, key=lambda row: row["item_id"])
    path = landing / "catalog" / f"snapshot={week}" / "items.jsonl.gz"
    lines(path, (json.dumps(row, separators=(",", ":")) for row in rows))


def events(landing: Path, week: date, rows: list[Row]) -> list[tuple[Row, str, int]]:
    """Lay a week's rows down by UTC date of arrival, in a file of the week's own in each folder.

    Files of this week from an earlier, different run go. Returns each row with its file (below landing) and 1-based
    line.
    """
    by_day: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.arrived, row.event_id, row.copy)):
        by_day[datetime.fromtimestamp(row.arrived, UTC).date().isoformat()].append(row)
    name = f"week-{week}.jsonl.gz"
    placed, kept = [], set()
    for day, arrived in by_day.items():
        path = landing / "events" / f"arrived={day}" / name
        lines(path, (row.text for row in arrived))
        kept.add(path)
        relative = str(path.relative_to(landing))
        placed += [(row, relative, number) for number, row in enumerate(arrived, start=1)]
    for path in landing.glob(f"events/arrived=*/{name}"):
        if path not in kept:
            path.unlink()
    return placed
