"""Write the report page of an interval and print a summary of it. Starts no Spark and changes no table."""

import argparse

from intentrec.reports import run_facts, run_page
from intentrec.runs import Run, main


def body(run: Run, args: argparse.Namespace) -> None:
    """Render the page from the ledger and the audits as they stand."""
    page = run_page.render(run.profile, run.domain, run.start, run.end)
    facts = run_facts.collect(run.profile, run.domain, run.start, run.end)
    print(run_page.summary(facts), flush=True)
    run.say(f"report: {page}")


if __name__ == "__main__":
    main("report", __doc__, body)
