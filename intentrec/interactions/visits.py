"""Events to sessions and visits. A visit is a maximal sequence of one title's events inside a session.

`mark_visits` adds the session and the visit to each event. `visits` makes one row per visit, with all columns but the
labels.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from intentrec.calendar import WEEK
from intentrec.config import Calendar, Domain, seconds
from intentrec.contracts import INTERACTIONS

DAY = ("user_id", "event_date")
VISIT = (*DAY, "visit")
LABELS = ("action_type", "is_target", "left_censored", "rules_version")
TITLE_AFTER = ("last_fraction", "last_finished", "listed")  # state of the title after the visit
# Columns of INTERACTIONS except LABELS and TITLE_AFTER, in contract order.
BEFORE_LABELS = tuple(name for name in INTERACTIONS.names if name not in (*LABELS, *TITLE_AFTER))
# Further columns of a frame of visits, for the rules and for the fold of the state.
CARRIED = ("first_item_id", "played", "returned", "finished", "list_change")

_FACTS = ("kind", "genres", "creator", "language", "episode", "title_release_ts")


def visits(events: DataFrame, domain: Domain) -> DataFrame:
    """The visits of `events`, with the catalogue facts of each visit's last item.

    If a visit played anything, its first and last item are the first and the last that it played. A trailer or a list
    change does not tell how far the user is in a title.

    Args:
        events: accepted events with catalogue facts (`build.with_facts`).
        domain: the domain file.

    Returns:
        One row per visit, with the columns BEFORE_LABELS and CARRIED. CARRIED are first_item_id; played (the visit has
        an event of a play type); returned (it has an event of the return type, and none of a play type after
        that); finished (it played some item up to `finished_fraction`); list_change (true if its
        last list change added the title, false if it removed the title, null if there is none).
    """
    played = F.col("event_type").isin(domain.events.play_types)
    # least() and greatest() ignore nulls, so an unknown position would count as 0.
    known = (F.col("runtime_s") > 0) & F.col("position_s").isNotNull()
    share = F.least(F.lit(1.0), F.greatest(F.lit(0.0), F.col("position_s") / F.col("runtime_s")))
    marked = mark_visits(events, domain.calendar).withColumns(
        {
            "play_n": F.when(played, F.col("n")),
            "share": F.when(played & known, share),
            "list_change": _list_change(domain),
            "play_ts": F.when(played, F.col("event_ts")),
            "return_ts": F.when(F.col("event_type") == F.lit(domain.events.return_type), F.col("event_ts")),
        }
    )
    visit = Window.partitionBy(*VISIT)
    marked = marked.withColumn("last_n", F.coalesce(F.max("play_n").over(visit), F.max("n").over(visit)))
    # The fraction of a visit is that of its last item.
    marked = marked.withColumn("last_item_id", F.max_by("item_id", F.col("n") == F.col("last_n")).over(visit))
    return _aggregate(marked, domain).select(*BEFORE_LABELS, *CARRIED)


def mark_visits(events: DataFrame, calendar: Calendar) -> DataFrame:
    """Add session and visit to each event.

    A session ends when the user does nothing for longer than `session_gap` after the end of all earlier events, and at
    the start of the service day. So it lies within one (user_id, event_date).

    Events are ordered by event_ts, then by a hash of event_id. Events of one title at the same instant stay together,
    at the place of their smallest hash. So two visits of a title never begin at the same instant, and (user_id,
    start_ts, title_id) is a key. Ties are broken by a hash, because the order of the ids could reveal the next title.

    Args:
        events: accepted events with `title_id`.
        calendar: the domain's calendar.

    Returns:
        The columns of `events` and end_ts (event_ts + duration_s), n (1-based place within user and day), tie (hash of
        event_id), session_start (first moment of the session) and visit (n of the visit's first event).
    """
    length = F.round(F.coalesce("duration_s", F.lit(0.0)) * 1_000_000).cast("long")
    # One shuffle for all windows below and for the aggregation into visits.
    timed = events.repartition(*DAY).withColumns(
        {
            "end_ts": F.timestamp_micros(F.unix_micros("event_ts") + length),
            "tie": F.xxhash64("event_id"),
        }
    )
    instant = Window.partitionBy(*DAY, "event_ts", "title_id")
    ordered = Window.partitionBy(*DAY).orderBy("event_ts", "title_tie", "title_id", "tie", "event_id")
    before = ordered.rowsBetween(Window.unboundedPreceding, -1)
    so_far = ordered.rowsBetween(Window.unboundedPreceding, Window.currentRow)

    gap = F.make_dt_interval(secs=F.lit(seconds(calendar.session_gap)))
    busy_until = F.max("end_ts").over(before)
    begins_session = busy_until.isNull() | (F.col("event_ts") > busy_until + gap)
    same_title = F.col("title_id").eqNullSafe(F.lag("title_id").over(ordered))
    return (
        timed.withColumn("title_tie", F.min("tie").over(instant))
        .withColumns({"n": F.row_number().over(ordered), "begins_session": begins_session})
        .withColumn("begins_visit", F.col("begins_session") | ~same_title)
        .withColumns(
            {
                "session_start": F.last(F.when(F.col("begins_session"), F.col("event_ts")), True).over(so_far),
                "visit": F.last(F.when(F.col("begins_visit"), F.col("n")), True).over(so_far),
            }
        )
        .drop("title_tie", "begins_session", "begins_visit")
    )


def left_censored(day: Column, domain: Domain) -> Column:
    """Whether a service date lies in the domain's first weeks, in which every title looks new."""
    until = domain.calendar.history_start + WEEK * domain.calendar.censored_weeks
    return day < F.lit(until)


def _list_change(domain: Domain) -> Column:
    kind = F.col("event_type")
    change = F.lit(None).cast("boolean")
    if domain.events.list_add is not None:
        change = F.when(kind == domain.events.list_add, F.lit(True)).otherwise(change)
    if domain.events.list_remove is not None:
        change = F.when(kind == domain.events.list_remove, F.lit(False)).otherwise(change)
    return change


def _aggregate(marked: DataFrame, domain: Domain) -> DataFrame:
    """One row per visit of the marked events."""
    n, last = F.col("n"), F.col("n") == F.col("last_n")
    first_item = F.coalesce(F.min_by("item_id", "play_n"), F.min_by("item_id", n))
    # What is bought and returned at the same moment has been returned.
    returned = F.max("return_ts") >= F.coalesce(F.max("play_ts"), F.max("return_ts"))
    finished = F.max(F.col("share") >= domain.interactions.finished_fraction)
    aggregated = marked.groupBy(*VISIT).agg(
        F.min_by("account_id", n).alias("account_id"),
        F.min("session_start").alias("session_start"),
        F.max_by("title_id", n).alias("title_id"),
        first_item.alias("first_item_id"),
        F.max("last_item_id").alias("item_id"),
        F.min("event_ts").alias("start_ts"),
        F.max("end_ts").alias("end_ts"),
        F.min_by("tie", n).alias("tie"),
        _exact_sum(F.col("duration_s")).alias("duration_s"),
        F.max(F.when(F.col("item_id") == F.col("last_item_id"), F.col("share"))).alias("fraction"),
        _counts(domain.events.types).alias("event_counts"),
        _signals(domain.events.signals).alias("signals"),
        F.min_by("surface", n).alias("surface"),
        F.min_by("device", n).alias("device"),
        F.max_by(F.struct(*_FACTS), last).alias("facts"),
        F.max(F.col("play_n").isNotNull()).alias("played"),
        F.coalesce(returned, F.lit(False)).alias("returned"),
        F.coalesce(finished, F.lit(False)).alias("finished"),
        F.max_by("list_change", F.when(F.col("list_change").isNotNull(), n)).alias("list_change"),
    )
    moment = F.date_format("session_start", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
    return aggregated.select("*", "facts.*").withColumns(
        {
            "session_id": F.concat_ws("@", "user_id", moment),
            "release_age_days": days_between(F.col("title_release_ts"), F.col("end_ts")),
        }
    )


def days_between(earlier: Column, later: Column) -> Column:
    """Days from `earlier` to `later`: 0 if the order is reversed, null if one of them is null."""
    days = (F.unix_micros(later) - F.unix_micros(earlier)) / F.lit(86_400_000_000.0)
    return F.when(days.isNotNull(), F.greatest(days, F.lit(0.0)))


def _exact_sum(value: Column) -> Column:
    """Sum to six decimals. A floating-point sum would depend on the order of the rows."""
    return F.sum(value.try_cast("decimal(28,6)")).cast("double")


def _counts(types: list[str]) -> Column:
    """Number of events by event_type; a type that does not occur is left out."""
    entries = [entry for kind in types for entry in (F.lit(kind), F.count_if(F.col("event_type") == kind))]
    return F.map_filter(F.create_map(*entries), lambda _, count: count > 0)


def _signals(names: list[str]) -> Column:
    """Sum of each signal over the visit, 0 if no event has it."""
    if not names:
        return F.create_map().cast("map<string,double>")
    entries = [
        entry
        for name in names
        for entry in (F.lit(name), F.coalesce(_exact_sum(F.col("extra").getItem(name)), F.lit(0.0)))
    ]
    return F.create_map(*entries)
