"""Cut the sequences as of the end of every week in (start, end] from the interactions before it."""

import argparse

from intentrec.contracts import INTERACTIONS, SEQUENCES
from intentrec.interactions.weeks import WEEK, weeks
from intentrec.runs import Run, main
from intentrec.sequences.build import build, read_from
from intentrec.warehouse import Warehouse, next_day


def body(run: Run, args: argparse.Namespace) -> None:
    """Build and write."""
    as_ofs = [week + WEEK for week in weeks(run.start, run.end, run.domain.calendar)]
    warehouse = Warehouse.open(run)
    interactions = warehouse.read(INTERACTIONS, read_from(as_ofs[0], run.domain), run.end)
    sequences = build(interactions, as_ofs, run.domain)
    warehouse.replace(SEQUENCES, sequences, next_day(run.start), next_day(run.end))


if __name__ == "__main__":
    main("build_sequences", __doc__, body)
