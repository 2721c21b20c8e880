"""Turn the accepted events of whole weeks [start, end) into interactions, and fold the weekly state behind them.

Writes interactions and feature_profiles of [start, end) and title_state as of each week's end in (start, end]. Reads
title_state as of start, which the weeks before it must have written.
"""

import argparse

from intentrec.contracts import FEATURE_PROFILES, INTERACTIONS, TITLE_STATE
from intentrec.interactions import rules
from intentrec.interactions.build import require_all
from intentrec.interactions.inputs import build_from
from intentrec.interactions.profile import profiles
from intentrec.interactions.weeks import weeks
from intentrec.runs import Run, main
from intentrec.warehouse import Warehouse, next_day


def body(run: Run, args: argparse.Namespace) -> None:
    """Build, check that no event was lost, write the three tables."""
    weeks(run.start, run.end, run.domain.calendar)  # refused before Spark starts
    warehouse = Warehouse.open(run)
    rules.check(warehouse.spark, run.domain, args.config)
    events, built = build_from(warehouse, args.config)
    require_all(events, built)
    run.counts["interactions.events"] = built.events
    run.counts["interactions.runs"] = built.runs
    warehouse.replace(INTERACTIONS, built.interactions, run.start, run.end)
    warehouse.replace(TITLE_STATE, built.states, next_day(run.start), next_day(run.end))
    counted = profiles(events, built.interactions, run.domain)
    warehouse.replace(FEATURE_PROFILES, counted, run.start, run.end)


if __name__ == "__main__":
    main("build_interactions", __doc__, body)
