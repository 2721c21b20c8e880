"""What is known of titles when a week begins, as channels of user and item vectors. Not in the paper.

A title's id embedding is learned over all weeks of the training data. It says neither that the title is new, nor that
many users engaged it last week. So a logit has one more term for each dated fact c:

    weight_c(E^item) x fact_c(title, week)

In training, the facts of a target are those of the week that it lies in; in scoring, those as of the date. All of them
are known before the week begins. They also work for titles released after training.

Shape suffixes: I titles, W weeks, C facts (`DATED_FACTS`), D width of E^item.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from intentrec.model.titles import LOOKBACK_WEEKS

DATED_FACTS = ("users_7d", "users_decayed", "promotion", "premiere", "fresh", "young", "unreleased")
# Weights before anything is learned: at first titles are as likely as they are popular.
START = (0.5, 0.5, 0.0, 0.0, 0.0, 0.0, -3.0)
HALF_LIFE_WEEKS = 8  # of users_decayed
FRESH_DAYS, YOUNG_DAYS = 7.0, 56.0  # half-lives of the novelty of a title


def dated_facts(titles: pa.Table, title_facts: pa.Table, weeks: Sequence[date]) -> Tensor:
    """Facts of titles as of the first day of weeks: float32 (I, W, C).

    - users_7d: log(1 + users who engaged the title in the seven days before).
    - users_decayed: log(1 + the sum of the same as of this and LOOKBACK_WEEKS earlier weeks; a week counts half as much
      as the one HALF_LIFE_WEEKS after it).
    - promotion: the planned one in the week, from 0 to 1.
    - premiere: 1 if the title is released in the week.
    - fresh, young: 2^(-age / half-life) of a released title; 0 where the release is unknown.
    - unreleased: 1 if the title is released after the week.

    Args:
        titles: with columns title_id and release_ts.
        title_facts: rows of `title_facts`; those from LOOKBACK_WEEKS before the first week on are needed.
        weeks: consecutive.
    """
    title_ids = titles["title_id"].combine_chunks()
    count_IW, promotion_IW = (_by_week(title_ids, title_facts, name, weeks) for name in ("users", "promotion"))
    last = slice(LOOKBACK_WEEKS, None)
    decayed_IW = np.zeros((len(count_IW), len(weeks)))
    for ago in range(LOOKBACK_WEEKS + 1):
        begin = LOOKBACK_WEEKS - ago
        decayed_IW += count_IW[:, begin : begin + len(weeks)] * 2.0 ** (-ago / HALF_LIFE_WEEKS)
    released_I1 = titles["release_ts"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()[:, None] / 8.64e10
    begins_W = np.array(weeks, "datetime64[D]").astype(float)
    with np.errstate(invalid="ignore"):
        age_IW = begins_W - released_I1  # days; NaN where the release is unknown
        facts = [
            np.log1p(count_IW[:, last]),
            np.log1p(decayed_IW),
            promotion_IW[:, last],
            (age_IW <= 0) & (age_IW > -7),
            np.where(age_IW > 0, 2.0 ** (-age_IW / FRESH_DAYS), 0.0),
            np.where(age_IW > 0, 2.0 ** (-age_IW / YOUNG_DAYS), 0.0),
            age_IW <= -7,
        ]
    return torch.from_numpy(np.stack(facts, -1).astype(np.float32))


def _by_week(title_ids: pa.Array, title_facts: pa.Table, name: str, weeks: Sequence[date]) -> np.ndarray:
    """A column of each title as of each week, 0 without a row: (I, LOOKBACK_WEEKS + W), the last W as of `weeks`."""
    begin = np.datetime64(weeks[0], "D") - 7 * LOOKBACK_WEEKS
    week_R = (title_facts["as_of"].to_numpy().astype("datetime64[D]") - begin).astype(int) // 7
    title_R = pc.index_in(title_facts["title_id"], value_set=title_ids).combine_chunks()
    title_R = pc.fill_null(title_R, -1).to_numpy(zero_copy_only=False)
    value_IW = np.zeros((len(title_ids), LOOKBACK_WEEKS + len(weeks)))
    known_R = (title_R >= 0) & (week_R >= 0) & (week_R < value_IW.shape[1])
    value_R = pc.fill_null(title_facts[name], 0).to_numpy()
    value_IW[title_R[known_R], week_R[known_R]] = value_R[known_R]
    return value_IW


class DatedFacts(nn.Module):
    """The channels of user vectors: the weight of each fact, linear in E^item."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, len(DATED_FACTS))
        nn.init.zeros_(self.weight.weight)
        self.weight.bias.data = torch.tensor(START)

    def forward(self, item: Tensor) -> Tensor:
        """(..., C) of E^item at some positions, or what stands for it (..., D)."""
        return self.weight(item)
