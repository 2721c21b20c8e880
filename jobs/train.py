"""Train the challenger of the week that ends at --end, on what was known a week before, and register it.

The week [end - 7d, end) stays unseen, for the gate. Needs no Spark. The same inputs are never trained twice.
"""

import argparse
from pathlib import Path

from intentrec.review.challenger import make_challenger
from intentrec.runs import Run, main


def body(run: Run, args: argparse.Namespace) -> None:
    """Make the challenger."""
    make_challenger(run, Path(args.config))


if __name__ == "__main__":
    main("train", __doc__, body)
