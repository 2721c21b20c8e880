"""A release of a naive baseline, where the gate found it better than the champion and the domain lets it publish.

It has recommendations and popular titles, but neither intents nor vectors.

Shape suffixes: B users, N titles on offer, K length of a list.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql.types import StringType, StructField, StructType

from intentrec.calendar import WEEK, day_start_of
from intentrec.config import Publishing
from intentrec.contracts import FLOAT, SEQUENCES, TEXT, array
from intentrec.evaluation.candidates import Prefixes, TitleLists, Titles
from intentrec.evaluation.compare import last_week, offered
from intentrec.evaluation.evidence import stacked_weeks
from intentrec.evaluation.metrics import Floats, Ints
from intentrec.evaluation.naive_baselines import (
    HISTORY_RULES,
    HistoryBaseline,
    learn_neighbours,
    neighbour_methods,
)
from intentrec.evaluation.systems import TitleScorer, slices
from intentrec.evaluation.targets import targets_ended
from intentrec.inference.spark_scoring import ROWS, spread
from intentrec.model.titles import seen_titles, titles_of
from intentrec.registry.served import Served
from intentrec.registry.versions import Registry, Version
from intentrec.storage.runs import Run
from intentrec.training.inputs import content, pin
from intentrec.training.splits import learned_until

SCORED = StructType(
    [
        StructField("user_id", StringType(), False),
        StructField("account_id", StringType(), False),
        StructField("title_ids", array(TEXT), False),
        StructField("scores", array(FLOAT), False),
    ]
)


@dataclass(frozen=True)
class Leader:
    """The naive baseline that publishes a date, and the judged version that it was compared with."""

    name: str
    judged_with: Version
    metrics: dict[str, float]


def leader(run: Run, registry: Registry, champion: Version | None) -> Leader | None:
    """The naive baseline that publishes as of the run's end; None where the champion does.

    The latest judgement up to that date decides. It counts only while the champion is the one that it saw: after a
    promotion, an approval or a rollback the champion publishes again.

    Args:
        run: the publication.
        registry: of the domain's model.
        champion: that of the date.
    """
    if not run.domain.publishing.naive_baselines:
        return None
    past = [version for version in registry.versions() if version.trained_for <= run.end]
    for version in sorted(past, key=lambda each: (each.trained_for, int(each.number)), reverse=True):
        decision = registry.decision(version)
        if decision is not None:
            break
    else:
        return None
    name = decision.get("leader")
    if name is None or decision["champion"] != (champion.number if champion else None):
        return None
    (row,) = [row for row in decision["rows"] if row["system"] == name]
    return Leader(name, version, {key: value for key, value in row.items() if isinstance(value, int | float)})


def learned_from(run: Run, name: str) -> dict[str, str]:
    """Checksum of the weekly snapshots from which a baseline learns; none of one that only reads histories."""
    if name in HISTORY_RULES:
        return {}
    first = run.end - (run.domain.training.weeks - 1) * WEEK
    return {"learned": content(run, SEQUENCES, pin(run, SEQUENCES), first, run.end)}


def candidates(run: Run, catalog: pa.Table) -> Titles:
    """The titles on offer when the service day of the run's end begins."""
    return Titles.of(offered(catalog, day_start_of(run.end, run.domain.calendar)))


def scorer_of(run: Run, name: str, served: Served, titles: Titles) -> TitleScorer:
    """The baseline over `titles` as of the run's end, made as the gate makes it."""
    popular_N = last_week(served.title_facts, served.as_of, titles)
    if name in HISTORY_RULES:
        return HistoryBaseline(HISTORY_RULES[name], titles, popular_N)
    known = Titles.of(titles_of(served.catalog)["title_id"].to_pylist())
    until = learned_until(run.domain, run.end)
    weeks = (targets_ended(batch, end=until) for batch in stacked_weeks(run, pin(run, SEQUENCES), run.end))
    method = {name: neighbour_methods(run.domain.gate.item_knn)[name]}
    return learn_neighbours(weeks, known, method)[name].over(titles, popular_N)


def score(served: Served, scorer: TitleScorer, titles: Titles, publishing: Publishing) -> DataFrame:
    """Lists of all users who are served: schema SCORED. Users stay on the workers."""
    shared = served.sequences.sparkSession.sparkContext.broadcast((scorer, titles))

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        system, candidates = shared.value
        for batch in batches:
            for start in range(0, batch.num_rows, ROWS):
                yield lists(batch.slice(start, ROWS), system, candidates, publishing)

    return spread(served.sequences, served.users).mapInArrow(work, SCORED)


def lists(sequences: pa.RecordBatch, scorer: TitleScorer, titles: Titles, publishing: Publishing) -> pa.RecordBatch:
    """The best titles of each row, best first; equal scores in the order of `titles`.

    Args:
        sequences: one row per user, with the column `titles.SEEN` where lists depend on it.
        scorer: scores `titles`.
        titles: the N candidates.
        publishing: says how long lists are, and which titles they may hold.
    """
    scores = scorer.title_scores(Prefixes.whole(sequences))
    seen = TitleLists.of_lists(seen_titles(sequences), titles) if publishing.tells_known else None
    rows: list[tuple[Ints, Floats]] = []
    for start, end in slices(len(sequences), len(titles)):
        score_BN = scores(start, end)  # ranked as they are: popularity that parts equals is lost in float32
        seen_BN = None if seen is None else seen.between(start, end).seen(len(titles))
        for place, score_N in enumerate(score_BN):
            chosen_K = _chosen(score_N, None if seen_BN is None else seen_BN[place], publishing)
            rows.append((chosen_K, score_N[chosen_K]))
    title_ids = [titles.ids.take(pa.array(chosen_K)).to_pylist() for chosen_K, _ in rows]
    columns = [
        sequences.column(sequences.schema.get_field_index("user_id")).cast(pa.string()),
        sequences.column(sequences.schema.get_field_index("account_id")).cast(pa.string()),
        pa.array(title_ids, pa.list_(pa.string())),
        pa.array([score_K for _, score_K in rows], pa.list_(pa.float32())),
    ]
    return pa.RecordBatch.from_arrays(columns, names=SCORED.names)


def _chosen(score_N: Floats, seen_N: NDArray[np.bool_] | None, publishing: Publishing) -> Ints:
    """Places of one user's titles, best first."""
    order_N = np.argsort(-score_N, kind="stable")
    if seen_N is None:
        return order_N[: publishing.top_k]
    new_N = order_N[~seen_N[order_N]]
    if not publishing.known_and_new:
        return new_N[: publishing.top_k]
    kept = np.isin(order_N, [*new_N[: publishing.top_k], *order_N[seen_N[order_N]][: publishing.top_k]])
    return order_N[kept]
