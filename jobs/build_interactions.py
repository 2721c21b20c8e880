"""Turn the accepted events of whole weeks [start, end) into interactions, and bring the title state up to date.

Writes interactions and feature_profiles of [start, end), and title_state and title_facts as of each week's end in
(start, end]. Reads title_state as of start, so the weeks before must be built first.
"""

from pathlib import Path

from intentrec.calendar import DAY, weeks
from intentrec.contracts import CATALOG, FEATURE_PROFILES, INTERACTIONS, TITLE_FACTS, TITLE_STATE
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.events.outcomes import require_every_week
from intentrec.interactions import rules
from intentrec.interactions.build import build_from, require_all
from intentrec.interactions.title_facts import title_facts
from intentrec.monitoring.changed_settings import require_one_calendar
from intentrec.monitoring.profiles import profiles
from intentrec.storage.runs import Run, ledger
from intentrec.storage.warehouse import Warehouse


def build_interactions(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Build the interactions of whole weeks."""
    with job("build_interactions", start, end, config, profile) as run:
        body(run, config)


def body(run: Run, config: Path) -> None:
    """Build, check that every event is in an interaction, and write the four tables."""
    weeks(run.start, run.end, run.domain.calendar)  # refuses a wrong interval before Spark starts
    require_one_calendar(ledger(run.profile, run.domain), run.end, run.domain)
    warehouse = Warehouse.open(run)
    rules.check(warehouse.spark, run.domain, config)
    events, built = build_from(warehouse)
    days = [row["event_date"] for row in events.select("event_date").distinct().collect()]
    require_every_week(days, run.start, run.end, run.domain)
    require_all(events, built)
    run.counts["interactions.events"] = built.n_events
    run.counts["interactions.visits"] = built.n_visits
    run.say(f"{built.n_events:,} events make {built.n_visits:,} interactions")
    warehouse.replace(INTERACTIONS, built.interactions, run.start, run.end)
    warehouse.replace(TITLE_STATE, built.states, run.start + DAY, run.end + DAY)
    facts = title_facts(built.interactions, warehouse.read(CATALOG, run.start, run.end), run.domain)
    warehouse.replace(TITLE_FACTS, facts, run.start + DAY, run.end + DAY)
    counted = profiles(events, built.interactions, run.domain)
    warehouse.replace(FEATURE_PROFILES, counted, run.start, run.end)


if __name__ == "__main__":
    main(build_interactions, __doc__)
