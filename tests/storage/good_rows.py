"""Two good rows of every audited table, as dictionaries, for tests that then make one thing wrong."""

from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from intentrec.contracts import TABLES, Table

START, END = date(2026, 8, 10), date(2026, 8, 17)
MOMENT = datetime(2026, 8, 11, 18, tzinfo=UTC)


def _event(n: int) -> dict[str, Any]:
    # One row of each type of the streaming domain would be five; the tests put up with a warning instead.
    return {
        "event_date": date(2026, 8, 11),
        "event_id": f"e{n}",
        "user_id": f"u{n}",
        "account_id": f"a{n}",
        "item_id": "i1",
        "event_ts": MOMENT,
        "arrived_at": MOMENT + timedelta(minutes=5),
        "event_type": "play",
        "duration_s": 60.0,
        "position_s": 60.0 if n else None,
        "surface": "home",
        "device": "tv",
        "extra": {},
    }


def _refused(n: int) -> dict[str, Any]:
    return {
        "event_date": date(2026, 8, 11),
        "record": "event",
        "reasons": ["bad_duration"],
        "raw": "{",
        "source_file": "events.jsonl.gz",
        "source_line": n + 1,
        "arrived_at": MOMENT,
    }


def _item(n: int) -> dict[str, Any]:
    return {
        "snapshot_date": START,
        "item_id": f"i{n}",
        "title_id": f"t{n}",
        "kind": "film",
        "genres": ["comedy", "drama"],
        "creator": None,
        "episode": 1,
        "release_ts": MOMENT,
        "runtime_s": 5400.0,
        "language": "en",
        "text": "A film",
        "available_from": MOMENT,
        "available_to": None,
        "promotion": 0.25 if n else None,
    }


def _interaction(n: int) -> dict[str, Any]:
    return {
        "event_date": date(2026, 8, 11),
        "user_id": f"u{n}",
        "account_id": f"a{n}",
        "session_id": f"u{n}/1",
        "title_id": "t1",
        "item_id": "i1",
        "start_ts": MOMENT,
        "end_ts": MOMENT + timedelta(minutes=10),
        "tie": n,
        "duration_s": 600.0,
        "fraction": 0.5,
        "event_counts": {"play": 2},
        "signals": {},
        "surface": "home",
        "device": "tv",
        "kind": "film",
        "genres": ["drama"],
        "creator": None,
        "language": "en",
        "episode": None,
        "release_age_days": 3.0,
        "last_fraction": 0.5,
        "last_finished": False,
        "listed": False,
        "action_type": ("discover", "resume")[n],
        "is_target": True,
        "left_censored": False,
        "rules_version": "r",
    }


def _state(n: int) -> dict[str, Any]:
    return {
        "as_of": START,
        "user_id": f"u{n}",
        "title_id": "t1",
        "last_play_ts": MOMENT - timedelta(days=7) if n else None,
        "last_item_id": "i1" if n else None,
        "last_episode": 1,
        "last_fraction": 0.5,
        "last_finished_ts": None,
        "listed": False,
        "last_listed_ts": None,
        "genres": ["drama"],
        "creator": None,
        "last_touch_ts": MOMENT - timedelta(days=7),
    }


def _popularity(n: int) -> dict[str, Any]:
    return {"as_of": END, "title_id": f"t{n}", "users": n, "promotion": None if n else 0.25}


def _profile(n: int) -> dict[str, Any]:
    feature, kind, value = (("kind", "value", "film"), ("duration_s", "bin", "36"))[n]
    return {
        "week": START,
        "table_name": "interactions",
        "feature": feature,
        "kind": kind,
        "value": value,
        "rows": 2,
    }


def _sequence(n: int) -> dict[str, Any]:
    starts = [MOMENT + timedelta(hours=k) for k in range(3)]
    return {
        "as_of": END,
        "user_id": f"u{n}",
        "account_id": f"a{n}",
        "n_new": 2,
        "title_id": ["t1", "t2", "t1"],
        "start_ts": starts,
        "end_ts": [start + timedelta(minutes=10) for start in starts],
        "duration_s": [600.0] * 3,
        "action_type": ["discover"] * 3,
        "kind": ["film"] * 3,
        "genres": [["drama"], [], ["comedy"]],
        "creator": [""] * 3,
        "language": ["en"] * 3,
        "release_age_days": [-1.0, 0.0, 5.0],
        "last_fraction": [-1.0, 0.5, 1.0],
        "last_finished": [False, False, True],
        "listed": [False] * 3,
        "surface": ["home"] * 3,
        "device": ["tv"] * 3,
        "is_target": [True] * 3,
        "opens_session": [True, True, False],
        "weight": [0.0, 0.5, 1.0],
        "window_start": {"1d": [0, 0, 1], "7d": [0, 0, 0]},
    }


