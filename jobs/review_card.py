"""Write the review page of the version that was trained for --end and awaits a decision.

Starts no Spark. The last line that it prints is JSON for the next task: the version, and the page as Markdown.
"""

import json

from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.reports.review_page import request_review


def review_card(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Write the review page."""
    with job("review_card", start, end, config, profile) as run:
        page = request_review(run)
    print(json.dumps({"version": page.version.number, "page": page.text}), flush=True)


if __name__ == "__main__":
    main(review_card, __doc__)
