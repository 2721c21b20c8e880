"""Record what a person decided about a version: who, when and why as its tags. An approved one becomes champion.

Needs no Spark, publishes nothing.
"""

import argparse
from datetime import datetime

from intentrec.registry.verdicts import record
from intentrec.registry.versions import APPROVED, REJECTED, Registry
from intentrec.storage.runs import Run, main


def options(parser: argparse.ArgumentParser) -> None:
    """The decision."""
    parser.add_argument("--version", required=True, help="number of the registered version")
    parser.add_argument("--verdict", required=True, choices=(APPROVED, REJECTED))
    parser.add_argument("--reason", required=True, help="why")
    parser.add_argument("--by", required=True, help="who decided")
    parser.add_argument("--at", required=True, type=datetime.fromisoformat, help="when: ISO 8601 with a time zone")


def body(run: Run, args: argparse.Namespace) -> None:
    """Record it."""
    registry = Registry(run.profile, run.domain)
    run.note = record(registry, registry.version(args.version), args.verdict, args.reason, args.by, args.at)
    run.say(run.note)


if __name__ == "__main__":
    main("review_record", __doc__, body, options)
