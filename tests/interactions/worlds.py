"""Small random worlds with many difficult cases: ties, overlaps, visits across days and weeks, exact gaps."""

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession

from intentrec.calendar import day_start_of
from intentrec.config import Domain
from intentrec.contracts import CATALOG, ENGAGEMENT_EVENTS
from intentrec.events.catalog import snapshot_dates
from intentrec.interactions import build
from intentrec.interactions.visits import visits
from tests.events.days import service_date_of

GENRES = ("crime", "drama", "kids", "news", "war")


@dataclass(frozen=True)
class World:
    """Rows of engagement_events and of the catalogue."""

    events: list[dict]
    catalog: list[dict]

    def event_frame(self, spark: SparkSession) -> DataFrame:
        """Events, in random order."""
        rows = random.Random(0).sample(self.events, len(self.events))
        return frame(spark, rows, ENGAGEMENT_EVENTS)

    def catalog_frame(self, spark: SparkSession) -> DataFrame:
        """Catalogue."""
        return frame(spark, self.catalog, CATALOG)


def frame(spark: SparkSession, rows: list[dict], table) -> DataFrame:
    """Rows as dictionaries to a frame in contract order."""
    return spark.createDataFrame([tuple(row[name] for name in table.names) for row in rows], table.schema)


def random_world(seed: int, domain: Domain, weeks: int = 3, users: int = 4, per_week: int = 25) -> World:
    """Two titles with episodes, three films; weekly snapshots whose facts change."""
    dice = random.Random(seed)
    catalog = _catalog(dice, domain.calendar.history_start, weeks)
    items = sorted({row["item_id"] for row in catalog})
    events = []
    for user in range(users):
        for week in range(weeks):
            first = domain.calendar.history_start + timedelta(weeks=week)
            for moment in _moments(dice, first, domain, dice.randint(0, per_week)):
                events.append(_event(dice, domain, f"u{user}", moment, items, f"e{seed}-{len(events)}"))
    return World(events, catalog)


def _moments(dice: random.Random, week: date, domain: Domain, count: int) -> list[datetime]:
    """Starts of events: bursts around a few moments of the week, many of them near a day's start."""
    starts = []
    while len(starts) < count:
        day = day_start_of(week + timedelta(days=dice.randrange(7)), domain.calendar)
        moment = day + timedelta(hours=dice.choice([0, 0.2, 5, 12, 23.5, 23.9]))
        for _ in range(dice.randint(1, 8)):
            starts.append(moment)
            moment += timedelta(seconds=dice.choice([0, 0, 1, 60, 600, 1800, 1801, 2400]))
    return [moment for moment in starts[:count] if moment < day_start_of(week + timedelta(days=7), domain.calendar)]


def _event(dice: random.Random, domain: Domain, user: str, moment: datetime, items: list[str], event_id: str) -> dict:
    kind = dice.choices(domain.events.types, weights=[8] + [1] * (len(domain.events.types) - 1))[0]
    plays = kind in domain.events.play_types
    return {
        "event_date": service_date_of(moment, domain.calendar),
        "event_id": event_id,
        "user_id": user,
        "account_id": f"a{user}",
        "item_id": dice.choice(items),
        "event_ts": moment,
        "arrived_at": moment + timedelta(hours=1),
        "event_type": kind,
        "duration_s": dice.choice([0.0, 0.1, 5.25, 60.0, 119.9, 120.0, 900.0, 5400.0, 20000.0]) if plays else 0.0,
        "position_s": dice.choice([None, 0.0, 100.0, 1500.0, 3000.0, 6000.0, 9000.0]) if plays else None,
        "surface": dice.choice(["home", "search"]),
        "device": dice.choice(["tv", "phone"]),
        "extra": {name: str(dice.choice([0, 0, 1, 0.1, 2.7])) for name in domain.events.signals if dice.random() < 0.8},
    }


def _catalog(dice: random.Random, start: date, weeks: int) -> list[dict]:
    rows = []
    for week in range(weeks):
        for title, episodes in {"show0": 3, "show1": 2, "film0": 1, "film1": 1, "film2": 1}.items():
            for episode in range(episodes):
                premiere = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=100 * episode + 3 * len(title))
                rows.append(
                    {
                        "snapshot_date": start + timedelta(weeks=week),
                        "item_id": f"{title}-{episode}",
                        "title_id": title,
                        "kind": title[:4],
                        "genres": sorted(dice.sample(GENRES, dice.randint(0, 2))),
                        "creator": dice.choice([None, "ann", "bob"]),
                        "episode": episode if episodes > 1 else None,
                        "release_ts": None if title == "film2" else premiere,
                        "runtime_s": dice.choice([None, 0.0, 3000.0, 6000.0]),
                        "language": dice.choice([None, "en", "ko"]),
                        "text": None,
                        "available_from": None,
                        "available_to": None,
                        "promotion": None,
                    }
                )
    return rows


def spark_visits(spark: SparkSession, world: World, domain: Domain) -> DataFrame:
    """`visits` over all events of a world."""
    start = domain.calendar.history_start
    catalog = world.catalog_frame(spark)
    dates = snapshot_dates(catalog, start, start + timedelta(weeks=52))
    return visits(build.with_facts(world.event_frame(spark), catalog, dates), domain)


def rows_of(result: DataFrame) -> list[dict]:
    """Rows as dictionaries that compare: moments aware, floats to nine decimals."""
    return [plain(row.asDict(recursive=True)) for row in result.collect()]


def plain(value: object) -> object:
    """See `rows_of`; applied to what the oracles return, too."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value
