"""Both protocols over one week's evidence, for any number of models and every floor."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from intentrec.config import Domain, ItemKnn
from intentrec.evaluation.evidence import Evidence
from intentrec.evaluation.floors import HISTORY_FLOORS, popularity
from intentrec.evaluation.metrics import Floats
from intentrec.evaluation.neighbours import MARKOV, Method, Neighbours, learn
from intentrec.evaluation.next_event import System, label_counts, next_event, targets_ended
from intentrec.evaluation.ranking import Scorer, floor_scorer
from intentrec.evaluation.result import Result
from intentrec.evaluation.systems import ModelSystem
from intentrec.evaluation.titles import Titles
from intentrec.evaluation.week_ahead import week_ahead
from intentrec.model.titles import titles_of
from intentrec.training.data import learned_until, service_start
from intentrec.training.predictor import Predictor

ROWS = 256  # users encoded at once
ITEM_FLOORS = (*HISTORY_FLOORS, "markov", "item_knn")
INTENT_FLOORS = ("majority", "repeat_last_intent")


def compare(evidence: Evidence, domain: Domain, models: Mapping[str, Predictor]) -> dict[str, Result]:
    """Metrics of `models`, of the item floors and of the intent floors; per-user values are of the week ahead.

    Week ahead: titles offered at the cut. Next event: every title that the catalogue knows by the week's end.
    """
    return _merged(*protocols(evidence, domain, models, floors=True))


def protocols(
    evidence: Evidence, domain: Domain, models: Mapping[str, Predictor], floors: bool
) -> tuple[dict[str, Result], dict[str, Result]]:
    """Week ahead and next event, each with its own per-user values; with or without the item floors."""
    everything = Titles.of(titles_of(evidence.catalog)["title_id"].to_pylist())
    learned = None
    if floors:  # from what models learn from
        until = learned_until(domain, evidence.cut)
        taught = (targets_ended(batch, end=until) for batch in evidence.learned())
        learned = learn(taught, everything, learned_floors(domain.gate.item_knn))
    return (
        _week_ahead(evidence, domain, models, learned),
        _next_event(evidence, domain, models, learned, everything),
    )


def learned_floors(item_knn: ItemKnn) -> dict[str, Method]:
    """The floors that learn."""
    return {"markov": MARKOV, "item_knn": Method(item_knn.window, item_knn.decay, item_knn.alike)}


def _week_ahead(
    evidence: Evidence, domain: Domain, models: Mapping[str, Predictor], learned: Mapping[str, Neighbours] | None
) -> dict[str, Result]:
    moment = service_start(domain.calendar, evidence.cut)
    titles = Titles.of(offered(evidence.catalog_before, moment))
    systems = _floors(evidence, titles, learned)
    for name, predictor in models.items():
        systems[name] = ModelSystem(predictor, evidence.catalog_before, evidence.cut, titles).titles
    return week_ahead(
        evidence.before.to_batches(ROWS), evidence.targets, titles, systems, domain.publishing.seen_titles
    )


def _next_event(
    evidence: Evidence,
    domain: Domain,
    models: Mapping[str, Predictor],
    learned: Mapping[str, Neighbours] | None,
    titles: Titles,
) -> dict[str, Result]:
    systems = {name: System(scorer) for name, scorer in _floors(evidence, titles, learned).items()}
    for name, predictor in models.items():
        systems[name] = ModelSystem(predictor, evidence.catalog, evidence.end, titles).system
    past = label_counts(evidence.before.to_batches(ROWS), domain.intents)
    return next_event(evidence.week.to_batches(ROWS), titles, systems, domain.intents, past)


def offered(catalog: pa.Table, moment: datetime) -> Sequence[str]:
    """Titles that may be offered at a moment."""
    titles = titles_of(catalog)
    now = pa.scalar(moment, pa.timestamp("us", "UTC"))
    begun = pc.fill_null(pc.less_equal(titles["available_from"], now), True)
    not_over = pc.fill_null(pc.greater(titles["available_to"], now), True)
    return titles.filter(pc.and_(begun, not_over))["title_id"].to_pylist()


def _floors(evidence: Evidence, titles: Titles, learned: Mapping[str, Neighbours] | None) -> dict[str, Scorer]:
    if learned is None:
        return {}
    popular_N = _popularity(evidence, titles)
    unlearned = {name: floor_scorer(name, titles, popular_N) for name in HISTORY_FLOORS}
    return unlearned | {name: floor.scorer(titles, popular_N) for name, floor in learned.items()}


def _popularity(evidence: Evidence, titles: Titles) -> Floats:
    """Users per title in the seven days before the cut."""
    once = evidence.past_targets.group_by(["user_id", "title_id"]).aggregate([])
    return popularity(titles.index(once["title_id"]), len(titles))


def _merged(ahead: dict[str, Result], following: dict[str, Result]) -> dict[str, Result]:
    merged = {}
    for name in {**ahead, **following}:
        parts = [results[name] for results in (ahead, following) if name in results]
        metrics = {key: value for part in parts for key, value in part.metrics.items()}
        merged[name] = Result(metrics, parts[0].users, parts[0].per_user if name in ahead else {})
    return merged
