"""The small world after its first train and gate jobs."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from intentrec.config import ROOT, Domain, Profile
from intentrec.review.challenger import make_challenger
from intentrec.review.gate import Decision
from intentrec.review.judge import judge_challenger
from intentrec.review.registry import Version
from intentrec.runs import Run
from tests.conftest import profile_under
from tests.review import world

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


def prepare(home: Path, streaming: Domain) -> Judged:
    """Write the tables, train and judge."""
    profile, domain = profile_under(home), world.domain_of(streaming)
    week = (world.END - timedelta(days=7), world.END)
    world.write(Run("train", *week, domain, profile).warehouse)
    version = make_challenger(Run("train", *week, domain, profile), CONFIG)
    decision = judge_challenger(Run("gate", *week, domain, profile))
    return Judged(profile, domain, version, decision)
