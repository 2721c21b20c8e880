"""What a user had done before a visit: the weekly state, its fold, and the earlier visits of the same week.

state(W) holds, per user and title, the last values among all visits that ended before week W. The order is (end_ts,
start_ts, tie). A fact expires when its own timestamp is older than `state_weeks` weeks. The values of a visit are known
when it has ended. So a visit that began before W and ended in it is not in state(W) but among the visits of W.

A fact is a struct that begins with its time, so that the latest fact is the greatest. There are four facts per title:
play, finish, list (the last change of the user's list) and touch (any visit). A return is a play without an item: it
replaces the purchase before it, and the state then holds no play.
"""

from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession, Window, WindowSpec
from pyspark.sql import functions as F

from intentrec.calendar import WEEK, service_date
from intentrec.config import Domain
from intentrec.contracts import TITLE_STATE
from intentrec.interactions.rules import visit_struct
from intentrec.interactions.visits import days_between

TITLE = ("user_id", "title_id")
ORDER = ("end_ts", "start_ts", "tie")
_OF_PLAY = ("item_id", "episode", "fraction")


def empty(spark: SparkSession) -> DataFrame:
    """The state before the first week."""
    return spark.createDataFrame([], TITLE_STATE.schema)


def before_visits(visits: DataFrame, state: DataFrame, domain: Domain) -> DataFrame:
    """Add the structs that the rules see: r, and s and u as they were before each visit.

    Args:
        visits: the visits (`visits.visits`) that began or ended in one week.
        state: title_state as of that week.
        domain: the domain file.

    Returns:
        The columns of `visits`, and r (`rules.visit_scope`), s (`rules.TITLE_SCOPE`) and u (`rules.USER_SCOPE`).
    """
    titles = state.select(*TITLE, *(fact.alias(f"state_{name}") for name, fact in _state_facts().items()))
    users = state.groupBy("user_id").agg(
        F.array_distinct(F.flatten(F.collect_set("genres"))).alias("state_genres"),
        # If several titles were last touched at the same moment, a hash decides.
        F.max(_fact("last_touch_ts", 0, F.xxhash64("title_id"), creator="creator")).alias("state_latest"),
    )
    by_title, by_user = _before(*TITLE), _before("user_id")
    week = {name: F.greatest(f"state_{name}", F.max(fact).over(by_title)) for name, fact in _visit_facts().items()}
    latest = F.greatest("state_latest", F.max(_visit_fact(creator="creator")).over(by_user))
    none = F.array().cast("array<string>")
    this_week = F.array_distinct(F.flatten(F.collect_set("genres").over(by_user)))
    # Sorted, because collected genres have no fixed order, and a rule could depend on it.
    seen = F.array_sort(F.array_union(F.coalesce("state_genres", none), this_week))
    known = (
        visits.join(titles, list(TITLE), "left")
        .join(users, ["user_id"], "left")
        .withColumns({**week, "latest": latest, "seen": seen})
    )
    s, u = _title_scope(domain), F.struct(F.col("seen").alias("genres"), F.col("latest.creator").alias("last_creator"))
    return known.select(*visits.columns, visit_struct(domain).alias("r"), s.alias("s"), u.alias("u"))


def after_visit(domain: Domain) -> dict[str, Column]:
    """The state of a visit's title after it, by column of INTERACTIONS; of rows with the struct s."""
    plays = F.when(~F.col("returned"), F.col("fraction"))
    fraction = F.when(F.col("played") | F.col("returned"), plays).otherwise(F.col("s.last_fraction"))
    return {
        "last_fraction": fraction,
        "last_finished": F.coalesce(fraction >= domain.interactions.finished_fraction, F.lit(False)),
        "listed": F.coalesce("list_change", F.col("s.listed")),
    }


