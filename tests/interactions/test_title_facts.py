"""Facts of titles by week, against SQL of another engine."""

import random
from datetime import timedelta

import duckdb
import pandas as pd
from pyspark.sql import SparkSession

from intentrec.config import Domain
from intentrec.interactions.title_facts import title_facts

PLANNED = (None, 0.0, 0.2, 0.9)


def test_users_and_promotions_by_week_equal_duckdb(spark: SparkSession, streaming: Domain) -> None:
    """An item may have several snapshots in a week, and a title several items."""
    dice, first = random.Random(4), streaming.calendar.history_start
    days = [first + timedelta(days=number) for number in range(21)]
    rows = pd.DataFrame(
        [
            {
                "event_date": dice.choice(days),
                "user_id": f"u{dice.randrange(6)}",
                "title_id": f"t{dice.randrange(5)}",
                "is_target": dice.random() < 0.7,
            }
            for _ in range(150)
        ]
    )
    items = pd.DataFrame(
        [
            {
                "snapshot_date": day,
                "item_id": f"i{n}",
                "title_id": f"t{n // 2}",
                "promotion": dice.choice([None, 0.0, 0.2, 0.9]),
            }
            for day in days[::3]
            for n in range(16)
        ]
    )
    assert len(items) > 100
    of_week = f"cast(date '{first}' + cast(7 * (1 + date_diff('day', date '{first}', {{}}) // 7) as int) as date)"
    expected = duckdb.sql(
        f"""
        with users as (
            select {of_week.format("event_date")} as_of, title_id, count(distinct user_id) users
            from rows where is_target group by all
        ), latest as (
            select {of_week.format("snapshot_date")} as_of, title_id, promotion
            from items qualify row_number() over (partition by as_of, item_id order by snapshot_date desc) = 1
        ), planned as (
            select as_of, title_id, max(promotion) promotion from latest where promotion > 0 group by all
        )
        select as_of, title_id, coalesce(users, 0), promotion from users full join planned using (as_of, title_id)
        """
    ).fetchall()
    types = "snapshot_date date, item_id string, title_id string, promotion double"
    catalog = spark.createDataFrame(
        list(items.astype(object).where(items.notna(), None).itertuples(index=False)), types
    )
    found = [tuple(row) for row in title_facts(spark.createDataFrame(rows), catalog, streaming).collect()]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert {users > 0 for _, _, users, _ in found} == {promotion is None for *_, promotion in found} == {True, False}
