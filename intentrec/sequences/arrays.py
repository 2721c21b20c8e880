"""Interactions to sequences: for each week's end, the latest n interactions of every user active in that week.

The end of a visit, T_k, decides to which week it belongs. A visit that began before a week's end and ended after it is
not in that week's sequences but new in those of the next week. So positions are in order of time, and the last n_new
positions are exactly those that ended in the week.

Every interaction is new in one row, with one exception: if a user had more than n interactions in a week, the earlier
ones are new in no row. They are used neither for training nor for evaluation. `left_out` counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from intentrec.calendar import DAY, WEEK, service_date, week_start
from intentrec.config import Domain, DurationWeight, seconds
from intentrec.contracts import SEQUENCES


@dataclass(frozen=True)
class OtherRules:
    """Interactions whose labels come from other rules than those of the domain file.

    Attributes:
        count: how many.
        first: their first event_date; None if there are none.
        last: their last event_date; None if there are none.
    """

    count: int
    first: date | None
    last: date | None


@dataclass(frozen=True)
class LeftOut:
    """Interactions of a range of weeks that are not predicted in training or evaluation.

    Attributes:
        ended: interactions that ended in the weeks.
        beyond_length: those that are new in no row, because their user had more than n in the week.
        without_history: new ones with the same end as the first position of a full row, so that none precedes them.
    """

    ended: int
    beyond_length: int
    without_history: int


def read_from(as_of: date, domain: Domain) -> date:
    """First event_date that a sequence of `as_of` can hold. A visit may end some days after it began."""
    slack = timedelta(days=1, seconds=seconds(domain.events.max_duration))
    return as_of - lookback(domain) - timedelta(days=slack.days + 1)


def lookback(domain: Domain) -> timedelta:
    """How far back from as_of a sequence reaches: whole days."""
    return timedelta(seconds=seconds(domain.sequences.lookback))


def build(interactions: DataFrame, as_ofs: Sequence[date], domain: Domain) -> DataFrame:
    """SEQUENCES rows of consecutive week ends.

    An interaction is in the sequence of as_of if it ended in [as_of - lookback, as_of) and fewer than n later ones of
    its user did. So there are at most n rows per user and week, whatever the lookback and the range.

    Args:
        interactions: all rows of INTERACTIONS with event_date in [read_from(first as_of), last as_of).
        as_ofs: week ends, ascending.
        domain: the domain file.
    """
    placed = _placed(interactions, as_ofs, domain)
    position = F.struct(
        "rank", "session_id", *_positions(domain), *(F.col(_older(h)) for h in domain.sequences.windows)
    )
    week = F.date_sub("as_of", 7)
    rows = (
        placed.groupBy("as_of", "user_id")
        .agg(
            F.sort_array(F.collect_list(position)).alias("kept"),
            F.max_by("account_id", "rank").alias("account_id"),
            F.count_if(F.col("ended_on") >= week).cast("int").alias("n_new"),
        )
        .where(F.col("n_new") > 0)
    )
    arrays = {name: F.col(f"kept.{name}") for name in _array_names()}
    made = {"opens_session": _opens_session(), "window_start": _window_start(domain)}
    return rows.withColumns({**arrays, **made}).select(*SEQUENCES.names)


def latest(sequences: DataFrame) -> DataFrame:
    """The latest row of each user."""
    newest = F.max_by(F.struct(*SEQUENCES.names), "as_of").alias("row")
    return sequences.groupBy("user_id").agg(newest).select("row.*")


def ended_in(interactions: DataFrame, start: date, end: date, domain: Domain) -> DataFrame:
    """Interactions that ended on the service dates [start, end), with that date as `ended_on`."""
    return _dated(interactions, domain).where(F.col("ended_on").between(start, end - DAY))


def other_rules(interactions: DataFrame, domain: Domain) -> OtherRules:
    """Find interactions with labels of other rules. A model must not learn labels of two meanings."""
    other = interactions.where(F.col("rules_version") != domain.interactions.rules_version)
    found = other.agg(F.count("*"), F.min("event_date"), F.max("event_date")).first()
    assert found is not None
    return OtherRules(*found)


def left_out(sequences: DataFrame, ended: int, domain: Domain) -> LeftOut:
    """Count the interactions that are not predicted in training or evaluation.

    Args:
        sequences: rows of SEQUENCES of the weeks.
        ended: number of interactions that ended in the weeks (`ended_in`).
        domain: the domain file.
    """
    at_first_moment = F.expr("size(filter(slice(end_ts, -n_new, n_new), moment -> moment = end_ts[0]))")
    is_full = (F.size("end_ts") == domain.sequences.length) & (F.col("n_new") > 0)
    counted = sequences.agg(F.sum("n_new"), F.sum(F.when(is_full, at_first_moment))).first()
    assert counted is not None
    return LeftOut(ended, ended - int(counted[0] or 0), int(counted[1] or 0))


def weight(duration_s: Column, rule: DurationWeight) -> Column:
    """d_k of Eq. 3, in [floor, 1]: the duration (seconds) clipped, transformed, divided by the transformed clip.

    1 where the duration is unknown.
    """
    clip = float(seconds(rule.clip))
    clipped = F.least(duration_s, F.lit(clip))
    shares = {
        "log1p": F.log1p(clipped) / F.log1p(F.lit(clip)),
        "linear": clipped / F.lit(clip),
        "none": F.lit(1.0),
    }
    known = F.greatest(shares[rule.transform], F.lit(rule.floor))
    return F.when(duration_s.isNull(), F.lit(1.0)).otherwise(known).cast("float")


def _placed(interactions: DataFrame, as_ofs: Sequence[date], domain: Domain) -> DataFrame:
    """Each interaction once per as_of whose sequence holds it, with its rank and window counts in the history."""
    in_order = Window.partitionBy("user_id").orderBy("end_us", "start_ts", "tie", "title_id")
    ranked = (
        _of_active_users(interactions, as_ofs, domain)
        .withColumn("end_us", F.unix_micros("end_ts"))
        .withColumns(
            {
                "rank": F.row_number().over(in_order) - 1,
                "pushed_out_on": F.lead("ended_on", domain.sequences.length).over(in_order),
                **{_older(h): _count_older(h) for h in domain.sequences.windows},
            }
        )
    )
    week_end = F.date_add(week_start(F.col("ended_on"), domain.calendar), 7)
    first = F.greatest(week_end, F.lit(as_ofs[0]))
    expires_on = F.date_add("ended_on", lookback(domain).days)
    last = F.least(F.lit(as_ofs[-1]), expires_on, "pushed_out_on")
    weeks = F.sequence(first, last, F.expr("interval 7 days"))
    # If no week is left, sequence() would count downwards.
    return ranked.where(first <= last).withColumn("as_of", F.explode(weeks))


def _of_active_users(interactions: DataFrame, as_ofs: Sequence[date], domain: Domain) -> DataFrame:
    """All interactions of the users that get a row, so that the windows do not sort the others."""
    active = ended_in(interactions, as_ofs[0] - WEEK, as_ofs[-1], domain).select("user_id")
    return _dated(interactions, domain).join(active, "user_id", "left_semi")


def _dated(interactions: DataFrame, domain: Domain) -> DataFrame:
    return interactions.withColumn("ended_on", service_date(F.col("end_ts"), domain.calendar))


def _older(window: str) -> str:
    return f"older_{window}"


def _count_older(window: str) -> Column:
    """How many interactions of the user ended more than H before this one.

    The number of strictly older rows is the 0-based position of the first row inside the window, also with ties.
    """
    horizon = seconds(window) * 1_000_000
    by_time = Window.partitionBy("user_id").orderBy("end_us")
    return F.count("*").over(by_time.rangeBetween(Window.unboundedPreceding, -horizon - 1))


def _array_names() -> list[str]:
    skip = ("as_of", "user_id", "account_id", "n_new", "opens_session", "window_start")
    return [name for name in SEQUENCES.names if name not in skip]


def _positions(domain: Domain) -> list[Column]:
    """The values at one position of the arrays."""
    target = F.col("is_target") & ~F.col("left_censored")
    made = {
        **{name: F.coalesce(name, F.lit("")) for name in ("kind", "creator", "language", "surface", "device")},
        **{name: F.coalesce(name, F.lit(-1.0)) for name in ("duration_s", "release_age_days", "last_fraction")},
        "is_target": target,
        "weight": weight(F.col("duration_s"), domain.sequences.weight),
    }
    return [made.get(name, F.col(name)).alias(name) for name in _array_names()]


def _opens_session() -> Column:
    def opens(position: Column, place: Column) -> Column:
        return (place == 0) | (position["session_id"] != F.get("kept", place - 1)["session_id"])

    return F.transform("kept", opens)


def _window_start(domain: Domain) -> Column:
    """The counts of the whole history, relative to the first kept position."""
    first = F.col("kept")[0]["rank"]
    entries = [
        entry
        for window in domain.sequences.windows
        for entry in (
            F.lit(window),
            F.transform(F.col("kept")[_older(window)], lambda older: F.greatest(older - first, F.lit(0)).cast("int")),
        )
    ]
    return F.create_map(*entries)
