"""Write the report page of an interval and the domain's trend page, and print a summary. Changes no table.

Audits the ledger, and warns where the interval's last week drifted from its training window. Starts no Spark.
"""

from pathlib import Path

import pandas as pd

from intentrec.contracts import RUN_LEDGER
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.monitoring.drift_audit import audit_drift
from intentrec.reports import run_facts, run_page, trend_page
from intentrec.reports.attach import attach
from intentrec.storage import audit
from intentrec.storage.runs import Run, ledger


def report(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Report on an interval."""
    with job("report", start, end, config, profile) as run:
        page = body(run)
    # Airflow keeps the last line that a task prints: the DAG's link to the page is made of it.
    print(page.resolve().as_uri(), flush=True)


def body(run: Run) -> Path:
    """Look at drift and the ledger, then write what is known, whatever they found."""
    audit.get_ready()
    audit_drift(run)
    try:
        audit.audit(RUN_LEDGER, pd.DataFrame(ledger(run.profile, run.domain)), run)
    finally:
        page = write_pages(run)
    return page


def write_pages(run: Run) -> Path:
    """Both pages from what is there, kept with the model that the interval trained, and the summary in the log.

    Returns the path of the run's page.
    """
    trend = trend_page.render(run.profile, run.domain)
    page = run_page.render(run.profile, run.domain, run.start, run.end)  # links the trend, now that there is one
    facts = run_facts.collect(run.profile, run.domain, run.start, run.end)
    run.say(run_page.summary(facts))
    run.say(f"report: {page}")
    run.say(f"trend: {trend}")
    if kept_with := attach(run, page, trend):
        run.say(f"both kept with MLflow run {kept_with}")
    return page


if __name__ == "__main__":
    main(report, __doc__)
