"""The ingest job over the landing zone of a home."""

from datetime import date, timedelta
from pathlib import Path

from intentrec.config import ROOT, Domain
from intentrec.storage.runs import Run
from jobs.ingest import body
from tests.conftest import profile_under, without_audits

W0, W1, W2 = (date(2026, 8, 3) + timedelta(weeks=week) for week in range(3))
CONFIG = ROOT / "conf" / "streaming.yaml"


def ingest(home: Path, domain: Domain, start: date, end: date, include_late: bool = False, reason: str = "") -> Run:
    """Run the job over an interval of home's landing zone; returns the attempt."""
    run = Run("ingest", start, end, domain, profile_under(home))
    body(run, CONFIG, include_late, reason)
    return run


def unaudited(home: Path, domain: Domain, start: date, end: date) -> Run:
    """The same without audits, where they decide nothing."""
    with without_audits():
        return ingest(home, domain, start, end)
