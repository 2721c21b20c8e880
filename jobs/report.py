"""Write the report page of an interval and the domain's trend page, and print a summary. Changes no table.

Warns where the interval's last week drifted from its training window. Starts no Spark.
"""

import argparse

from intentrec.reports import run_facts, run_page, trend_page
from intentrec.reports.attach import attach
from intentrec.reports.drift_audit import audit_drift
from intentrec.runs import Run, main


def body(run: Run, args: argparse.Namespace) -> None:
    """Judge drift, render both pages from what is there, and keep them with the model that the interval trained."""
    audit_drift(run)
    # Twice the page: the trend links the pages that exist, and a page links the trend once there is one.
    run_page.render(run.profile, run.domain, run.start, run.end)
    trend = trend_page.render(run.profile, run.domain)
    page = run_page.render(run.profile, run.domain, run.start, run.end)
    facts = run_facts.collect(run.profile, run.domain, run.start, run.end)
    print(run_page.summary(facts), flush=True)
    run.say(f"report: {page}")
    run.say(f"trend: {trend}")
    if kept_with := attach(run, page, trend):
        run.say(f"both kept with MLflow run {kept_with}")


if __name__ == "__main__":
    done = main("report", __doc__, body)
    # The last line a task prints is what Airflow keeps of it: the DAG's link to the page is made of this one.
    print(run_page.path(done.profile, done.domain, done.start, done.end).resolve().as_uri(), flush=True)
