"""A landing zone written line by line, and the first lines of published files."""

import gzip
import json
from collections.abc import Sequence
from datetime import date
from itertools import islice
from pathlib import Path

Line = dict | str | bytes


def as_bytes(line: Line) -> bytes:
    """A line as it stands in the file."""
    if isinstance(line, dict):
        return json.dumps(line).encode()
    return line.encode() if isinstance(line, str) else line


def deliver(folder: Path, lines: Sequence[Line], name: str = "part-0.jsonl.gz") -> Path:
    """Write lines as one gzipped file of `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(gzip.compress(b"".join(as_bytes(line) + b"\n" for line in lines), mtime=0))
    return path


def events_of(root: Path, day: date) -> Path:
    """Folder of the events that arrived on a UTC date."""
    return root / "events" / f"arrived={day}"


def snapshot_of(root: Path, day: date) -> Path:
    """Folder of the catalogue snapshot of a service date."""
    return root / "catalog" / f"snapshot={day}"


def first_lines(source: Path, lines: int, folder: Path) -> None:
    """Copy the first lines of a file, gzipped if its name says so, into a folder."""
    zipped = source.suffix == ".gz"
    with gzip.open(source) if zipped else source.open("rb") as file:
        content = b"".join(islice(file, lines))
    (folder / source.name).write_bytes(gzip.compress(content) if zipped else content)


def event(**changes: object) -> dict:
    """A good event of the streaming domain, with fields changed; None leaves a field out."""
    row = {
        "event_id": "e1",
        "user_id": "u1",
        "account_id": "a1",
        "item_id": "i1",
        "event_ts": "2026-08-04T12:00:00Z",
        "event_type": "play",
        "duration_s": 60.5,
        "position_s": 70,
        "surface": "home",
        "device": "tv",
        "arrived_at": "2026-08-04T12:05:00.250Z",
    }
    return {key: value for key, value in (row | changes).items() if value is not None}


def item(**changes: object) -> dict:
    """A good catalogue row, with fields changed; None leaves a field out."""
    row = {
        "item_id": "i1",
        "title_id": "t1",
        "kind": "film",
        "genres": ["drama", "crime"],
        "creator": "c1",
        "episode": None,
        "release_ts": "2020-01-01T00:00:00Z",
        "runtime_s": 5400,
        "language": "en",
        "text": "A film",
        "available_from": "2020-01-01T00:00:00Z",
        "available_to": None,
        "promotion": None,
    }
    return {key: value for key, value in (row | changes).items() if value is not None}
