"""Build the sequences as of every week's end in (start, end] from the interactions before it."""

from intentrec.calendar import DAY, WEEK, week_start_of, weeks
from intentrec.contracts import INTERACTIONS, SEQUENCES
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.errors import backfill_command
from intentrec.monitoring.changed_settings import require_one_calendar
from intentrec.sequences.arrays import build, ended_in, left_out, other_rules, read_from
from intentrec.storage.runs import Run, ledger
from intentrec.storage.warehouse import Warehouse


def build_sequences(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Build the sequences of whole weeks."""
    with job("build_sequences", start, end, config, profile) as run:
        body(run)


def body(run: Run) -> None:
    """Read the interactions, write the sequences, and count the interactions that are left out."""
    domain, as_ofs = run.domain, [week + WEEK for week in weeks(run.start, run.end, run.domain.calendar)]
    require_one_calendar(ledger(run.profile, run.domain), run.end, run.domain)
    warehouse = Warehouse.open(run)
    interactions = warehouse.read(INTERACTIONS, read_from(as_ofs[0], domain), run.end)
    other = other_rules(interactions, domain)
    run.counts["sequences.interactions_of_other_rules"] = other.count
    if other.first and other.last:
        first, last = (week_start_of(day, domain.calendar) for day in (other.first, other.last))
        run.warn(
            f"{other.count:,} interactions from {other.first} to {other.last} have labels of other action-type rules "
            f"than the domain file's: build those weeks again: {backfill_command(domain.domain, first, last + WEEK)}"
        )
    of_weeks = run.start + DAY, run.end + DAY
    warehouse.replace(SEQUENCES, build(interactions, as_ofs, domain), *of_weeks)
    ended = ended_in(interactions, run.start, run.end, domain).count()
    missed = left_out(warehouse.current(SEQUENCES, *of_weeks), ended, domain)
    run.counts["sequences.new_beyond_length"] = missed.beyond_length
    run.counts["sequences.new_in_first_moment_of_full_row"] = missed.without_history
    if missed.beyond_length:
        run.say(
            f"{missed.beyond_length:,} of {missed.ended:,} interactions lie before the latest "
            f"{domain.sequences.length} of their user's week: they are used neither for training nor for evaluation "
            "(sequences.length)"
        )


if __name__ == "__main__":
    main(build_sequences, __doc__)
