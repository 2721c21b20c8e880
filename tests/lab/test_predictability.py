"""Labels that the latent intent of the interaction before decides, and nothing else."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from lab.benchmarks import predictability
from lab.benchmarks.predictability import KNOWN, facts, skills

BEGIN = datetime(2026, 8, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Of 60 users 30 interactions: the latent intent is drawn, and the next interaction's label is what it was."""
    rng = np.random.default_rng(0)
    latent = rng.choice(["a", "b", "c"], size=(60, 30))
    label = np.roll(latent, 1, axis=1)
    frames = []
    for user in range(60):
        start = [BEGIN + timedelta(hours=12 * number) for number in range(30)]
        frames.append(
            pd.DataFrame(
                {
                    "user_id": f"u{user:02d}",
                    "start_ts": start,
                    "end_ts": [each + timedelta(hours=1) for each in start],
                    "event_date": [each.date() for each in start],
                    "is_target": True,
                    "left_censored": False,
                    "latent": latent[user],
                    "kind": label[user],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def test_features_use_nothing_of_the_present_or_later(rows: pd.DataFrame) -> None:
    known, sets = facts(rows, ["kind"])
    at = 12  # of the first user
    before = rows.iloc[:at]
    assert known.loc[at, "kind.1"] == before["kind"].iloc[-1]
    assert known.loc[at, "latent.3"] == before["latent"].iloc[-3]
    assert [known.loc[at, f"kind={label}"] for label in "abc"] == [(before["kind"] == label).sum() for label in "abc"]
    assert known.loc[at, "log_gap"] == pytest.approx(np.log(11 * 3600))
    changed = rows.assign(
        kind=rows["kind"].where(rows.index < at, "a"), latent=rows["latent"].where(rows.index < at, "a")
    )
    past = sets[KNOWN[1]]
    assert facts(changed, ["kind"])[0].loc[at, past].equals(known.loc[at, past])
    assert facts(changed, ["kind"])[0].loc[at + 1, "latent.1"] == "a"


def test_only_the_latent_intents_predict_what_they_decide(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictability, "ITERATIONS", 10)
    (line,) = skills(rows, ["kind"], date(2026, 8, 14))
    assert line["targets"] == 60 * (30 - 22)
    assert line[KNOWN[0]]["skill"] < 0.05  # the rows know nothing
    assert line[KNOWN[1]]["accuracy"] == line[KNOWN[2]]["accuracy"] == 1.0
    judged = rows[rows["event_date"] >= date(2026, 8, 14)]["kind"]
    learned = rows[(rows["event_date"] < date(2026, 8, 14)) & rows["user_id"].duplicated()]["kind"]
    repeated = rows.groupby("user_id")["kind"].shift(1)[judged.index]
    assert line["baseline"] == pytest.approx(max((judged == learned.mode()[0]).mean(), (judged == repeated).mean()))
