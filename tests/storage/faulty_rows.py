"""Rows that a critical expectation must refuse, as changes of a good row."""

from datetime import timedelta
from typing import Any

from intentrec.monitoring.staleness import PUBLISHED
from tests.storage.good_rows import MOMENT, START, rows

Rows = list[dict[str, Any]]
NAN = float("nan")
ARRAYS = ["title_id", "start_ts", "end_ts", "duration_s", "action_type", "kind", "genres", "creator", "language"]
ARRAYS += ["release_age_days", "last_fraction", "last_finished", "listed", "surface", "device"]
ARRAYS += ["is_target", "opens_session", "weight"]
# By table: the column that identifies its rows; and rows that the named critical expectation must refuse.
FAULTY: dict[str, tuple[str, dict[str, Rows]]] = {
    "engagement_events": (
        "event_id",
        {
            "event_type": [{"event_type": "poke"}],
            "duration_s": [{"duration_s": -1.0}, {"duration_s": 43_201.0}],
            "position_s": [{"position_s": -1.0}],
        },
    ),
    "catalog": (
        "item_id",
        {
            "no genre is null or empty, and they are sorted": [
                {"genres": ["drama", "comedy"]},
                {"genres": [""]},
                {"genres": ["drama", None]},
            ],
            "runtime_s": [{"runtime_s": 0.0}],
            "promotion": [{"promotion": -0.1}, {"promotion": 1.1}],
        },
    ),
    "interactions": (
        "user_id",
        {
            "action_type": [{"action_type": "loiter"}],
            "end_ts, start_ts": [{"end_ts": MOMENT - timedelta(1)}],
            "duration_s": [{"duration_s": -1.0}],
            "fraction": [{"fraction": -0.1}, {"fraction": 1.1}],
            "last_fraction": [{"last_fraction": -0.1}, {"last_fraction": 1.1}],
            "every visit counts at least one event, and signals are numbers": [
                {"event_counts": {"play": 0}},
                {"event_counts": {"play": 2, "list_add": -1}},
                {"signals": {"likes": NAN}},
                {"signals": {"likes": None}},
            ],
        },
    ),
    "title_state": (
        "user_id",
        {
            "last_fraction": [{"last_fraction": -0.1}, {"last_fraction": 1.1}],
            "no fact is later than the last touch or missing its companions": [
                {"last_play_ts": MOMENT},
                {"last_finished_ts": MOMENT - timedelta(days=6)},
                {"last_item_id": None},
                {"last_play_ts": None},
            ],
        },
    ),
    "sequences": (
        "user_id",
        {
            "n_new": [{"n_new": 0}, {"n_new": 51}],
            "arrays are aligned and have no nulls": [
                {"n_new": 4},
                *({name: rows("sequences")[1][name][:2]} for name in ARRAYS),
                *({name: [*rows("sequences")[1][name][:2], None]} for name in ARRAYS),
            ],
            "oldest first, and no visit ends before it starts": [
                {"end_ts": rows("sequences")[1]["end_ts"][::-1], "start_ts": [MOMENT] * 3},
                {"start_ts": [MOMENT + timedelta(hours=9)] * 3},
            ],
            "duration weights and durations in range": [
                {"weight": [0.0, 0.5, 1.1]},
                {"weight": [0.0, -0.5, 1.0]},
                {"duration_s": [1.0, -0.5, 1.0]},
                {"duration_s": [1.0, NAN, 1.0]},
            ],
            "window starts lie between the first position and their own, and never decrease": [
                {"window_start": {}},
                {"window_start": {"1d": [0, 0]}},
                {"window_start": {"1d": [0, 1, 0]}},
                {"window_start": {"1d": [-1, 0, 0]}},
                {"window_start": {"1d": [0, 0, 3]}},
            ],
        },
    ),
    "user_intents": (
        "user_id",
        {
            "primary_intent": [{"primary_intent": "mood"}],
            "distinctive_intent": [{"distinctive_intent": "mood"}],
            "attention is a distribution and its largest weight is the primary intent": [
                {"attention": {"action_type": 0.2}},
                {"attention": {"action_type": 1.1, "genre": -0.1}},
                {"attention": {"action_type": 0.3, "genre": 0.7}},
            ],
            "labels and probabilities are aligned, most probable first, within [0, 1]": [
                {"top_probabilities": {"action_type": [0.6, 0.4]}},
                {"top_probabilities": {"action_type": [0.6], "genre": [0.9]}},
                {"top_probabilities": {"action_type": [0.4, 0.6], "genre": [0.9]}},
                {"top_probabilities": {"action_type": [0.6, -0.1], "genre": [0.9]}},
                {"top_probabilities": {"action_type": [0.9, 0.2], "genre": [0.9]}},
                {"top_labels": {"action_type": [], "genre": []}, "top_probabilities": {"action_type": [], "genre": []}},
            ],
            "embeddings are finite and of one length": [
                {"intent_embedding": [0.1]},
                {"intent_embedding": [0.1, NAN]},
                {"intent_embedding": [0.1, float("inf")]},
            ],
        },
    ),
    "recommendations": (
        "user_id",
        {
            "rank": [{"rank": 0}, {"rank": 101}],
            "ranks run from 1 without a gap, by falling score, no title twice": [
                {"rank": 3},
                {"score": 3.0},
                {"score": NAN},
                {"title_id": "t0"},
            ],
        },
    ),
    "intent_recommendations": (
        "user_id",
        {
            "rank": [{"rank": 0}, {"rank": 101}],
            "probability": [{"probability": 1.5}],
            "ranks run from 1 without a gap, by falling score, no title twice": [
                {"rank": 3},
                {"score": 3.0},
                {"score": NAN},
                {"title_id": "t0"},
            ],
        },
    ),
    "popular_titles": (
        "title_id",
        {
            "ranks run from 1 without a gap, by falling number of users": [
                {"rank": 0},
                {"rank": 3},
                {"users": 21},
                {"users": 0},
            ],
        },
    ),
    "item_vectors": (
        "title_id",
        {"vectors are finite and of one length": [{"vector": [0.5]}, {"vector": [0.5, NAN]}, {"vector": [1e31, 0.5]}]},
    ),
    "user_vectors": (
        "user_id",
        {
            "vectors are finite and of one length": [
                {"vector": [0.5]},
                {"vector": [0.5, NAN]},
                {"vector": [1e31, 0.5]},
            ],
            "a row has a class and a weight, or neither as all rows of its release": [
                {"label": "discover"},
                {"log_weight": 1.0},
            ],
            "logit biases are finite": [{"logit_bias": {"t1": NAN}}, {"logit_bias": {"t1": float("inf")}}],
        },
    ),
    "releases": (
        "release_id",
        {
            "at most one release is active": [{"active": True}, {"active": True}],
            "every release names the versions of its tables": [
                {"active": False, "table_versions": {table: 1 for table in PUBLISHED if table != missing}}
                for missing in PUBLISHED
                if missing not in ("popular_titles", "intent_recommendations")  # some releases have none
            ],
        },
    ),
    "title_facts": (
        "title_id",
        {
            "promotion": [{"promotion": 0.0}, {"promotion": 1.1}],
            "somebody engaged the title, or a promotion is planned": [
                {"users": -1},
                {"users": 0, "promotion": None},
            ],
        },
    ),
    "feature_profiles": (
        "feature",
        {
            "kind": [{"kind": "average"}],
            "table_name": [{"table_name": "sequences"}],
            "rows": [{"rows": 0, "table_name": "engagement_events"}],
            "every feature with one value a row counts every row of its table": [{"rows": 1}],
        },
    ),
    "quarantine": (
        "source_file",
        {
            "record": [{"record": "user"}],
            "every refused row has a reason, and no reason is empty": [
                {"reasons": []},
                {"reasons": [""]},
                {"reasons": ["bad_duration", None]},
            ],
        },
    ),
    "run_ledger": (
        "run_id",
        {
            "status": [{"status": "lost"}],
            "end, start": [{"end": START}],
            "seconds": [{"seconds": -1.0}],
        },
    ),
}
