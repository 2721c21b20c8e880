"""Cut the sequences as of the end of every week in (start, end] from the interactions before it."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import DAY, WEEK, weeks
from intentrec.contracts import INTERACTIONS, SEQUENCES
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.sequences.arrays import build, ended_in, read_from
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse


def build_sequences(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Build the sequences of whole weeks."""
    with job("build_sequences", start, end, config, profile) as run:
        body(run)


def body(run: Run) -> None:
    """Build and write."""
    as_ofs = [week + WEEK for week in weeks(run.start, run.end, run.domain.calendar)]
    warehouse = Warehouse.open(run)
    interactions = warehouse.read(INTERACTIONS, read_from(as_ofs[0], run.domain), run.end)
    _warn_of_mixed_rules(run, interactions)
    sequences = build(interactions, as_ofs, run.domain)
    warehouse.replace(SEQUENCES, sequences, run.start + DAY, run.end + DAY)
    _count_cut(warehouse, ended_in(interactions, run.start, run.end, run.domain).count())


def _warn_of_mixed_rules(run: Run, interactions: DataFrame) -> None:
    """Labels of other rules than the domain file's mean something else, and a model would learn from both."""
    other = interactions.where(F.col("rules_version") != run.domain.interactions.rules_version)
    found = other.agg(F.count("*"), F.min("event_date"), F.max("event_date")).first()
    assert found is not None
    run.counts["sequences.interactions_of_other_rules"] = found[0]
    if found[0]:
        run.warn(
            f"{found[0]:,} interactions from {found[1]} to {found[2]} have labels of other action-type rules than the "
            "domain file's: build those weeks again (`make backfill`)"
        )


def _count_cut(warehouse: Warehouse, ended: int) -> None:
    """Keep how many of the interactions that `ended` in the weeks nobody can be asked for.

    They are new in no row, each week's latest n being all, or they ended at the first moment of a full row, with
    nothing left before it.
    """
    run, n = warehouse.run, warehouse.run.domain.sequences.length
    written = warehouse.current(SEQUENCES, run.start + DAY, run.end + DAY)
    first = F.expr("size(filter(slice(end_ts, -n_new, n_new), moment -> moment = end_ts[0]))")
    inside = F.sum(F.when((F.size("end_ts") == n) & (F.col("n_new") > 0), first))
    kept = written.agg(F.sum("n_new"), inside).first()
    assert kept is not None
    cut = run.counts["sequences.new_beyond_length"] = ended - int(kept[0] or 0)
    run.counts["sequences.new_in_first_moment_of_full_row"] = int(kept[1] or 0)
    if cut:
        run.say(
            f"{cut:,} of {ended:,} interactions lie before the latest {run.domain.sequences.length} of their user's "
            "week: nothing is learned from them, and nothing judged (sequences.length)"
        )


if __name__ == "__main__":
    main(build_sequences, __doc__)
