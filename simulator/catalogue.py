"""Films and shows: their facts, when they are available, how popular they are, and the weekly snapshots."""

from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import cached_property

import numpy as np

from intentrec.calendar import WEEK
from simulator.settings import DAY_S, Settings, opaque_id, vector_stream

GENRES = (
    *("action", "animation", "comedy", "crime", "documentary", "drama", "family", "fantasy"),
    *("history", "horror", "music", "reality", "romance", "scifi", "thriller", "western"),
)
KIDS_GENRES = [GENRES.index(name) for name in ("animation", "family")]
LIGHT_GENRES = [GENRES.index(name) for name in ("comedy", "documentary", "music", "reality")]
_GENRE_SHARE = np.array([10, 7, 14, 8, 6, 16, 7, 5, 3, 5, 2, 5, 8, 6, 9, 2], dtype=float)
_LANGUAGES = ("en", "es", "ko", "ja", "fr", "hi", "de")
_LANGUAGE_SHARE = np.array([58, 11, 9, 7, 6, 5, 4], dtype=float)
_FIRST = (
    *("Silent", "Golden", "Last", "Broken", "Distant", "Hidden"),
    *("Paper", "Northern", "Burning", "Crimson", "Hollow"),
)
_SECOND = (
    *("Harbor", "Summer", "Witness", "Garden", "Signal", "River"),
    *("Kingdom", "Letters", "Orchard", "Mirror", "Road"),
)
FOREVER = 1 << 62
_NOTICE = 30 * DAY_S  # so long before, the catalogue tells when a title will be taken down


