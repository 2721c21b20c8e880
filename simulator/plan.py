"""When a user is there: sessions of a week, by activity, weekday and usual hours; weeks and months away."""

from datetime import date, timedelta
from typing import NamedTuple

from simulator.people import User
from simulator.settings import WEEK, Settings, scalars

_DAYS = (1.0, 1.0, 1.0, 1.05, 1.3, 1.5, 1.35)
_BLOCK = 9  # weeks; in some of these blocks a user is away for five
_AWAY = 0.09
_IDLE = 0.12


class Slot(NamedTuple):
    """A planned session: earliest start, the moment by which it must be over, hours since the service day began."""

    start: int
    limit: int
    hour: float


def slots(settings: Settings, user: User, week: date) -> list[Slot]:
    """Planned sessions of a week in order; none in weeks away. They end before the service day does."""
    index = (week - settings.epoch) // WEEK
    block = scalars(settings.seed, "away", user.index, index // _BLOCK)
    leaves = block.randint(1, 3)
    if block.random() < _AWAY and leaves <= index % _BLOCK < leaves + 5:
        return []
    rnd = scalars(settings.seed, "plan", user.index, week)
    if rnd.random() < _IDLE:
        return []
    found = []
    left = user.activity * rnd.uniform(0.6, 1.4)
    # A Poisson process on the week: exponential steps until the expected number is used up.
    while (left := left - rnd.expovariate(1.0)) > 0:
        day = week + timedelta(days=rnd.choices(range(7), _DAYS)[0])
        usual = rnd.random() < 0.75
        hour = rnd.gauss(user.hour, user.spread) if usual else rnd.uniform(3.0, 17.0)
        hour = min(max(hour, 0.3), 22.5)
        start = settings.moment(day)
        found.append(Slot(start + int(hour * 3600), settings.moment(day + timedelta(days=1)) - 120, hour))
    return sorted(found)
