"""The tables of a study, made by the pipeline's own jobs in a home of its own."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from intentrec.config import ROOT, Profile, home, load_profile
from intentrec.errors import PipelineError
from intentrec.experiments.run import Data
from intentrec.experiments.study import Study
from intentrec.operate.progress import Progress
from intentrec.runs import Run, ledger
from intentrec.training.inputs import WEEK

JOBS = ("ingest", "build_interactions", "build_sequences")


def tables(name: str, study: Study, progress: Progress) -> Data:
    """Build what is missing, in `experiments/NAME` below the home, and open it.

    Raises:
        PipelineError: a job failed; what it said stands above.
    """
    folder = home() / "experiments" / name
    os.environ["INTENTREC_HOME"] = str(folder)
    domain, profile = study.base(), load_profile()
    if not _built(study, profile):
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / f"{study.domain}.yaml"
        settings.write_text(yaml.safe_dump(domain.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        interval = ["--config", str(settings)]
        interval += ["--start", str(study.start), "--end", str(study.end)]
        if study.simulated is not None:
            chosen = [f"--{key}={value}" for key, value in study.simulated.model_dump().items()]
            progress.say(f"simulating the world {study.simulated.world}")
            _call([sys.executable, "-m", "intentrec.sources.simulator", *interval, *chosen])
        for job in JOBS:
            progress.say(f"{job} {study.start}..{study.end}")
            _call([sys.executable, str(ROOT / "jobs" / f"{job}.py"), *interval])
    return Data.of(Run("experiments", study.end - WEEK, study.end, domain, profile))


def _built(study: Study, profile: Profile) -> bool:
    domain = study.base()
    if not Path(f"{profile.warehouse}/{domain.domain}/sequences").exists():
        return False
    done = {
        row["job"]
        for row in ledger(profile, domain)
        if row["status"] == "succeeded" and (row["start"], row["end"]) == (study.start, study.end)
    }
    return done >= set(JOBS)


def _call(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        raise PipelineError(f"{' '.join(command[1:])} failed; what it said stands above")
