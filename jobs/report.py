"""Write the run page of an interval and the domain's trend page, and print a summary. Changes no table.

Audits the run ledger, and warns if the interval's last week drifted from its training window. Starts no Spark.
"""

from pathlib import Path

import pandas as pd

from intentrec.contracts import RUN_LEDGER
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.monitoring.drift import audit_drift
from intentrec.registry import tracking
from intentrec.registry.versions import Registry
from intentrec.reports import run_facts, run_page, trend_page
from intentrec.storage import audit
from intentrec.storage.runs import Run, ledger
from intentrec.training.inputs import Inputs

FOLDER = "reports"  # among the artifacts of an MLflow run


def report(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Report on an interval."""
    with job("report", start, end, config, profile) as run:
        page = body(run)
    # Airflow keeps the last line that a task prints. The DAG makes its link to the page from it.
    print(page.resolve().as_uri(), flush=True)


def body(run: Run) -> Path:
    """Audit drift and the ledger, then write both pages, even if the audit of the ledger fails.

    Returns:
        The path of the run page.

    Raises:
        AuditFailed: the ledger failed its audit.
    """
    audit.preload()
    audit_drift(run)
    try:
        audit.enforce(audit.audit(RUN_LEDGER, pd.DataFrame(ledger(run.profile, run.domain)), run), run)
    finally:
        page = _write_pages(run)
    return page


def _write_pages(run: Run) -> Path:
    run_page.render(run.profile, run.domain, run.start, run.end)  # the trend page links the run pages that exist
    trend = trend_page.render(run.profile, run.domain)
    page = run_page.render(run.profile, run.domain, run.start, run.end)  # now it links the trend page
    facts = run_facts.collect(run.profile, run.domain, run.start, run.end)
    run.say(run_page.summary(facts))
    run.say(f"report: {page}")
    run.say(f"trend: {trend}")
    if mlflow_run := attach(run, page, trend):
        run.say(f"both are kept with MLflow run {mlflow_run}")
    return page


def attach(run: Run, page: Path, trend: Path) -> str | None:
    """Copy both pages to the MLflow run of the interval's challenger, and tag its version with their place.

    The copies have the same relative paths as in the report folder, so that their links to each other work.

    Args:
        run: the attempt of the report job.
        page: the run page.
        trend: the trend page.

    Returns:
        The id of the MLflow run, None if the interval trained no model.
    """
    mine = [row for row in ledger(run.profile, run.domain) if (row["start"], row["end"]) == (run.start, run.end)]
    trained = [row for row in mine if row["job"] == "train"]
    if not trained or trained[-1]["status"] != "succeeded":
        return None
    inputs = Inputs.of(run)
    logged = tracking.finished_run(run.profile, run.domain, inputs.fingerprint)
    if logged is None:
        return None  # the tables changed since then, and no model was trained on their new content
    client = tracking.client_of(run.profile)
    client.log_artifact(logged.run_id, str(trend), FOLDER)
    client.log_artifact(logged.run_id, str(page), f"{FOLDER}/{page.parent.name}")
    place = f"{FOLDER}/{page.parent.name}/{page.name}"
    client.set_tag(logged.run_id, "report", place)
    registry = Registry(run.profile, run.domain)
    version = registry.by_fingerprint(inputs.fingerprint)
    if version is not None:
        registry.tag(version, "report", f"runs:/{logged.run_id}/{place}")
    return logged.run_id


if __name__ == "__main__":
    main(report, __doc__)
