"""The tables of a study, made by the pipeline's own jobs in a home of its own."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from intentrec.config import ROOT, fingerprint, home, load_profile
from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from intentrec.sources import data_folder
from intentrec.storage.runs import Run
from intentrec.training.inputs import WEEK, code_hash
from lab.studies.run import Data
from lab.studies.study import Study

JOBS = ("ingest", "build_interactions", "build_sequences")
TABLE_CODE = ("sources/**/*.py", "events/*.py", "interactions/*.py", "sequences/*.py", "warehouse.py", "contracts.py")
DECIDING = ("domain", "source", "calendar", "events", "interactions", "sequences")  # sections of the domain file


def tables(name: str, study: Study, progress: Progress) -> Data:
    """Build them in `experiments/NAME` below the home, unless data, settings and code are those they are of; open them.

    Raises:
        PipelineError: a job failed; what it said stands above.
    """
    folder = home() / "experiments" / name
    os.environ["INTENTREC_HOME"] = str(folder)
    domain, profile = study.base(), load_profile()
    run = Run("experiments", study.end - WEEK, study.end, domain, profile)
    built, wanted = folder / "built", _decided(study, run)
    if not built.exists() or built.read_text(encoding="utf-8") != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        built.unlink(missing_ok=True)  # interrupted from here on, the tables are of two minds
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
            _call([sys.executable, str(ROOT / "jobs" / f"{job}.py"), *interval])
        built.write_text(wanted, encoding="utf-8")
    return Data.of(run)


def _decided(study: Study, run: Run) -> str:
    """Fingerprint of all that decides what the tables hold: data, by names and sizes of files, settings and code."""
    value = run.domain.model_dump(mode="json")
    about = {name: value[name] for name in DECIDING}
    about |= study.model_dump(mode="json", include={"simulated", "start", "end"})
    about |= {"code": code_hash(*TABLE_CODE), "data": None}
    if study.simulated is None:
        folder = Path(data_folder(run))
        files = [path for path in folder.rglob("*") if path.is_file()]
        about["data"] = sorted((str(path.relative_to(folder)), path.stat().st_size) for path in files)
    return fingerprint(about)


def _call(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        raise PipelineError(f"{' '.join(command[1:])} failed; what it said stands above")
