"""One training of one system, judged on the week that nobody saw; what is done is never done again.

Everything that a study makes lies in a folder per system and seed: `result.json` with metrics, curve, settings and
commit, and a Parquet file per protocol with the values per user that significance is tested on. A result counts as long
as the study and the data are the same.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from intentrec.evaluation.compare import INTENT_FLOORS, ITEM_FLOORS, protocols
from intentrec.evaluation.evidence import Evidence, read_evidence
from intentrec.evaluation.result import Result
from intentrec.experiments.study import Study
from intentrec.experiments.systems import System, domain_of
from intentrec.runs import Run, code_version
from intentrec.training.data import open_sequences, read_catalog
from intentrec.training.inputs import Inputs, settings
from intentrec.training.loop import FitResult, fit
from intentrec.training.predictor import Predictor

PROTOCOLS = ("week_ahead", "next_event")
FLOORS = "floors"


@dataclass(frozen=True)
class Data:
    """The tables of a study at pinned versions, and the judged week."""

    run: Run
    inputs: Inputs
    evidence: Evidence

    @classmethod
    def of(cls, run: Run) -> "Data":
        """Read it.

        Raises:
            PipelineError: a table does not exist.
            Skip: there is nothing to judge on.
        """
        return cls(run, Inputs.of(run), read_evidence(run))

    def mark(self, study: Study) -> dict[str, Any]:
        """What a result is valid for."""
        return {"study": study.hash, "data": self.evidence.fingerprint}


def train_once(domain: Any, data: Data, folder: Path, say: Callable[[str], None]) -> FitResult:
    """Fit on what was known before the judged week."""
    run, inputs = data.run, data.inputs
    sequences = open_sequences(run.warehouse, inputs.sequences, inputs.cutoff, domain.training.weeks)
    return fit(
        domain, sequences, read_catalog(run.warehouse, inputs.catalog, inputs.cutoff), inputs.cutoff, folder, say
    )


def measure(study: Study, data: Data, system: System, tuned: Mapping[str, float], seed: int, out: Path) -> bool:
    """Train and judge unless it was done; whether there was anything to do."""
    domain = domain_of(study, system, tuned, seed)
    mark = {**data.mark(study), "system": system.name, "seed": seed, "tuned": dict(tuned), "settings": settings(domain)}
    if is_done(out, mark):
        return False
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = train_once(domain, data, Path(folder), lambda line: None)
        trained = time.monotonic() - began
        predictor = Predictor.load(found.directory)
        results = protocols(data.evidence, domain, {system.name: predictor}, floors=False)
    about = {
        **mark,
        "label": system.label,
        "parameters": sum(parameter.numel() for parameter in predictor.model.parameters()),
        "best_epoch": found.best_epoch,
        "history": found.history,
        "seconds": {"training": trained, "all": time.monotonic() - began},
        "code": code_version(),
    }
    write(out, about, {name: each[system.name] for name, each in zip(PROTOCOLS, results, strict=True)})
    return True


def measure_floors(study: Study, data: Data, out: Path) -> bool:
    """Judge what needs no training, once per study; whether there was anything to do."""
    mark = {**data.mark(study), "system": FLOORS}
    done = [is_done(out / name, {**mark, "floor": name}) for name in (*ITEM_FLOORS, *INTENT_FLOORS)]
    if all(done):
        return False
    results = protocols(data.evidence, study.base(), {}, floors=True)
    for name in (*ITEM_FLOORS, *INTENT_FLOORS):
        about = {**mark, "floor": name, "label": name, "code": code_version()}
        found = {key: each[name] for key, each in zip(PROTOCOLS, results, strict=True) if name in each}
        write(out / name, about, found)
    return True


def is_done(folder: Path, mark: Mapping[str, Any]) -> bool:
    """Whether the folder holds a result of exactly this."""
    path = folder / "result.json"
    if not path.exists():
        return False
    stored = json.loads(path.read_text(encoding="utf-8"))
    return all(stored.get(key) == value for key, value in mark.items())


def write(folder: Path, about: Mapping[str, Any], results: Mapping[str, Result]) -> None:
    """Values per user first: the result that names them comes last, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, each in results.items():
        pq.write_table(pa.table({"user_id": each.users, **each.per_user}), folder / f"{key}.parquet")
    metrics = {key: _finite(each.metrics) for key, each in results.items()}
    text = json.dumps({**about, "metrics": metrics}, indent=1, sort_keys=True) + "\n"
    partial = folder / "result.json.partial"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, folder / "result.json")


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """What was not measured is null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in metrics.items()}
