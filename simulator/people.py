"""Accounts and their profiles: what each user likes, how often, when and on what they watch."""

from dataclasses import dataclass
from itertools import count

import numpy as np

from simulator.catalogue import GENRES, KIDS_GENRES
from simulator.intents import BASE, INTENTS, KIDS_BASE
from simulator.settings import Settings, opaque, vectors

DEVICES = ("tv", "mobile", "tablet", "web")


@dataclass(frozen=True)
class Traits:
    """What drift changes: taste (log scale, per genre), habit (share of each intent), hold of the chain."""

    taste: np.ndarray
    habit: np.ndarray
    inertia: float


@dataclass(frozen=True)
class User:
    """A profile. `phases` holds the traits before and after drift."""

    index: int
    user_id: str
    account_id: str
    kids: bool
    activity: float  # sessions in an ordinary week
    hour: float  # of the evening peak, hours after the service day's start
    spread: float
    binge: float
    patience: float
    lists: float  # how readily the list and the search are used, 1 on average
    searches: float
    devices: tuple[float, ...]
    phases: tuple[Traits, Traits]


def population(settings: Settings) -> list[User]:
    """The first `settings.users` profiles, account after account: a larger world begins with the same users."""
    users: list[User] = []
    for account in count():
        rng = vectors(settings.seed, "account", account)
        size = 1 + int(rng.choice(4, p=[0.42, 0.3, 0.18, 0.1]))
        for place in range(size):
            if len(users) == settings.users:
                return users
            account_id = opaque("a", settings.seed, account)
            users.append(_user(settings, len(users), account_id, place >= 2))
    raise AssertionError("unreachable")


def _user(settings: Settings, index: int, account_id: str, may_be_child: bool) -> User:
    rng = vectors(settings.seed, "user", index)
    kids = may_be_child and bool(rng.random() < 0.6)
    return User(
        index=index,
        user_id=opaque("u", settings.seed, index),
        account_id=account_id,
        kids=kids,
        activity=float(np.clip(rng.lognormal(np.log(4.4), 0.55), 0.5, 14)),
        hour=float(rng.normal(12.5, 1.0) if kids else rng.normal(16.3, 1.6)),
        spread=float(rng.uniform(0.7, 2.2)),
        binge=float(np.clip(rng.normal(0.5, 0.14), 0.1, 0.8)),
        patience=float(np.clip(rng.normal(0.8, 0.08), 0.5, 0.95)),
        lists=float(rng.gamma(1.5, 1 / 1.5)),
        searches=float(rng.gamma(1.5, 1 / 1.5)),
        devices=tuple(rng.dirichlet([0.8, 0.8, 2.0, 0.3] if kids else [2.2, 1.1, 0.4, 0.6])),
        phases=(_traits(rng, kids), _traits(rng, kids)),
    )


def _traits(rng: np.random.Generator, kids: bool) -> Traits:
    taste = rng.normal(0, 0.7, len(GENRES))
    taste[rng.choice(len(GENRES), size=3, replace=False)] += 2.2
    taste[KIDS_GENRES] += 3.0 if kids else -1.0
    habit = rng.dirichlet((KIDS_BASE if kids else BASE) * 7)
    assert len(habit) == len(INTENTS)
    return Traits(taste - taste.mean(), habit, float(rng.uniform(0.75, 0.95)))
