"""One training of one system, judged on the week that nobody saw; what is done is never done again.

Finished parts are files that belong into the repository, so that any machine can go on: per system and seed
`SYSTEM-SEED.json` with metrics, curve, settings and commit, and a Parquet file per protocol with the values per user
that significance is tested on. A result counts as long as study, data and settings are the same.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from intentrec.config import Domain, fingerprint
from intentrec.evaluation.compare import protocols
from intentrec.evaluation.evidence import Evidence, read_evidence
from intentrec.evaluation.metrics import Result
from intentrec.inference.predictor import Predictor
from intentrec.storage.runs import Run, code_version
from intentrec.training.data import open_sequences, read_catalog
from intentrec.training.distributed import hardware_name
from intentrec.training.inputs import Inputs, settings
from intentrec.training.loop import FitResult, fit
from lab.studies.intents import against_truth, aligned_on, figures
from lab.studies.study import Study
from lab.studies.systems import System, domain_of

PROTOCOLS = ("week_ahead", "next_event")
PER_USER = {"week_ahead": ("mrr", "ndcg_at_10"), "next_event": ("mrr", "ndcg_at_10")}
DRAWN = "v3"  # whose clusters and attention are drawn, of the first seed


@dataclass(frozen=True)
class Data:
    """The tables of a study at pinned versions, and the judged week."""

    run: Run
    inputs: Inputs
    evidence: Evidence
    content: str  # hash of all rows that training and judging read: the same wherever the tables were built

    @classmethod
    def of(cls, run: Run) -> "Data":
        """Read it.

        Raises:
            PipelineError: a table does not exist.
            Skip: there is nothing to judge on.
        """
        evidence = read_evidence(run)
        return cls(run, Inputs.of(run), evidence, content_of(evidence))

    def mark(self, study: Study) -> dict[str, Any]:
        """What a result is valid for."""
        return {"study": study.hash, "data": self.content}


def content_of(evidence: Evidence) -> str:
    """Hash of the evidence's rows, in an order of their own."""
    digest = hashlib.sha256()
    for batch in evidence.learned():
        _add(digest, pa.Table.from_batches([batch]))
    ordered = evidence.targets.sort_by([(name, "ascending") for name in evidence.targets.column_names])
    for table in (evidence.week, ordered, evidence.catalog):
        _add(digest, table)
    return digest.hexdigest()[:16]


def _add(digest: Any, table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.combine_chunks()
        digest.update(name.encode())
        while pa.types.is_list(values.type):
            digest.update(pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False).tobytes())
            values = values.flatten()
        if pa.types.is_map(values.type):  # window starts, which follow from the moments
            continue
        digest.update(
            pd.util.hash_array(values.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)).tobytes()
        )


def train_once(domain: Domain, data: Data, folder: Path, say: Callable[[str], None]) -> FitResult:
    """Fit on what was known before the judged week."""
    run, inputs = data.run, data.inputs
    sequences = open_sequences(run.warehouse, inputs.sequences, inputs.cutoff, domain.training.weeks)
    return fit(
        domain, sequences, read_catalog(run.warehouse, inputs.catalog, inputs.cutoff), inputs.cutoff, folder, say
    )


def measure(study: Study, data: Data, system: System, tuned: Mapping[str, float], seed: int, out: Path) -> bool:
    """Train and judge into the folder `out` unless it was done; whether there was anything to do."""
    domain = domain_of(study, system, tuned, seed)
    mark = {**data.mark(study), "system": system.name, "seed": seed, "tuned": dict(tuned), "settings": settings(domain)}
    path = out / f"{system.name}-{seed}.json"
    if stored(path, mark):
        return False
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = train_once(domain, data, Path(folder), lambda line: None)
        trained = time.monotonic() - began
        predictor = Predictor.load(found.directory)
    results = protocols(data.evidence, domain, {system.name: predictor}, naive_baselines=False)
    if system.name == DRAWN and seed == study.seeds[0]:
        figures(data.evidence, domain, predictor, out.parent.parent / "img", f"{out.name}_")
    about = {
        **mark,
        "label": system.label,
        "alignment": _alignment(study, data, domain, predictor) if predictor.spec.hierarchical else {},
        "parameters": sum(parameter.numel() for parameter in predictor.model.parameters()),
        "best_epoch": found.best_epoch,
        "history": found.history,
        "seconds": {"training": trained, "all": time.monotonic() - began},
        "hardware": hardware_name(),
        "code": code_version(),
    }
    write(path, about, {name: each[system.name] for name, each in zip(PROTOCOLS, results, strict=True)})
    return True


def _alignment(study: Study, data: Data, domain: Domain, predictor: Predictor) -> dict[str, float | None]:
    found = aligned_on(data.evidence, domain, predictor)
    told = (
        against_truth(found, Path(data.run.profile.work) / "truth" / data.run.domain.domain)
        if study.simulated is not None
        else {}
    )
    return _finite(found.metrics() | told)


def stored(path: Path, mark: Mapping[str, Any]) -> dict[str, Any] | None:
    """The file's content, if there is one of exactly this."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if all(content.get(key) == value for key, value in mark.items()) else None


def write(path: Path, about: Mapping[str, Any], results: Mapping[str, Result]) -> None:
    """Values per user first: the JSON file that speaks of them comes last, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for key, each in results.items():
        kept = {name: each.per_user[name].astype(np.float32) for name in PER_USER[key] if name in each.per_user}
        if kept:
            pq.write_table(pa.table(kept), path.with_suffix(f".{key}.parquet"), compression="zstd")
    save(
        path,
        {
            **about,
            "users": {key: fingerprint(each.users.to_pylist()) for key, each in results.items()},
            "metrics": {key: _finite(each.metrics) for key, each in results.items()},
        },
    )


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """What was not measured is null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in metrics.items()}
