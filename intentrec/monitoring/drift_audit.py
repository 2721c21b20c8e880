"""Drift as the page and the log tell it: one expectation of severity warning for every model input."""

import time

from intentrec.contracts import INTERACTIONS
from intentrec.interactions.weeks import WEEK
from intentrec.monitoring.drift import Drift, drift
from intentrec.monitoring.weeks import read_profiles
from intentrec.reports.run_facts import DRIFT
from intentrec.storage import audit
from intentrec.storage.audit import Audit, Finding
from intentrec.storage.runs import Run

KIND = "population_stability_index"
WHY = (
    "The model learned from weeks in which this was distributed otherwise: look at what changed before trusting its "
    "predictions. The trend page shows since when."
)


def audit_drift(run: Run) -> Audit | None:
    """Compare the run's last week with its training window, say what lies beyond the bound, keep it for the page.

    None, and nothing kept, where the week was never profiled or too few rows were to be compared.
    """
    clock = time.monotonic()
    week = run.end - WEEK
    profiles = read_profiles(run.profile, run.domain, week - WEEK * run.domain.training.weeks, run.end)
    of_interactions = {day: of_week.get(INTERACTIONS.name, {}) for day, of_week in profiles.items()}
    found = drift(week, of_interactions, run.domain)
    measured = [each for each in found if each.index is not None]
    path = run.report_dir / DRIFT
    if not measured:
        path.unlink(missing_ok=True)
        return None
    rows = next(each.rows for each in found if each.feature == "title_id")  # one title an interaction
    result = Audit("drift", rows, time.monotonic() - clock, [finding(each) for each in measured])
    audit.record(result, run, path)
    for each in result.warnings:
        run.warn(f"drift: {audit.describe(each)}")
    return result


def finding(of: Drift) -> Finding:
    """One measured feature as an expectation's result."""
    assert of.index is not None
    return Finding(
        kind=KIND,
        on=of.feature,
        severity="warning",
        why=WHY,
        success=not of.beyond,
        wanted={"max_value": of.bound},
        observed=round(of.index, 4),
    )
