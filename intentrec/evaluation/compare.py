"""Both protocols over one week's evidence, for any number of models and every baseline."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from intentrec.config import Domain, ItemKnn
from intentrec.evaluation.evidence import Evidence
from intentrec.evaluation.item_knn import MARKOV, Method, Neighbours, learn
from intentrec.evaluation.metrics import Floats, Result
from intentrec.evaluation.naive import HISTORY_BASELINES, popularity
from intentrec.evaluation.next_event import System, label_counts, next_event, targets_ended
from intentrec.evaluation.ranking import Scorer, naive_scorer
from intentrec.evaluation.systems import ModelSystem
from intentrec.evaluation.titles import Titles
from intentrec.evaluation.week_ahead import week_ahead
from intentrec.inference.predictor import Predictor
from intentrec.model.titles import titles_of
from intentrec.training.data import learned_until, service_start

ROWS = 256  # users encoded at once
ITEM_NAIVE_BASELINES = (*HISTORY_BASELINES, "markov", "item_knn")
INTENT_NAIVE_BASELINES = ("majority", "repeat_last_intent")


def compare(evidence: Evidence, domain: Domain, models: Mapping[str, Predictor]) -> dict[str, Result]:
    """Metrics of `models`, of the item naive baselines and of the intent naive baselines; per-user values are of the week ahead.

    Week ahead: titles offered at the cut. Next event: every title that the catalogue knows by the week's end.
    """
    return _merged(*protocols(evidence, domain, models, naive_baselines=True))


def protocols(
    evidence: Evidence, domain: Domain, models: Mapping[str, Predictor], naive_baselines: bool
) -> tuple[dict[str, Result], dict[str, Result]]:
    """Week ahead and next event, each with its own per-user values; with or without the item naive baselines."""
    everything = Titles.of(titles_of(evidence.catalog)["title_id"].to_pylist())
    learned = None
    if naive_baselines:  # from what models learn from
        until = learned_until(domain, evidence.cut)
        taught = (targets_ended(batch, end=until) for batch in evidence.learned())
        learned = learn(taught, everything, learned_baselines(domain.gate.item_knn))
    return (
        _week_ahead(evidence, domain, models, learned),
        _next_event(evidence, domain, models, learned, everything),
    )


def learned_baselines(item_knn: ItemKnn) -> dict[str, Method]:
    """The naive baselines that learn."""
    return {"markov": MARKOV, "item_knn": Method(item_knn.window, item_knn.decay, item_knn.alike)}


def _week_ahead(
    evidence: Evidence, domain: Domain, models: Mapping[str, Predictor], learned: Mapping[str, Neighbours] | None
) -> dict[str, Result]:
    moment = service_start(domain.calendar, evidence.cut)
    titles = Titles.of(offered(evidence.catalog_before, moment))
    systems = _naive_baselines(evidence, titles, learned)
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
    systems = {name: System(scorer) for name, scorer in _naive_baselines(evidence, titles, learned).items()}
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


def _naive_baselines(evidence: Evidence, titles: Titles, learned: Mapping[str, Neighbours] | None) -> dict[str, Scorer]:
    if learned is None:
        return {}
    popular_N = _popularity(evidence, titles)
    unlearned = {name: naive_scorer(name, titles, popular_N) for name in HISTORY_BASELINES}
    return unlearned | {name: baseline.scorer(titles, popular_N) for name, baseline in learned.items()}


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
