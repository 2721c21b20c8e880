"""Intents beside the simulator's truth, by a few events worked out by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from lab.alignment import Aligned
from lab.studies.intents import against_truth

MONDAY = datetime(2026, 8, 3, tzinfo=UTC)


def hours(*values: float) -> list[datetime]:
    return [MONDAY + timedelta(hours=value) for value in values]


def test_an_event_belongs_to_the_session_of_its_user_that_began_last(tmp_path: Path) -> None:
    """Two users, two sessions each; one event lies before its user's first session and is of none."""
    sessions = pd.DataFrame(
        {"user_id": ["a", "b", "a", "b"], "start_ts": hours(0, 1, 10, 12), "intent": ["x", "y", "y", "x"]}
    )
    (tmp_path / "sessions").mkdir()
    for number, part in enumerate((sessions[:2], sessions[2:])):
        part.to_parquet(tmp_path / "sessions" / f"week={number}.parquet")
    events = [("a", 0, 0), ("a", 9.5, 0), ("a", 10, 1), ("b", 0.5, 1), ("b", 2, 1), ("b", 13, 0)]  # user, hour, primary
    primary = np.array([intent for _, _, intent in events])
    found = Aligned(
        intents=("action_type", "genre"),
        users=pa.array([user for user, _, _ in events]),
        moments=pa.array(hours(*[hour for _, hour, _ in events]), pa.timestamp("us", "UTC")),
        ranks=np.ones(len(events)),
        embedding_EP=np.random.default_rng(0).normal(size=(len(events), 3)).astype(np.float32),
        attention_EM=np.eye(2)[primary],
        correct_EM=np.zeros((len(events), 2)),
        contradicted_EM=np.zeros((len(events), 2)),
    )
    assert against_truth(found, tmp_path)["true_intent_in_primary"] == pytest.approx(1.0), "x is 0 and y is 1"
    turned = Aligned(**{**vars(found), "attention_EM": np.eye(2)[[0, 1, 1, 1, 1, 0]]})
    wanted = adjusted_mutual_info_score(["x", "x", "y", "y", "x"], [0, 1, 1, 1, 0])
    assert against_truth(turned, tmp_path)["true_intent_in_primary"] == pytest.approx(wanted)
