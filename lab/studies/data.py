"""The tables of a study: the pipeline's own jobs build them in a separate home; they are read at fixed versions."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from intentrec.config import ROOT, fingerprint, home, load_profile
from intentrec.errors import PipelineError
from intentrec.evaluation.evidence import Evidence, read_evidence
from intentrec.local.progress import Progress
from intentrec.sources import data_folder
from intentrec.storage.runs import Run
from intentrec.training.inputs import WEEK, Inputs, code_hash
from lab.studies.study import Study

JOBS = ("ingest", "build_interactions", "build_sequences")
TABLE_PACKAGES = ("storage", "sources", "events", "interactions", "sequences")
TABLE_CODE = ("calendar.py", "contracts.py", *(f"{package}/**/*.py" for package in TABLE_PACKAGES))
TABLE_SETTINGS = ("domain", "source", "calendar", "events", "interactions", "sequences")  # of the domain file
FACTS = "data.json"


def runs_folder(name: str) -> Path:
    """Where the values per user and per seed of a study are kept. Git ignores it."""
    return home() / "lab" / "runs" / name


@dataclass(frozen=True)
class DataFacts:
    """What marks and pages say about the data of a study; a page needs nothing else of the tables.

    `content` is a hash of all rows that training and judging read. It is the same wherever the tables were built.
    The judged week is [cut, end), and `users_with_target` counts its users with a target.
    """

    content: str
    cut: date
    end: date
    users_with_target: int

    def mark(self, study: Study) -> dict[str, Any]:
        """What a result is valid for."""
        return {"study": study.hash, "data": self.content}

    def save(self, folder: Path) -> None:
        """Write `data.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).write_text(json.dumps(asdict(self), default=str, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "DataFacts":
        """Read `data.json`.

        Raises:
            PipelineError: the file does not exist.
        """
        path = folder / FACTS
        if not path.exists():
            raise PipelineError(f"{path}: no such file, so there are no values to make a page from")
        value = json.loads(path.read_text(encoding="utf-8"))
        dates = {key: date.fromisoformat(value[key]) for key in ("cut", "end")}
        return cls(**{**value, **dates})


@dataclass(frozen=True)
class Data:
    """The tables of a study at fixed versions, and the judged week."""

    run: Run
    inputs: Inputs
    evidence: Evidence
    facts: DataFacts

    @classmethod
    def of(cls, run: Run) -> "Data":
        """Read the tables of a run.

        Raises:
            PipelineError: a table does not exist.
            Skip: there is nothing to judge on.
        """
        evidence = read_evidence(run)
        users = pc.count_distinct(evidence.targets["user_id"]).as_py()
        facts = DataFacts(_content_of(evidence), evidence.cut, evidence.end, users)
        return cls(run, Inputs.of(run), evidence, facts)


def tables(name: str, study: Study, progress: Progress) -> Data:
    """Open the tables below `lab/homes/NAME` of the home; first build them if data, settings or code have changed.

    Raises:
        PipelineError: a job failed; its output stands above.
    """
    folder = home() / "lab" / "homes" / name
    os.environ["INTENTREC_HOME"] = str(folder)
    domain, profile = study.base(), load_profile()
    run = Run("study", study.end - WEEK, study.end, domain, profile)
    built, wanted = folder / "built", _table_mark(study, run)
    if not built.exists() or built.read_text(encoding="utf-8") != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        built.unlink(missing_ok=True)  # if a job is interrupted, the tables no longer belong together
        settings = folder / f"{study.domain}.yaml"
        settings.write_text(yaml.safe_dump(domain.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        interval = ["--config", str(settings)]
        interval += ["--start", str(study.start), "--end", str(study.end)]
        if study.simulated is not None:
            chosen = [f"--{key}={value}" for key, value in study.simulated.model_dump().items()]
            progress.say(f"simulating the world {study.simulated.world}")
            _call([sys.executable, "-m", "simulator", *interval, *chosen])
        for job in JOBS:
            progress.say(f"{job} {study.start}..{study.end}")
            _call([sys.executable, "-m", f"jobs.{job}", *interval])
        built.write_text(wanted, encoding="utf-8")
    return Data.of(run)


def _table_mark(study: Study, run: Run) -> str:
    """Fingerprint of what decides the tables: data (names and sizes of files), settings and code."""
    value = run.domain.model_dump(mode="json")
    about = {name: value[name] for name in TABLE_SETTINGS}
    about |= study.model_dump(mode="json", include={"simulated", "start", "end"})
    about |= {"code": code_hash(*TABLE_CODE), "data": None}
    if study.simulated is None:
        folder = Path(data_folder(run))
        files = [path for path in folder.rglob("*") if path.is_file()]
        about["data"] = sorted((str(path.relative_to(folder)), path.stat().st_size) for path in files)
    return fingerprint(about)


def _call(command: list[str]) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise PipelineError(f"{' '.join(command[1:])} failed; its output stands above")


def _content_of(evidence: Evidence) -> str:
    """Hash of the evidence's rows, in a fixed order."""
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
