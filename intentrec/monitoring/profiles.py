"""Feature profiles: how often each value of each column occurs in a week of a table, in a few thousand rows.

Reports of null rates, shares and drift read the profiles and never the tables. So their cost depends on the number of
weeks and values, and not on the number of users. A week's profile depends only on that week's events and interactions.
"""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from intentrec.calendar import week_start
from intentrec.config import CATEGORICAL, MULTI_LABEL, NUMERIC, Domain, Intent
from intentrec.contracts import ENGAGEMENT_EVENTS, FEATURE_PROFILES, INTERACTIONS, Table

TOP = 500  # values of a feature that get a row of their own
BINS_PER_DOUBLING = 4  # a bin spans 19 % of 1 + x
VALUE, BIN, OTHER, NULL = "value", "bin", "other", "null"  # column `kind`
FEATURE = ("week", "table_name", "feature")


def profiles(events: DataFrame, interactions: DataFrame, domain: Domain) -> DataFrame:
    """FEATURE_PROFILES rows of all weeks in the two frames.

    The profile counts every column that a model of the domain could use as input, not only those that it uses today:
    if the domain file names another column later, the profiles of past weeks exist. It also counts every nullable
    column.

    Args:
        events: rows of ENGAGEMENT_EVENTS.
        interactions: rows of INTERACTIONS.
        domain: the domain file.
    """
    of_events = [_single("event_type"), *_nulls(ENGAGEMENT_EVENTS, but=())]
    of_interactions = [_single(name) for name in (*CATEGORICAL, "title_id")]
    of_interactions += [_several(name) for name in MULTI_LABEL]
    of_interactions += [_number(name) for name in NUMERIC]
    of_interactions += [_classes(intent) for intent in domain.intents if intent.bins]
    of_interactions += _nulls(INTERACTIONS, but=(*CATEGORICAL, *NUMERIC))
    return _counted(events, ENGAGEMENT_EVENTS, of_events, domain).unionByName(
        _counted(interactions, INTERACTIONS, of_interactions, domain)
    )


def intent_feature(intent: Intent) -> str:
    """Name of the feature that holds the intent's classes: its column, or the classes that its bins make of it."""
    return f"intent.{intent.name}" if intent.bins else intent.column


def bin_of(number: Column) -> Column:
    """Index of the bin of `number`, which is not negative. The bin of 0 is 0."""
    return F.floor(F.log2(1 + number) * BINS_PER_DOUBLING)


def _counted(rows: DataFrame, table: Table, entries: list[Column], domain: Domain) -> DataFrame:
    """Count the entries of all rows by week. Values beyond the TOP most frequent of a feature share one row."""
    week = week_start(F.col("event_date"), domain.calendar).alias("week")
    each = rows.select(week, F.lit(table.name).alias("table_name"), F.explode(F.flatten(F.array(*entries))).alias("e"))
    counts = each.select(*FEATURE[:2], "e.*").groupBy(*FEATURE, "kind", "value").agg(F.count("*").alias("rows"))
    # The value breaks ties, so that the same rows give the same profile.
    frequent = Window.partitionBy(*FEATURE, "kind").orderBy(F.desc("rows"), "value")
    too_many = (F.col("kind") == VALUE) & (F.row_number().over(frequent) > TOP)
    kept = counts.select(
        *FEATURE,
        F.when(too_many, OTHER).otherwise(F.col("kind")).alias("kind"),
        F.when(too_many, "").otherwise(F.col("value")).alias("value"),
        "rows",
    )
    summed = kept.groupBy(*FEATURE, "kind", "value").agg(F.sum("rows").alias("rows"))
    return summed.select(*FEATURE_PROFILES.names)


# The following functions give an array of structs (feature, kind, value): what a row adds to a feature's counts.


def _entry(feature: str, kind: Column | str, value: Column | str) -> Column:
    kind, value = (F.lit(each) if isinstance(each, str) else each for each in (kind, value))
    return F.struct(F.lit(feature).alias("feature"), kind.alias("kind"), value.alias("value"))


def _single(name: str) -> Column:
    """A column with one label per row. Empty text means unknown, as null does."""
    label = F.coalesce(F.col(name), F.lit(""))
    return F.array(_entry(name, F.when(label == "", NULL).otherwise(VALUE), label))


def _several(name: str) -> Column:
    """A column with any number of labels per row."""
    unknown = F.array(_entry(name, NULL, ""))
    return F.when(F.size(name) == 0, unknown).otherwise(F.transform(name, lambda label: _entry(name, VALUE, label)))


def _number(name: str) -> Column:
    """A numeric column, in bins on a logarithmic scale. A negative number means unknown, as in models."""
    known = F.coalesce(F.col(name) >= 0, F.lit(False))
    kind = F.when(F.col(name).isNull(), NULL).otherwise(F.when(known, BIN).otherwise(OTHER))
    return F.array(_entry(name, kind, F.when(known, bin_of(F.col(name)).cast("string")).otherwise("")))


def _classes(intent: Intent) -> Column:
    """The class that an intent's bins make of a number, as for the model's labels."""
    number = F.col(intent.column)
    label = F.lit(intent.labels[-1])
    for bound, name in reversed(list(zip(intent.bins, intent.labels[:-1], strict=True))):
        label = F.when(number <= bound, name).otherwise(label)
    known = F.coalesce(number >= 0, F.lit(False))
    kind = F.when(known, VALUE).otherwise(NULL)
    return F.array(_entry(intent_feature(intent), kind, F.when(known, label).otherwise("")))


def _nulls(table: Table, but: tuple[str, ...]) -> list[Column]:
    """Whether a value is null, for every nullable column that is not counted otherwise."""
    names = [column.name for column in table.columns if column.nullable and column.name not in but]
    return [F.array(_entry(name, F.when(F.col(name).isNull(), NULL).otherwise(OTHER), "")) for name in names]
