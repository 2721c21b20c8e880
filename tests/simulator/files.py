"""The tiny world of the tests, and how to read what the simulator wrote."""

import gzip
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

from simulator import Settings

START, END = date(2026, 8, 3), date(2026, 9, 21)  # seven weeks
TINY = Settings(epoch=START, users=30, titles=120, dirt=4.0)


def moment(text: str) -> float:
    assert text.endswith("Z")
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def week_of(seconds: float) -> date:
    """Monday of the service week: local time less four hours."""
    local = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo("America/Los_Angeles")) - timedelta(hours=4)
    return local.date() - timedelta(days=local.weekday())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(landing: Path) -> Iterator[tuple[str, int, str]]:
    for path in sorted(landing.glob("events/arrived=*/*.jsonl.gz")):
        for number, text in enumerate(gzip.decompress(path.read_bytes()).decode().splitlines(), start=1):
            yield str(path.relative_to(landing)), number, text


def truth_rows(truth: Path) -> list[dict]:
    return [row for path in sorted(truth.glob("events/*.parquet")) for row in pq.read_table(path).to_pylist()]
