"""Landing files and truth files: deterministic bytes, each file replaced atomically.

The truth files are Parquet files that no job reads: the outcome and the intent of every raw row, the sessions, and the
oracle's rankings.
"""

import gzip
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from intentrec.config import SIMULATED_MANIFEST, ConfigError, marker_name
from simulator.behaviour import Week
from simulator.catalogue import GENRES, View
from simulator.dirt import Row
from simulator.intents import INTENTS
from simulator.settings import Settings
from simulator.users import User

_MOMENT = pa.timestamp("s", tz="UTC")


class Placed(NamedTuple):
    """A raw row and its place: the file below the landing zone, and the line, counted from 1."""

    row: Row
    file: str
    line: int


def claim(landing: Path, settings: Settings) -> None:
    """Write the manifest of a world into its landing zone.

    Raises:
        ConfigError: the landing zone holds another world, or data that was not simulated.
    """
    path, manifest = landing / SIMULATED_MANIFEST, _manifest(settings)
    if path.exists() and path.read_text() != manifest:
        raise ConfigError(
            f"{landing} holds another simulated world (see {path}). Remove that folder or set another INTENTREC_HOME."
        )
    real = next((file for name in ("events", "catalog") for file in (landing / name).glob("*/*")), None)
    if real is not None and not path.exists():
        raise ConfigError(
            f"{landing} holds data that was not simulated, such as {real}: no simulated data is added to it. Use "
            "that data (`make demo DATA=...`), or set another INTENTREC_HOME."
        )
    _replace(path, manifest.encode())


def _manifest(settings: Settings) -> str:
    """What defines the rows of a world, as JSON."""
    fields = {key: str(value) for key, value in asdict(settings).items() if key != "users"}
    # `drift_week` is a key of former versions. It stays, so that their landing zones count as the same world.
    dirt = fields.pop("dirt")
    return json.dumps({**fields, "drift_week": "4", "dirt": dirt}, indent=1) + "\n"


def write_catalogue(landing: Path, week: date, rows: list[dict]) -> None:
    """Write the snapshot of a week, ordered by item_id, which has no meaning."""
    rows = sorted(rows, key=lambda row: row["item_id"])
    path = landing / "catalog" / f"snapshot={week}" / "items.jsonl.gz"
    _write_lines(path, (json.dumps(row, separators=(",", ":")) for row in rows))


def write_events(landing: Path, week: date, rows: list[Row]) -> list[Placed]:
    """Write the rows of a week, in folders by UTC date of arrival and in one file per week and folder.

    Files that an earlier call wrote for the same week, and this one does not write, are deleted.
    """
    by_day: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.arrived, row.event_id, row.copy)):
        by_day[datetime.fromtimestamp(row.arrived, UTC).date().isoformat()].append(row)
    name = f"week-{week}.jsonl.gz"
    placed, kept = [], set()
    for day, arrived in by_day.items():
        path = landing / "events" / f"arrived={day}" / name
        _write_lines(path, (row.text for row in arrived))
        kept.add(path)
        relative = str(path.relative_to(landing))
        placed += [Placed(row, relative, number) for number, row in enumerate(arrived, start=1)]
    for path in landing.glob(f"events/arrived=*/{name}"):
        if path not in kept:
            path.unlink()
            path.with_name(marker_name(name)).unlink(missing_ok=True)
    return placed


def write_truth(truth: Path, week: date, placed: list[Placed], weeks: list[tuple[User, Week]], view: View) -> None:
    """Write the truth of a week: `events`, `sessions` and `oracle`."""
    _write_parquet(truth / "events" / f"week={week}.parquet", _events(placed, view))
    _write_parquet(truth / "sessions" / f"week={week}.parquet", _sessions(weeks))
    _write_parquet(truth / "oracle" / f"as_of={week}.parquet", _oracle(weeks, view))


def _events(placed: list[Placed], view: View) -> pa.Table:
    """One row per raw row: its place, kind of dirt and outcome, and for a user's event the latent intent.

    `rank_given_intent` and `rank_given_past` are the ranks of the chosen title for an oracle that knows the session's
    intent, and for an oracle that knows everything before the session. They are null if the event was not a choice.
    """
    placed = sorted(placed, key=lambda each: (each.file, each.line))
    rows = [each.row for each in placed]
    events = [row.event for row in rows]
    return pa.table(
        {
            "source_file": pa.array([each.file for each in placed]),
            "source_line": pa.array([each.line for each in placed], pa.int64()),
            "event_id": pa.array([row.event_id for row in rows]),
            "user_id": pa.array([row.user_id for row in rows]),
            "arrived_at": pa.array([row.arrived for row in rows], _MOMENT),
            "dirt": pa.array([row.kind for row in rows]),
            "outcome": pa.array([row.outcome for row in rows]),
            "event_ts": pa.array([e and e.start for e in events], _MOMENT),
            "title_id": pa.array([e and view.titles[e.title].title_id for e in events]),
            "session": pa.array([e and e.session for e in events], pa.int32()),
            "intent": pa.array([e and INTENTS[e.intent] for e in events]),
            "rank_given_intent": pa.array([e and e.rank_intent for e in events], pa.int32()),
            "rank_given_past": pa.array([e and e.rank_past for e in events], pa.int32()),
        }
    )


def _sessions(weeks: list[tuple[User, Week]]) -> pa.Table:
    """One row per session: its intent, the second intent if it switched midway, the genre mood."""
    found = [(user.user_id, session) for user, week in weeks for session in week.sessions]
    switched = [None if each.switched_to is None else INTENTS[each.switched_to] for _, each in found]
    return pa.table(
        {
            "user_id": pa.array([user_id for user_id, _ in found]),
            "session": pa.array([session.number for _, session in found], pa.int32()),
            "start_ts": pa.array([session.start for _, session in found], _MOMENT),
            "end_ts": pa.array([session.end for _, session in found], _MOMENT),
            "intent": pa.array([INTENTS[session.intent] for _, session in found]),
            "switched_to": pa.array(switched, pa.string()),
            "mood": pa.array([GENRES[session.mood] for _, session in found]),
        }
    )


def _oracle(weeks: list[tuple[User, Week]], view: View) -> pa.Table:
    """Per user the titles with the largest expected share of the coming week, given everything before it."""
    found = [
        (user.user_id, rank, view.titles[title].title_id, score)
        for user, week in weeks
        for rank, (title, score) in enumerate(week.oracle, start=1)
    ]
    return pa.table(
        {
            "user_id": pa.array([row[0] for row in found]),
            "rank": pa.array([row[1] for row in found], pa.int32()),
            "title_id": pa.array([row[2] for row in found]),
            "score": pa.array([row[3] for row in found], pa.float32()),
        }
    )


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _write_lines(path: Path, texts: Iterable[str]) -> None:
    """Write a gzip file of lines, whose bytes depend on the lines alone, and its marker of a simulated file."""
    content = gzip.compress("".join(f"{text}\n" for text in texts).encode(), compresslevel=5, mtime=0)
    _replace(path.with_name(marker_name(path.name)), f"{hashlib.sha256(content).hexdigest()}\n".encode())
    _replace(path, content)


def _write_parquet(path: Path, table: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    _replace(path, buffer.getvalue().to_pybytes())