def fold(state: DataFrame, visits: DataFrame, as_of: date, domain: Domain) -> DataFrame:
    """state(as_of) from the state a week earlier and that week's visits.

    Args:
        state: title_state as of the week's start.
        visits: the visits (`visits.visits`) that ended in the week.
        as_of: the week's end.
        domain: the domain file.

    Returns:
        TITLE_STATE rows of `as_of`. A row disappears when all its facts have expired.
    """
    old = state.select(*TITLE, *(fact.alias(f"state_{name}") for name, fact in _state_facts().items()))
    new = visits.groupBy(*TITLE).agg(*(F.max(fact).alias(f"visit_{name}") for name, fact in _visit_facts().items()))
    oldest = F.lit(as_of - WEEK * domain.interactions.state_weeks)
    both = old.join(new, list(TITLE), "full").withColumns(
        {name: F.greatest(f"state_{name}", f"visit_{name}") for name in _visit_facts()}
    )
    alive = both.withColumns(
        {
            name: F.when(service_date(F.col(f"{name}.ts"), domain.calendar) >= oldest, F.col(name))
            for name in _visit_facts()
        }
    )
    # Every visit touches its title, so no fact is later than the last touch.
    return alive.where(F.col("touch").isNotNull()).select(
        F.lit(as_of).alias("as_of"),
        *TITLE,
        _played_at().alias("last_play_ts"),
        F.col("play.item_id").alias("last_item_id"),
        F.col("play.episode").alias("last_episode"),
        F.col("play.fraction").alias("last_fraction"),
        F.col("finish.ts").alias("last_finished_ts"),
        F.coalesce(F.col("list.listed"), F.lit(False)).alias("listed"),
        F.col("list.ts").alias("last_listed_ts"),
        F.col("touch.genres").alias("genres"),
        F.col("touch.creator").alias("creator"),
        F.col("touch.ts").alias("last_touch_ts"),
    )


def _visit_facts() -> dict[str, Column]:
    """The facts that one visit adds to its title; null if it adds none."""
    return {
        "play": F.when(
            F.col("played") | F.col("returned"),
            _visit_fact(**{name: F.when(~F.col("returned"), F.col(name)) for name in _OF_PLAY}),
        ),
        "finish": F.when(F.col("finished"), _visit_fact()),
        "list": F.when(F.col("list_change").isNotNull(), _visit_fact(listed="list_change")),
        "touch": _visit_fact(genres="genres", creator="creator"),
    }


def _state_facts() -> dict[str, Column]:
    """The same facts from the columns of the state."""
    none = F.lit(0).cast("long")
    return {
        "play": _fact(
            "last_play_ts", 0, none, item_id="last_item_id", episode="last_episode", fraction="last_fraction"
        ),
        "finish": _fact("last_finished_ts", 0, none),
        "list": _fact("last_listed_ts", 0, none, listed="listed"),
        "touch": _fact("last_touch_ts", 0, none, genres="genres", creator="creator"),
    }


def _visit_fact(**payload: str | Column) -> Column:
    return _fact("end_ts", 1, F.col("tie"), "start_ts", **payload)


def _fact(ts: str, fresh: int, tie: Column, start: str | None = None, **payload: str | Column) -> Column:
    """A fact: a struct of ts, fresh, start, tie and the payload; null if `ts` is null.

    `fresh` is 1 for a visit that ended in this week or later, and 0 for the state, whose visits ended before.
    """
    values = ((F.col(of) if isinstance(of, str) else of).alias(name) for name, of in payload.items())
    order = (F.col(ts).alias("ts"), F.lit(fresh).alias("fresh"), F.col(start or ts).alias("start"), tie.alias("tie"))
    return F.when(F.col(ts).isNotNull(), F.struct(*order, *values))


def _played_at() -> Column:
    """When the title was last played; null if it was returned since."""
    return F.when(F.col("play.item_id").isNotNull(), F.col("play.ts"))


def _before(*keys: str) -> WindowSpec:
    return Window.partitionBy(*keys).orderBy(*ORDER).rowsBetween(Window.unboundedPreceding, -1)


def _title_scope(domain: Domain) -> Column:
    """Struct s of `rules.TITLE_SCOPE`."""
    finished = F.col("play.fraction") >= domain.interactions.finished_fraction
    return F.struct(
        F.col("play.item_id").alias("last_item_id"),
        F.col("play.episode").alias("last_episode"),
        F.col("play.fraction").alias("last_fraction"),
        F.coalesce(finished, F.lit(False)).alias("last_finished"),
        days_between(_played_at(), F.col("start_ts")).alias("days_since_play"),
        F.coalesce(F.col("list.listed"), F.lit(False)).alias("listed"),
        days_between(F.col("touch.ts"), F.col("start_ts")).alias("days_since_touch"),
    )
