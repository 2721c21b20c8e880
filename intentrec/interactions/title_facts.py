"""What is known of titles when a week begins: how many users engaged them, and planned promotions."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import week_start
from intentrec.config import Domain
from intentrec.contracts import TITLE_FACTS


def title_facts(interactions: DataFrame, catalog: DataFrame, domain: Domain) -> DataFrame:
    """TITLE_FACTS rows as of the ends of weeks. A title that nobody engaged and nobody will promote has no row.

    Left-censored targets count: that everything looks new to a user does not change what is popular.

    Args:
        interactions: rows of INTERACTIONS of whole weeks.
        catalog: rows of CATALOG whose snapshots are dated in the same weeks. An item's latest one in a week counts.
        domain: its calendar cuts the weeks.
    """
    key = "as_of", "title_id"
    targets = interactions.where("is_target").withColumn("as_of", _week_end("event_date", domain))
    users = targets.groupBy(*key).agg(F.count_distinct("user_id").alias("users"))
    dated = catalog.withColumn("as_of", _week_end("snapshot_date", domain))
    latest = F.max_by(F.struct("title_id", "promotion"), "snapshot_date").alias("item")
    items = dated.groupBy("as_of", "item_id").agg(latest).select("as_of", "item.*")
    planned = items.groupBy(*key).agg(F.max("promotion").alias("promotion")).where("promotion > 0")
    both = users.join(planned, list(key), "full")
    return both.withColumn("users", F.coalesce("users", F.lit(0))).select(*TITLE_FACTS.names)


def _week_end(day: str, domain: Domain) -> Column:
    """The service date after the week that a date lies in."""
    return F.date_add(week_start(F.col(day), domain.calendar), 7)
