"""Write the page that a reviewer decides on, about the version trained for --end that awaits a decision.

Starts no Spark. Its last line is JSON, for the task that asks: the version, and the page as Markdown.
"""

import json

from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.reports.review_page import ask


def review_card(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Write the review page."""
    with job("review_card", start, end, config, profile) as run:
        page = ask(run)
    print(json.dumps({"version": page.version.number, "page": page.text}), flush=True)


if __name__ == "__main__":
    main(review_card, __doc__)
