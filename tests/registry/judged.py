"""The small world after its first train and gate jobs."""

import os
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import yaml

from intentrec.config import ROOT, Domain, Profile
from intentrec.evaluation.gate import Decision
from intentrec.registry.challenger import make_challenger
from intentrec.registry.judge import judge_challenger
from intentrec.registry.versions import Registry, Version
from intentrec.reports.training_report import training_report
from intentrec.storage.runs import Run
from tests.conftest import profile_under
from tests.registry import world

CONFIG = ROOT / "conf" / "streaming.yaml"


@dataclass(frozen=True)
class Judged:
    """What the jobs left."""

    profile: Profile
    domain: Domain
    version: Version
    decision: Decision

    def run(self, job: str, end: date = world.END, domain: Domain | None = None) -> Run:
        """A further attempt of a job over the week that ends at `end`."""
        return Run(job, end - timedelta(days=7), end, domain or self.domain, self.profile)


@dataclass(frozen=True)
class Registering:
    """Registers versions of a domain of one test alone, from the model that is already logged."""

    judged: Judged
    domain: Domain

    @property
    def registry(self) -> Registry:
        """Of that domain."""
        return Registry(self.judged.profile, self.domain)

    def __call__(self, fingerprint: str, trained_for: date) -> Version:
        """Register a version once per fingerprint."""
        run_id = self.judged.version.run_id
        source = self.registry.client.get_run(run_id).data.tags["model_uri"]
        tags = {"fingerprint": fingerprint, "trained_for": str(trained_for)}
        return self.registry.register(source, run_id, tags, "a card")

    def run(self, job: str, end: date) -> Run:
        """An attempt of a job over the week that ends at `end`."""
        return self.judged.run(job, end, self.domain)


def files_of(profile: Profile, domain: Domain, folder: Path) -> tuple[Path, dict[str, str]]:
    """A domain file, and the environment in which a process finds it and the profile's places."""
    config, chosen = folder / f"{domain.domain}.yaml", folder / "profile.yaml"
    config.write_text(yaml.safe_dump(domain.model_dump(mode="json")))
    chosen.write_text(yaml.safe_dump(profile.model_dump(mode="json", exclude={"spark"})))
    return config, {**os.environ, "INTENTREC_PROFILE": str(chosen), "INTENTREC_HOME": str(folder)}


def train(run: Run) -> Version:
    """What the job does in an attempt."""
    return make_challenger(run, CONFIG, training_report)


def judged_as(judged: Judged, folder: Path, **sections: Any) -> Judged:
    """Another domain over the same tables, copied below `folder`, after its own train and gate jobs.

    Args:
        judged: the small world.
        folder: of the copied tables.
        sections: keys that differ, as of `world.domain_of`.
    """
    domain = world.domain_of(judged.domain, **sections)
    mine = replace(judged, domain=domain, profile=judged.profile.model_copy(update={"warehouse": str(folder)}))
    copytree(judged.run("train").warehouse, mine.run("train").warehouse)
    version = train(mine.run("train"))
    return replace(mine, version=version, decision=judge_challenger(mine.run("gate")))


def prepare(home: Path, streaming: Domain) -> Judged:
    """Write the tables, train and judge."""
    profile, domain = profile_under(home), world.domain_of(streaming, training={"refit": True})
    week = (world.END - timedelta(days=7), world.END)
    world.write(Run("train", *week, domain, profile).warehouse)
    version = train(Run("train", *week, domain, profile))
    decision = judge_challenger(Run("gate", *week, domain, profile))
    return Judged(profile, domain, version, decision)