@dataclass(frozen=True)
class Title:
    """A film (one item) or a show (one item per episode). Times are Unix seconds, lengths are seconds.

    It is available in [first, last). A `weekly` show releases one episode per week. `quality` is the constant part of
    its popularity, log scale.
    """

    index: int
    title_id: str
    items: tuple[str, ...]
    show: bool
    genres: tuple[int, ...]
    creator: str
    language: str
    text: str
    release: int
    first: int
    last: int
    runtimes: tuple[int, ...]
    weekly: bool
    quality: float

    def episodes_at(self, now: int) -> int:
        """Number of its items that are released at `now`."""
        if now < self.first:
            return 0
        if not self.weekly:
            return len(self.items)
        return min(len(self.items), 1 + (now - self.first) // (7 * DAY_S))

    def delay(self, episode: int) -> int:
        """Seconds from the release of the title to the release of an episode."""
        return episode * 7 * DAY_S if self.weekly else 0


@dataclass(frozen=True)
class View:
    """The catalogue of one week: arrays over the T titles that are known by its end, in title order."""

    start: int
    end: int
    titles: list[Title]
    popularity: np.ndarray  # T, log scale
    has_genre: np.ndarray  # T x genres, 1 where the title has the genre
    genre_mix: np.ndarray  # the same, rows sum to 1
    first: np.ndarray  # T, start of availability
    last: np.ndarray  # T, end of availability
    age: np.ndarray  # T, days from release to the middle of the week
    show: np.ndarray  # T, 1 where the title is a show

    @cached_property
    def kids(self) -> np.ndarray:
        """1 where a title is for children (T)."""
        return self.has_genre[:, KIDS_GENRES].max(axis=1)

    @cached_property
    def light(self) -> np.ndarray:
        """1 where a title can run in the background (T)."""
        return self.has_genre[:, LIGHT_GENRES].max(axis=1)

    @cached_property
    def _changes(self) -> np.ndarray:
        moments = np.concatenate([self.first, self.last])
        return np.sort(moments[(self.start < moments) & (moments < self.end)])

    def period(self, now: int) -> int:
        """Number of the period of the week that contains `now`; within a period the available titles stay the same."""
        return int(np.searchsorted(self._changes, now, side="right"))

    def available(self, now: int) -> np.ndarray:
        """Which titles are available at `now` (T, bool)."""
        return (self.first <= now) & (now < self.last)


class Catalogue:
    """All titles up to the last simulated week: the back catalogue, then the premieres and additions of each week."""

    def __init__(self, settings: Settings, end: date) -> None:
        self.settings = settings
        self.titles: list[Title] = []
        self.known: dict[date, int] = {}  # titles known by the end of each week
        for number in range(settings.titles):
            self._add(("back", number), settings.epoch, show=number % 5 >= 3)
        week = settings.epoch
        while week < end:
            for number in range(max(2, settings.titles * 6 // 1000)):
                self._add(("premiere", week, number), week, show=number % 2 == 1)
            for number in range(max(1, settings.titles * 2 // 1000)):
                self._add(("addition", week, number), week, show=number % 3 == 2)
            self.known[week] = len(self.titles)
            week += WEEK

    def _add(self, key: tuple, week: date, show: bool) -> None:
        self.titles.append(_title(self.settings, len(self.titles), key, week, show))

    def view(self, week: date) -> View:
        """The catalogue of a week."""
        titles = self.titles[: self.known[week]]
        start, end = self.settings.moment(week), self.settings.moment(week + WEEK)
        has_genre = np.zeros((len(titles), len(GENRES)))
        for title in titles:
            has_genre[title.index, list(title.genres)] = 1.0
        first = np.array([title.first for title in titles])
        release = np.array([title.release for title in titles])
        middle = (start + end) / 2
        age = np.maximum(0.0, (middle - release) / DAY_S)
        since = np.maximum(0.0, (middle - first) / DAY_S)
        quality = np.array([title.quality for title in titles])
        popularity = quality - 0.3 * np.log1p(age / 365) + np.log1p(7 * np.exp(-since / 14)) + self._trend(week)
        return View(
            start=start,
            end=end,
            titles=titles,
            popularity=popularity,
            has_genre=has_genre,
            genre_mix=has_genre / has_genre.sum(axis=1, keepdims=True),
            first=first,
            last=np.array([title.last for title in titles]),
            age=age,
            show=np.array([float(title.show) for title in titles]),
        )

    def _trend(self, week: date) -> np.ndarray:
        """Slow changes of popularity: the noise of three weeks added up, so that consecutive weeks are correlated."""
        trend = np.zeros(self.known[week])
        for back in range(3):
            before = week - back * WEEK
            if before in self.known:
                noise = vector_stream(self.settings.seed, "trend", before).standard_normal(self.known[before])
                trend[: len(noise)] += 0.3 * noise
        return trend

    def snapshot(self, week: date) -> list[dict]:
        """Rows of the catalogue at the start of a week, with everything that is released during the week."""
        start, end = self.settings.moment(week), self.settings.moment(week + WEEK)
        rows = []
        for title in self.titles[: self.known[week]]:
            for episode in range(title.episodes_at(end - 1)):
                rows.append(_item(title, episode, start))
        return rows


def _item(title: Title, episode: int, start: int) -> dict:
    delay = title.delay(episode)
    announced = title.last < start + _NOTICE
    return {
        "item_id": title.items[episode],
        "title_id": title.title_id,
        "kind": "show" if title.show else "film",
        "genres": [GENRES[genre] for genre in title.genres],
        "creator": title.creator,
        "episode": episode + 1 if title.show else None,
        "release_ts": iso(title.release + delay),
        "runtime_s": title.runtimes[episode],
        "language": title.language,
        "text": title.text,
        "available_from": iso(title.first + delay),
        "available_to": iso(title.last) if announced else None,
    }


def iso(moment: int) -> str:
    """ISO 8601 in UTC with a Z."""
    return f"{np.datetime64(moment, 's')}Z"


def _title(settings: Settings, index: int, key: tuple, week: date, show: bool) -> Title:
    rng = vector_stream(settings.seed, "title", *key)
    count = 1 + int(rng.choice(3, p=[0.35, 0.45, 0.2]))
    genres = rng.choice(len(GENRES), size=count, replace=False, p=_GENRE_SHARE / _GENRE_SHARE.sum())
    release, first = _dates(settings, key[0], week, rng)
    recent = settings.moment(settings.epoch) - release < 90 * DAY_S
    weekly = show and recent and rng.random() < 0.5
    episodes = int(rng.integers(6, 11)) if weekly else 3 + int(27 * rng.random() ** 2)
    length = rng.choice([1380, 2580, 3300], p=[0.4, 0.4, 0.2]) if show else rng.normal(6500, 1200)
    runtimes = np.clip(length * rng.normal(1, 0.05 if show else 0.0, size=episodes if show else 1), 900, 11000)
    # Some titles of the back catalogue are taken down. Premieres and additions stay.
    leaves = key[0] == "back" and rng.random() < 0.12
    last = settings.moment(settings.epoch + timedelta(days=int(rng.integers(3, 365)))) if leaves else FOREVER
    return Title(
        index=index,
        title_id=opaque_id("t", settings.seed, *key),
        items=tuple(opaque_id("i", settings.seed, *key, episode) for episode in range(len(runtimes))),
        show=show,
        genres=tuple(sorted(int(genre) for genre in genres)),
        creator=f"Studio {opaque_id('', settings.seed, 'studio', int(60 * rng.random() ** 2))[:6]}",
        language=str(rng.choice(_LANGUAGES, p=_LANGUAGE_SHARE / _LANGUAGE_SHARE.sum())),
        text=f"{rng.choice(_FIRST)} {rng.choice(_SECOND)}",
        release=release,
        first=first,
        last=last,
        runtimes=tuple(int(seconds) for seconds in runtimes),
        weekly=weekly,
        quality=float(rng.normal(0, 1.6)),
    )


def _dates(settings: Settings, origin: str, week: date, rng: np.random.Generator) -> tuple[int, int]:
    """Release and start of availability, at local midnight."""
    midnight = time(0)
    if origin == "premiere":
        day = week + timedelta(days=int(rng.choice([1, 2, 4], p=[0.2, 0.3, 0.5])))
        return settings.moment(day, midnight), settings.moment(day, midnight)
    years = rng.exponential(11)
    days = int(rng.integers(1, 120)) if origin == "back" and rng.random() < 0.1 else int(min(75.0, 0.3 + years) * 365)
    release = settings.moment(settings.epoch - timedelta(days=days), midnight)
    if origin == "addition":
        return release, settings.moment(week + timedelta(days=int(rng.integers(1, 6))), midnight)
    lag = 0 if days < 400 else int(rng.integers(0, days - 200))
    return release, release + lag * DAY_S
