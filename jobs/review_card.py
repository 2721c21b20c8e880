"""Write the page that a reviewer decides on, about the version trained for --end that awaits a decision.

Needs no Spark. Its last line is JSON, for the task that asks: the version, and the page as Markdown.
"""

import argparse
import json

from intentrec.reports.review_request import Page, ask
from intentrec.storage.runs import Run, main


def body(run: Run, args: argparse.Namespace) -> Page:
    """Make the page."""
    return ask(run)


if __name__ == "__main__":
    page = main("review_card", __doc__, body)
    print(json.dumps({"version": page.version.number, "page": page.text}), flush=True)
