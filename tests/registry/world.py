"""A small service with five weeks of sequences, as Delta tables that training, gate and publication read."""

from collections import defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.config import Domain
from intentrec.contracts import CATALOG, INTERACTIONS, SEQUENCES, TITLE_FACTS, TITLE_STATE, Table
from tests.model import world

WEEKS = 5
FIRST = world.START.date()
END = FIRST + timedelta(weeks=4)  # what the model is trained for
LATER = END + timedelta(weeks=1)
TITLES = 24
PARTS = ("decayed_counts", "title_state", "dated_facts", "compatibility", "next_session")  # which streaming has, too


def domain_of(streaming: Domain, **sections: dict) -> Domain:
    """The streaming domain with a V3 that trains in a second; `sections` replace keys of theirs."""
    value = streaming.model_dump(mode="json")
    value["model"] |= {"variant": "v3", **dict.fromkeys(PARTS, False)}
    value["model"] |= {"dim": 16, "dim_intent": 8, "layers": 1, "heads": 2, "dropout": 0.0, "neighbours": 3}
    value["training"] |= {"epochs": 3, "tokens": 512, "learning_rate": 0.01}
    value["gate"] |= {"bootstrap": 200, "naive_baselines": ["popularity_7d", "repeat_last"]}
    value["publishing"] |= {"clusters": 3, "top_k": 5}
    for name, section in sections.items():
        value[name] = {**value[name], **section} if isinstance(section, dict) else section
    return Domain.model_validate(value)


def write(folder: str, users: int = 60, seed: int = 3) -> None:
    """Fill the tables that training, gate and publication read below a warehouse root."""
    sequences = world.learnable_weeks(seed, users, WEEKS, TITLES)
    put(folder, SEQUENCES, sequences)
    put(folder, CATALOG, world.catalog(TITLES))
    interactions = interactions_of(sequences)
    put(folder, INTERACTIONS, interactions)
    put(folder, TITLE_FACTS, title_facts_of(interactions))
    put(folder, TITLE_STATE, state_of(interactions, set(sequences["as_of"].to_pylist())))


def put(folder: str, table: Table, rows: pa.Table) -> None:
    """Write a table as the warehouse partitions it."""
    partition = [table.partition] if table.partition else None
    write_deltalake(str(Path(folder) / table.name), rows, mode="overwrite", partition_by=partition)


def interactions_of(sequences: pa.Table) -> pa.Table:
    """The interactions that are new in each weekly row."""
    rows = []
    for row in sequences.to_pylist():
        for k in range(len(row["title_id"]) - row["n_new"], len(row["title_id"])):
            each = {name: row[name][k] for name in ("title_id", "start_ts", "end_ts", "duration_s", "action_type")}
            each |= {name: row[name][k] for name in ("kind", "genres", "surface", "device", "is_target")}
            each |= {name: row[name][k] for name in ("last_fraction", "last_finished", "listed")}
            rows.append(
                {
                    **each,
                    "event_date": service_date(row["end_ts"][k]),
                    "user_id": row["user_id"],
                    "account_id": row["account_id"],
                    "session_id": f"{row['user_id']}:{row['end_ts'][k]}",
                    "item_id": f"{row['title_id'][k]}e1",
                    "tie": k,
                    "event_counts": [("play", 1)],
                    "signals": [],
                    "release_age_days": row["release_age_days"][k],
                    "left_censored": False,
                    "rules_version": "made up",
                }
            )
    return pa.Table.from_pylist(rows, schema=to_arrow_schema(INTERACTIONS.schema))


def title_facts_of(interactions: pa.Table) -> pa.Table:
    """Users who engaged each title in the seven days before each week's end."""
    users: dict[tuple[date, str], set[str]] = defaultdict(set)
    for row in interactions.to_pylist():
        if row["is_target"]:
            week = (row["event_date"] - FIRST).days // 7
            users[FIRST + timedelta(weeks=week + 1), row["title_id"]].add(row["user_id"])
    rows = [{"as_of": as_of, "title_id": title, "users": len(each)} for (as_of, title), each in users.items()]
    return pa.Table.from_pylist(rows, schema=to_arrow_schema(TITLE_FACTS.schema))


def state_of(interactions: pa.Table, as_ofs: set[date]) -> pa.Table:
    """The last touch of every title that a user had engaged before each date."""
    rows = []
    for as_of in sorted(as_ofs):
        last: dict[tuple[str, str], datetime] = {}
        for row in interactions.to_pylist():
            if service_date(row["end_ts"]) < as_of:
                pair = row["user_id"], row["title_id"]
                last[pair] = max(row["end_ts"], last.get(pair, row["end_ts"]))
        rows += [touched(as_of, *pair, moment) for pair, moment in last.items()]
    return pa.Table.from_pylist(rows, schema=to_arrow_schema(TITLE_STATE.schema))


def touched(as_of: date, user: str, title: str, moment: datetime) -> dict:
    """A row of `title_state` about a title that was last touched at a moment."""
    about = {"as_of": as_of, "user_id": user, "title_id": title, "listed": False, "genres": []}
    return {**about, "last_touch_ts": moment}


def service_date(moment: datetime) -> date:
    """The world's days begin at 11:00 UTC, 04:00 in Los Angeles in summer."""
    return (moment - timedelta(hours=11)).date()
