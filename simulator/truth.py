"""What was behind the rows, as Parquet files that no job reads: outcomes and intents, sessions, the oracle's rankings."""

from datetime import date
from pathlib import Path

import pyarrow as pa

from simulator.behaviour import Week
from simulator.catalogue import GENRES, View
from simulator.dirt import Row
from simulator.intents import INTENTS
from simulator.people import User
from simulator.write import parquet

_MOMENT = pa.timestamp("s", tz="UTC")


def events(truth: Path, week: date, placed: list[tuple[Row, str, int]], view: View) -> None:
    """One row per raw row: its place, kind of dirt, outcome, and for a person's event the latent intent.

    `rank_given_intent` and `rank_given_past` are the chosen title's ranks for an oracle that knows the session's
    intent, and for one that knows everything before the session (null where the event was no choice).
    """
    rows = sorted(placed, key=lambda found: (found[1], found[2]))
    happened = [row.event for row, _, _ in rows]
    columns = {
        "source_file": pa.array([file for _, file, _ in rows]),
        "source_line": pa.array([line for _, _, line in rows], pa.int64()),
        "event_id": pa.array([row.event_id for row, _, _ in rows]),
        "user_id": pa.array([row.user_id for row, _, _ in rows]),
        "arrived_at": pa.array([row.arrived for row, _, _ in rows], _MOMENT),
        "dirt": pa.array([row.kind for row, _, _ in rows]),
        "outcome": pa.array([row.outcome for row, _, _ in rows]),
        "event_ts": pa.array([e and e.start for e in happened], _MOMENT),
        "title_id": pa.array([e and view.titles[e.title].title_id for e in happened]),
        "session": pa.array([e and e.session for e in happened], pa.int32()),
        "intent": pa.array([e and INTENTS[e.intent] for e in happened]),
        "rank_given_intent": pa.array([e and e.rank_intent for e in happened], pa.int32()),
        "rank_given_past": pa.array([e and e.rank_state for e in happened], pa.int32()),
    }
    parquet(truth / "events" / f"week={week}.parquet", pa.table(columns))


def sessions(truth: Path, week: date, lived: list[tuple[User, Week]]) -> None:
    """One row per session: its intent, the second one where it switched midway, the genre mood."""
    found = [(user.user_id, session) for user, result in lived for session in result.sessions]
    columns = {
        "user_id": pa.array([user_id for user_id, _ in found]),
        "session": pa.array([session.number for _, session in found], pa.int32()),
        "start_ts": pa.array([session.start for _, session in found], _MOMENT),
        "end_ts": pa.array([session.end for _, session in found], _MOMENT),
        "intent": pa.array([INTENTS[session.intent] for _, session in found]),
        "switched_to": pa.array(
            [None if session.switched_to is None else INTENTS[session.switched_to] for _, session in found], pa.string()
        ),
        "mood": pa.array([GENRES[session.mood] for _, session in found]),
    }
    parquet(truth / "sessions" / f"week={week}.parquet", pa.table(columns))


def oracle(truth: Path, week: date, lived: list[tuple[User, Week]], view: View) -> None:
    """Per user the titles with the largest expected share of the coming week, from everything before it."""
    found = [
        (user.user_id, rank, view.titles[title].title_id, score)
        for user, result in lived
        for rank, (title, score) in enumerate(result.oracle, start=1)
    ]
    columns = {
        "user_id": pa.array([row[0] for row in found]),
        "rank": pa.array([row[1] for row in found], pa.int32()),
        "title_id": pa.array([row[2] for row in found]),
        "score": pa.array([row[3] for row in found], pa.float32()),
    }
    parquet(truth / "oracle" / f"as_of={week}.parquet", pa.table(columns))
