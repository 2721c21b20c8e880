"""Both protocols over one week's evidence, for any number of models and all naive baselines.

Shape suffixes: N candidate titles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intentrec.calendar import day_start_of
from intentrec.config import Domain
from intentrec.evaluation.candidates import Titles
from intentrec.evaluation.evidence import Evidence
from intentrec.evaluation.metrics import Floats, Result
from intentrec.evaluation.model_system import ModelSystem
from intentrec.evaluation.naive_baselines import (
    HISTORY_RULES,
    HistoryBaseline,
    TitleNeighbours,
    label_counts,
    learn_neighbours,
    neighbour_methods,
    popularity_scores,
)
from intentrec.evaluation.next_event import next_event
from intentrec.evaluation.next_session import Predicted, first_labels, next_session
from intentrec.evaluation.systems import System, TitleScorer
from intentrec.evaluation.targets import targets_ended
from intentrec.evaluation.week_ahead import week_ahead
from intentrec.inference.distinctive import Typical
from intentrec.inference.predictor import Predictor
from intentrec.inference.scorer import sample_users
from intentrec.model.titles import available, titles_of
from intentrec.training.splits import learned_until

ROWS = 256  # users encoded at once


def compare(evidence: Evidence, domain: Domain, models: Mapping[str, Predictor]) -> dict[str, Result]:
    """Metrics of `models` and of all naive baselines, by system. Values per user are those of the week ahead.

    Candidates of the week ahead are the titles on offer when the week begins. Candidates of the next event are all
    titles that the catalogue knows at the week's end.
    """
    return _merged(*protocols(evidence, domain, models, naive_baselines=True))


def protocols(
    evidence: Evidence, domain: Domain, models: Mapping[str, Predictor], naive_baselines: bool
) -> tuple[dict[str, Result], dict[str, Result]]:
    """Results by system of the week ahead and of the next event, each with its own values per user.

    Args:
        evidence: the judged week.
        domain: its settings.
        models: by name.
        naive_baselines: whether the naive baselines that rank titles are judged, too.
    """
    everything = Titles.of(titles_of(evidence.catalog)["title_id"].to_pylist())
    neighbours = None
    if naive_baselines:  # they learn from the targets that models learn from
        until = learned_until(domain, evidence.cut)
        learned = (targets_ended(batch, end=until) for batch in evidence.learned())
        neighbours = learn_neighbours(learned, everything, neighbour_methods(domain.gate.item_knn))
    return (
        _week_ahead(evidence, domain, models, neighbours),
        _next_event(evidence, domain, models, neighbours, everything),
    )


def _week_ahead(
    evidence: Evidence,
    domain: Domain,
    models: Mapping[str, Predictor],
    neighbours: Mapping[str, TitleNeighbours] | None,
) -> dict[str, Result]:
    moment = day_start_of(evidence.cut, domain.calendar)
    titles = Titles.of(offered(evidence.catalog_before, moment))
    systems = naive_baselines(evidence, titles, neighbours)
    for name, predictor in models.items():
        systems[name] = ModelSystem(
            predictor, evidence.catalog_before, evidence.title_facts, evidence.cut, titles, True
        )
    snapshot = (evidence.seen.add_to(batch) for batch in evidence.before.to_batches(ROWS))
    return week_ahead(snapshot, evidence.targets, titles, systems, domain.publishing.seen_titles)


def _next_event(
    evidence: Evidence,
    domain: Domain,
    models: Mapping[str, Predictor],
    neighbours: Mapping[str, TitleNeighbours] | None,
    titles: Titles,
) -> dict[str, Result]:
    systems = {name: System(scorer) for name, scorer in naive_baselines(evidence, titles, neighbours).items()}
    for name, predictor in models.items():
        systems[name] = ModelSystem(predictor, evidence.catalog, evidence.title_facts, evidence.end, titles).system
    last_week = evidence.before.filter(pc.equal(evidence.before["as_of"], evidence.cut))
    past = label_counts(last_week.to_batches(ROWS), domain.intents)
    found = next_event(evidence.week.to_batches(ROWS), titles, systems, domain.intents, past)
    of_session = _next_session(evidence, domain, models, last_week)
    return {name: replace(each, metrics=each.metrics | of_session.get(name, {})) for name, each in found.items()}


def _next_session(
    evidence: Evidence, domain: Domain, models: Mapping[str, Predictor], last_week: pa.Table
) -> dict[str, dict[str, float]]:
    sample = sample_users(evidence.before).combine_chunks().to_batches()[0]
    systems = {
        name: partial(
            Predicted.of,
            predictor=predictor,
            typical=Typical.of(predictor.session_intents(sample, evidence.cut).p),
            as_of=evidence.cut,
        )
        for name, predictor in models.items()
        if predictor.labels
    }
    past = first_labels(last_week.to_batches(ROWS), domain.intents)
    return next_session(evidence.before, evidence.week.to_batches(ROWS), systems, domain.intents, past)


def offered(catalog: pa.Table, moment: datetime) -> Sequence[str]:
    """Titles that may be offered at a moment."""
    titles = titles_of(catalog)
    return titles.filter(available(titles, moment))["title_id"].to_pylist()


def naive_baselines(
    evidence: Evidence, titles: Titles, neighbours: Mapping[str, TitleNeighbours] | None
) -> dict[str, TitleScorer]:
    """The naive baselines over `titles` by name; none where `neighbours` is None."""
    if neighbours is None:
        return {}
    popular_N = last_week(evidence.title_facts, evidence.cut, titles)
    systems: dict[str, TitleScorer] = {
        name: HistoryBaseline(rule, titles, popular_N) for name, rule in HISTORY_RULES.items()
    }
    return systems | {name: learned.over(titles, popular_N) for name, learned in neighbours.items()}


def last_week(title_facts: pa.Table, as_of: date, titles: Titles) -> Floats:
    """Scores (N,) of titles by how many users engaged them in the seven days before a date.

    Args:
        title_facts: rows of `title_facts`.
        as_of: the date.
        titles: the N candidates.
    """
    rows = title_facts.filter(pc.equal(title_facts["as_of"], as_of))
    count_N, place_E = np.zeros(len(titles), np.int64), titles.index(rows["title_id"])
    count_N[place_E[place_E >= 0]] = rows["users"].to_numpy()[place_E >= 0]
    return popularity_scores(count_N)


def _merged(ahead: dict[str, Result], following: dict[str, Result]) -> dict[str, Result]:
    merged = {}
    for name in {**ahead, **following}:
        parts = [results[name] for results in (ahead, following) if name in results]
        metrics = {key: value for part in parts for key, value in part.metrics.items()}
        merged[name] = Result(metrics, parts[0].users, parts[0].per_user if name in ahead else {})
    return merged
