"""Judge the challenger against the champion and the naive baselines on the week that neither has seen, and move the alias.

Where the domain file says `gate.promotion: reviewed` it only recommends, and a person decides.
Writes gate.json beside the interval's report. A model that was judged is not judged again on the same evidence.
"""

import argparse

from intentrec.registry.judge import judge_challenger
from intentrec.storage.runs import Run, main


def body(run: Run, args: argparse.Namespace) -> None:
    """Judge."""
    judge_challenger(run)


if __name__ == "__main__":
    main("gate", __doc__, body)
