"""A small study, and results of it that no model was trained for: what tables and pages show needs no training."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from intentrec.evaluation.metrics import Result
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES
from intentrec.training.settings import settings
from lab.studies.data import DataFacts
from lab.studies.measure import TIMING, save, write
from lab.studies.naive_measure import NAIVE_BASELINES, naive_mark
from lab.studies.study import Study, domain_of, systems
from tests.registry import world

TUNED = {"learning_rate": 0.01, "dropout": 0.1, "weight_decay": 0.1}
FACTS = DataFacts("made up", date(2026, 8, 24), date(2026, 8, 31), 70)
USERS = pa.array([f"u{user:02d}" for user in range(60)])
INTENTS = ("action_type", "genre", "kind", "age")


def study_of(**changes: object) -> Study:
    value = {
        "title": "A small service",
        "domain": "streaming",
        "start": world.FIRST,
        "end": world.END,
        "seeds": [1, 2],
        "epochs": 2,
        "patience": 2,
        "tokens": 512,
        "model": {"dim": 16, "dim_intent": 8, "layers": 1},
        "search": {"trials": 2, "learning_rate": [0.005, 0.02], "dropout": [0.0, 0.1], "weight_decay": [0.01, 0.1]},
    }
    return Study.model_validate({**value, **changes})


def write_results(folder: Path, study: Study, names: Sequence[str]) -> None:
    """Results of all seeds of these systems, of the naive baselines, and the timing, as a study writes them."""
    FACTS.save(folder)
    known, timed = systems(study), {}
    for number, name in enumerate(names):
        for seed in study.seeds:
            rng = np.random.default_rng([number, seed])
            of_settings = settings(domain_of(study, known[name], TUNED, seed))
            mark = {**FACTS.mark(study), "system": name, "seed": seed, "tuned": TUNED, "settings": of_settings}
            history = [{"val_mrr": float(rng.random())} for _ in range(2 + (number + seed) % 2)]
            about = {**mark, "label": known[name].label, "alignment": {}, "parameters": 100 + number}
            about |= {"best_epoch": 1 + int(np.argmax([row["val_mrr"] for row in history])), "history": history}
            about |= {"seconds": {"training": 1.0, "all": 36.0}, "hardware": "CPU", "code": "c" * 12}
            if name in ("v4", "v4permuted"):
                about["alignment"] = _alignment(rng)
            write(folder / f"{name}-{seed}.json", about, _results(rng, number, INTENTS))
        timed[name] = {"settings": _stored(folder / f"{name}-{study.seeds[0]}.json")["settings"], "seconds": 1 + number}
    save(folder / TIMING, {**FACTS.mark(study), "hardware": "CPU", "code": "c" * 12, "systems": timed})
    for number, name in enumerate((*NAIVE_BASELINES, *INTENT_NAIVE_BASELINES)):
        rng = np.random.default_rng([99, number])
        about = {**naive_mark(study, FACTS, name), "label": name, "code": "c" * 12}
        results = _results(rng, number, INTENTS if name in INTENT_NAIVE_BASELINES else ())
        write(folder / f"{name}.json", about, results)


def stored(folder: Path, system: str, seed: int) -> tuple[dict, np.ndarray]:
    """A result and the next event's MRR per user."""
    path = folder / f"{system}-{seed}.json"
    return _stored(path), pq.read_table(path.with_suffix(".next_event.parquet"))["mrr"].to_numpy()


def _stored(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _results(rng: np.random.Generator, number: int, intents: Sequence[str]) -> dict[str, Result]:
    found = {}
    for protocol, names in (
        ("next_event", ("next_mrr", "next_ndcg_at_10")),
        ("week_ahead", ("mrr", "ndcg_at_10", "ndcg_at_10_unseen", "ndcg_at_10_cold", "coverage_at_10")),
    ):
        per_user = {name: rng.random(len(USERS)) * (1 + number / 10) for name in ("mrr", "ndcg_at_10")}
        metrics = {name: float(rng.random()) for name in names} | {"recall_at_10_new": float("nan")}
        metrics |= {"users": len(USERS), "users_cold": 5}
        if protocol == "next_event":
            metrics |= {f"intent_{name}_accuracy": float(rng.uniform(0.2, 0.9)) for name in intents}
        found[protocol] = Result(metrics, USERS, per_user)
    return found


def _alignment(rng: np.random.Generator) -> dict[str, float | None]:
    names = [f"{key}_{intent}" for intent in INTENTS for key in ("attention", "primary", "contradicted")]
    names += [f"attention_{intent}_spread" for intent in INTENTS] + ["correct_of_primary", "correct_of_any"]
    found: dict[str, float | None] = {name: float(rng.random()) for name in names}
    return found | {"next_mrr_contradicted_kind": 0.25, "next_mrr_agreed_kind": None}