def _published(n: int) -> dict[str, Any]:
    return {"as_of": END, "release_id": "r1", "user_id": f"u{n}", "account_id": f"a{n}"}


def _intent(n: int) -> dict[str, Any]:
    return {
        **_published(n),
        "intent_embedding": [0.1, -0.2],
        "attention": {"action_type": 0.7, "genre": 0.3} if n else {"action_type": 0.4, "genre": 0.6},
        "primary_intent": "action_type" if n else "genre",
        "distinctive_intent": "genre" if n else None,
        "top_labels": {"action_type": ["discover", "resume"], "genre": ["drama"]},
        "top_probabilities": {"action_type": [0.6, 0.4], "genre": [0.9]},
        "cluster": None,
        "space_id": "3",
    }


def _recommendation(n: int) -> dict[str, Any]:
    return {**_published(0), "rank": n + 1, "title_id": f"t{n}", "score": 2.0 - n, "known": n > 0}


def _intent_recommendation(n: int) -> dict[str, Any]:
    about = {"intent": "action_type", "label": "discover", "probability": 0.5}
    return {**_published(0), **about, "rank": n + 1, "title_id": f"t{n}", "score": -1.0 - n}


def _popular_title(n: int) -> dict[str, Any]:
    return {"as_of": END, "release_id": "r1", "rank": n + 1, "title_id": f"t{n}", "users": 20 - n}


def _item_vector(n: int) -> dict[str, Any]:
    return {"as_of": END, "release_id": "r1", "title_id": f"t{n}", "vector": [0.5, 1.0]}


def _user_vector(n: int) -> dict[str, Any]:
    return {**_published(n), "vector": [0.5, 1.0], "label": None, "log_weight": None, "logit_bias": {"t1": 2.5}}


def _release(n: int) -> dict[str, Any]:
    return {
        "release_id": f"r{n}",
        "as_of": END,
        "active": n == 1,
        "model_name": "intentrec-streaming",
        "model_version": "3",
        "mlflow_run_id": "abc",
        "table_versions": {"user_intents": 1, "recommendations": 1, "item_vectors": 0, "user_vectors": 0},
        "metrics": {},
        "config_hash": "c",
        "code_version": "d",
    }


def _attempt(n: int) -> dict[str, Any]:
    return {
        "run_id": f"run{n}",
        "job": "ingest",
        "start": START,
        "end": END,
        "status": ("succeeded", "running")[n],
        "message": None,
        "inputs": {},
        "outputs": {"catalog": 0},
        "counts": {"events.read": 2},
        "config_hash": "c",
        "code_version": "d",
        "started_at": MOMENT,
        "seconds": (12.5, None)[n],
        "airflow_task": ("dag_id=a/run_id=b/task_id=ingest/attempt=1", None)[n],
        "delivery": ({"folder": "/landing", "files": "1", "simulated_files": "0"}, None)[n],
        "host": ("a", None)[n],
        "pid": (17, None)[n],
        "process_started_at": (MOMENT, None)[n],
        "settings": ({"job": "a", "calendar": "b"}, None)[n],
    }


_MAKERS = {
    "engagement_events": _event,
    "quarantine": _refused,
    "catalog": _item,
    "interactions": _interaction,
    "title_state": _state,
    "title_facts": _popularity,
    "feature_profiles": _profile,
    "sequences": _sequence,
    "user_intents": _intent,
    "recommendations": _recommendation,
    "intent_recommendations": _intent_recommendation,
    "popular_titles": _popular_title,
    "item_vectors": _item_vector,
    "user_vectors": _user_vector,
    "releases": _release,
    "run_ledger": _attempt,
}


def rows(table: str) -> list[dict[str, Any]]:
    """Two good rows, fresh copies."""
    return [deepcopy(_MAKERS[table](n)) for n in range(2)]


def frame(spark: SparkSession, table: Table | str, content: list[dict[str, Any]]) -> DataFrame:
    """A frame of the table's columns in which every column may be null, as in a staged frame read from files."""
    schema = TABLES[table if isinstance(table, str) else table.name].schema
    for field in schema:
        field.nullable = True
        for part in ("containsNull", "valueContainsNull"):
            if hasattr(field.dataType, part):
                field.dataType.__dict__[part] = True
    values = [tuple(row[name] for name in schema.names) for row in content]
    return spark.createDataFrame(values, schema)
