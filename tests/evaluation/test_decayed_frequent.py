"""The naive baseline `decayed_frequent` by hand, against a plain loop, DuckDB and the model's own counts."""

import math
from collections import defaultdict
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import torch

from intentrec.evaluation.candidates import Prefixes, Titles
from intentrec.evaluation.naive_baselines import HISTORY_RULES, HistoryBaseline, popularity
from intentrec.model.own_titles import DecayedCounts, log_decayed_counts
from tests.evaluation.rows import sequences
from tests.model import world

TITLES = Titles.of("abcdefgh")
NAMES = TITLES.ids.to_pylist()
POPULAR = popularity(TITLES.index(pa.array(list("eeeedddccb"))), len(TITLES))
BASELINE = HistoryBaseline(HISTORY_RULES["decayed_frequent"], TITLES, POPULAR)
WEEKS = timedelta(weeks=1)


def rows(**histories: list[tuple[str, float]]) -> pa.RecordBatch:
    """Rows of `sequences` from pairs of a title and the weeks until it ended."""
    ends = {user: [world.START + weeks * WEEKS for _, weeks in pairs] for user, pairs in histories.items()}
    return sequences({user: [title for title, _ in pairs] for user, pairs in histories.items()}, end_ts=ends)


def random_rows(seed: int) -> pa.RecordBatch:
    """Histories of a year with titles that are no candidates, and with baskets: several lines that end together."""
    rng = np.random.default_rng(seed)
    histories = {}
    for user in range(30):
        count = rng.integers(1, 25)
        weeks = np.sort(rng.choice(np.arange(0, 60, 2.5), count))
        histories[f"u{user}"] = list(zip(rng.choice(list("abcdefyz"), count), map(float, weeks), strict=True))
    return rows(**histories)


def order(scores: np.ndarray) -> str:
    """Titles best first."""
    return "".join(NAMES[j] for j in np.argsort(-scores, kind="stable"))


def best(batch: pa.RecordBatch) -> list[str]:
    """Titles best first after each row's whole history."""
    return [order(scores) for scores in BASELINE.title_scores(Prefixes.whole(batch))(0, len(batch))]


def by_popularity(but: str) -> str:
    return "".join(title for title in order(POPULAR) if title not in but)


def by_loop(history: list[tuple[str, datetime]]) -> str:
    """Titles best first, counted one interaction after another."""
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for title, ended in history:
        weeks = (history[-1][1] - ended) / WEEKS
        if title in NAMES:
            counts[title][0] += 2 ** (-weeks / 4)
            counts[title][1] += 2 ** (-weeks / 26)
    score = {title: round(0.5 * math.log(short) + 0.5 * math.log(long), 9) for title, (short, long) in counts.items()}
    own = sorted(score, key=lambda title: (-score[title], -POPULAR[NAMES.index(title)]))
    return "".join(own) + by_popularity("".join(own))


def test_many_old_interactions_stand_beside_few_recent_ones() -> None:
    """Both counts of b are 1. Those of a are 2 x 2^(-8/4) = .5 and 2 x 2^(-8/26) = 1.62: their product is below 1.

    Three old ones of c give 3 x .25 x 3 x .81 = 1.82 > 1.
    """
    often = [("c", 0.0)] * 3
    twice = [("a", 0.0)] * 2
    found = best(rows(u=[*twice, ("b", 8.0)], v=[*often, ("b", 8.0)]))
    assert found == ["ba" + by_popularity("ab"), "cb" + by_popularity("bc")]


def test_of_a_basket_the_more_popular_title_comes_first() -> None:
    assert POPULAR[NAMES.index("e")] > POPULAR[NAMES.index("d")]
    found = best(rows(u=[("e", 1.0), ("d", 1.0)], v=[("d", 1.0), ("e", 1.0)]))
    assert found == ["ed" + by_popularity("de")] * 2
    second = 1 / 604_800
    assert best(rows(u=[("e", 1.0), ("d", 1.0 + second)])) == ["de" + by_popularity("de")]


def test_every_prefix_is_ordered_as_a_plain_loop_does() -> None:
    batch = random_rows(3)
    ends = np.array([end for titles in batch["title_id"].to_pylist() for end in range(1, len(titles) + 1)])
    places = np.repeat(np.arange(len(batch)), [len(titles) for titles in batch["title_id"].to_pylist()])
    scores = BASELINE.title_scores(Prefixes(batch, places, ends))(0, len(ends))
    for found, row, end in zip(scores, places, ends, strict=True):
        titles, ended = (batch[name][int(row)].as_py()[:end] for name in ("title_id", "end_ts"))
        assert order(found) == by_loop(list(zip(titles, ended, strict=True)))
        assert len(set(found)) == len(TITLES)  # a strict order


def test_whole_histories_are_ordered_as_duckdb_does_also_from_a_later_moment() -> None:
    batch = random_rows(4)
    connection = duckdb.connect()
    connection.register("history", pa.table({name: batch[name] for name in ("user_id", "title_id", "end_ts")}))
    connection.register("candidates", pa.table({"title_id": NAMES, "popular": POPULAR}))
    for days in (0, 9):
        found = connection.execute(
            """with played as (select user_id, unnest(title_id) as title_id, unnest(end_ts) as ended from history),
            aged as (select *, ? / 7 + epoch(max(ended) over (partition by user_id) - ended) / 604800 as weeks
              from played),
            scored as (select user_id, title_id,
              round(ln(sum(pow(0.5, weeks / 4))) / 2 + ln(sum(pow(0.5, weeks / 26))) / 2, 9) as score
              from aged group by all)
            select string_agg(candidates.title_id, '' order by coalesce(score, -1e9) desc, popular desc)
            from (select distinct user_id from history) users cross join candidates
            left join scored on scored.user_id = users.user_id and scored.title_id = candidates.title_id
            group by users.user_id order by users.user_id""",
            [days],
        ).fetchall()
        users = batch["user_id"].to_pylist()
        assert [text for (text,) in found] == [text for _, text in sorted(zip(users, best(batch), strict=True))]


def test_the_models_decayed_counts_start_as_the_same_score() -> None:
    """Up to the constant that puts the user's own titles above all others."""
    history = [("a", 0.0), ("b", 1.0), ("a", 3.0), ("c", 30.0), ("b", 31.0)]
    time_BL = torch.tensor([[int(weeks * 604_800) for _, weeks in history]])
    first_BL = torch.tensor([[0, 1, 0, 3, 1]])
    log_count = log_decayed_counts(time_BL, first_BL)[:, :, -1]
    bias_L = DecayedCounts(4).bias(torch.zeros(1, 4), log_count)[0].detach().numpy()
    scores = BASELINE.title_scores(Prefixes.whole(rows(u=history)))(0, 1)[0]
    difference = [scores[NAMES.index(title)] - bias for (title, _), bias in zip(history, bias_L, strict=True)]
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)
