"""Measure the naive baselines of a study, judged as the trained systems are.

The settings of item-kNN are searched as those of every system: on the validation days alone, by the same metric, from
the same learned targets. The search tries all points of a small grid, because a try trains nothing.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from intentrec.config import Domain, ItemKnn, fingerprint
from intentrec.evaluation.candidates import Histories, Titles
from intentrec.evaluation.compare import protocols
from intentrec.evaluation.naive_baselines import (
    INTENT_NAIVE_BASELINES,
    ITEM_NAIVE_BASELINES,
    learn_neighbours,
    neighbour_methods,
    popularity,
)
from intentrec.evaluation.next_event import next_event
from intentrec.evaluation.systems import System
from intentrec.evaluation.targets import Targets, targets_ended
from intentrec.model.own_titles import HALF_LIVES
from intentrec.model.titles import titles_of
from intentrec.storage.runs import code_version
from intentrec.training.splits import validation_start
from lab.studies.data import Data, DataFacts
from lab.studies.measure import PROTOCOLS, stored, write
from lab.studies.study import Study

WINDOWS, DECAYS, POPULARITY_EXPONENTS = (5, 20, 50), (0.8, 0.9, 0.97, 1.0), (0.0, 0.25, 0.5, 0.75)
LATEST = "item_knn_latest"
LABELS = {LATEST: "item_knn, which also learned the validation days"}
NAIVE_BASELINES = (*ITEM_NAIVE_BASELINES, LATEST)
# What a baseline's result depends on beside data and study. If a text here changes, all baselines are judged again.
RULES = {
    "decayed_frequent": {"half_lives": HALF_LIVES},
    "item_knn": {
        "window": WINDOWS,
        "decay": DECAYS,
        "popularity_exponent": POPULARITY_EXPONENTS,
        "chosen": "next MRR of the validation days",
    },
    "learned": "the targets that systems learn from; LATEST: those of the validation days, too",
    "repeat_last_intent": "the label of the last target",
}


def naive_mark(study: Study, facts: DataFacts, name: str) -> dict[str, Any]:
    """What a baseline's result is valid for: its rules, and the settings that they and the protocols read."""
    domain = study.base()
    read = {
        "validation_days": domain.training.validation_days,
        "seen_titles": domain.publishing.seen_titles,
        "intents": [intent.model_dump(mode="json") for intent in domain.intents],
    }
    return {**facts.mark(study), "baseline": name, "rules": fingerprint({**RULES, **read})}


def measure_naive(study: Study, data: Data, out: Path) -> bool:
    """Judge the naive baselines, once per study; whether there was anything to do."""
    marks = {name: naive_mark(study, data.facts, name) for name in (*NAIVE_BASELINES, *INTENT_NAIVE_BASELINES)}
    if all(stored(out / f"{name}.json", mark) for name, mark in marks.items()):
        return False
    domain = study.base()
    best, tried = tuned_item_knn(data, domain)
    domain = domain.model_copy(update={"gate": domain.gate.model_copy(update={"item_knn": best})})
    training = {refit: domain.training.model_copy(update={"refit": refit}) for refit in (False, True)}
    results, latest = (
        protocols(data.evidence, domain.model_copy(update={"training": training[refit]}), {}, naive_baselines=True)
        for refit in (False, True)
    )
    searched = {"tuned": best.model_dump(), "trials": tried}
    for name, mark in marks.items():
        source, key = (latest, "item_knn") if name == LATEST else (results, name)
        about = {**mark, "label": LABELS.get(name, name), "code": code_version()}
        about |= searched if key == "item_knn" else {}
        found = {protocol: each[key] for protocol, each in zip(PROTOCOLS, source, strict=True) if key in each}
        write(out / f"{name}.json", about, found)
    return True


def tuned_item_knn(data: Data, domain: Domain) -> tuple[ItemKnn, list[dict[str, float]]]:
    """The settings of the grid that are best on the validation days, and the validation MRR of all of them."""
    evidence, begin = data.evidence, validation_start(domain, data.evidence.cut)
    titles = Titles.of(titles_of(evidence.catalog_before)["title_id"].to_pylist())
    learned_targets = partial(_between, data, end=begin)
    validation_targets = partial(_between, data, begin=begin)
    engaged = [Histories.of(batch, titles).titles[Targets.of(batch).flat] for batch in learned_targets()]
    popular_N = popularity(np.concatenate(engaged), len(titles))
    tried = []
    for window, decay in product(WINDOWS, DECAYS):
        settings = {
            f"{exponent}": ItemKnn(window=window, decay=decay, popularity_exponent=exponent)
            for exponent in POPULARITY_EXPONENTS
        }
        methods = {name: neighbour_methods(each)["item_knn"] for name, each in settings.items()}
        learned = learn_neighbours(learned_targets(), titles, methods)
        systems = {name: System(each.over(titles, popular_N)) for name, each in learned.items()}
        for name, result in next_event(validation_targets(), titles, systems, [], {}).items():
            if name in settings:
                tried.append({**settings[name].model_dump(), "val_mrr": result.metrics["next_mrr"]})
    best = max(tried, key=lambda line: line["val_mrr"])
    return ItemKnn(**{key: value for key, value in best.items() if key != "val_mrr"}), tried


def _between(data: Data, begin: datetime | None = None, end: datetime | None = None) -> Iterator[pa.RecordBatch]:
    return (targets_ended(batch, begin, end) for batch in data.evidence.learned())
