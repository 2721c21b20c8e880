"""A user's week in the worlds without intent: null (popularity alone) and item-markov (the previous title alone)."""

import random
from datetime import date

import numpy as np

from simulator import intents
from simulator.behaviour import ORACLE_TOP, SWITCH, Week
from simulator.catalogue import View
from simulator.people import DEVICES
from simulator.plan import Slot
from simulator.settings import Settings, scalars, vectors
from simulator.viewer import Event, Session, Viewer

FOLLOW = 0.75
FOLLOWERS = 5
_SURFACES = ("home", "genre_row", "new_releases", "search")


class Follow:
    """Followers of every title in the item-markov world: five titles of the back catalogue, the same for ever."""

    def __init__(self, settings: Settings, titles: int) -> None:
        self.next = np.stack(
            [
                vectors(settings.seed, "followers", title).choice(settings.titles, FOLLOWERS, replace=False)
                for title in range(titles)
            ]
        )


def live(settings: Settings, viewer: Viewer, view: View, week: date, slots: list[Slot], follow: Follow | None) -> Week:
    """Live through the planned sessions; `follow` makes it item-markov, None null. The intent is drawn and ignored."""
    rnd = scalars(settings.seed, settings.world, viewer.user.index, week)
    appeal = np.exp(view.popularity)
    result = Week(oracle=_foresee(viewer, view, appeal, follow))
    for number, slot in enumerate(slots):
        now = max(slot.start, viewer.end + settings.session_gap_s + rnd.randint(120, 3600))
        if now + 600 > slot.limit:
            continue
        drawn = rnd.choices(range(len(intents.INTENTS)), viewer.user.phases[0].habit.tolist())[0]
        start, device, count = now, rnd.choice(DEVICES), 1 + min(5, int(rnd.expovariate(0.7)))
        for _ in range(count):
            title = _choose(viewer, view, appeal, follow, now, rnd)
            event = _event(view, title, now, slot.limit, number, drawn, device, rnd)
            if event is None:
                break
            result.events.append(event)
            viewer.previous, viewer.end = title, now + event.duration
            now = viewer.end + rnd.randint(5, 300)
        if viewer.end > start:
            switched = rnd.randrange(len(intents.INTENTS)) if rnd.random() < SWITCH else None
            result.sessions.append(Session(number, start, viewer.end, drawn, switched, 0))
    return result


def _choose(viewer: Viewer, view: View, appeal: np.ndarray, follow: Follow | None, now: int, rnd: random.Random) -> int:
    if follow is not None and viewer.previous is not None and rnd.random() < FOLLOW:
        followers = follow.next[viewer.previous]
        title = int(followers[rnd.randrange(FOLLOWERS)])
        if view.first[title] <= now < view.last[title]:
            return title
    cumulated = np.cumsum(np.where(view.available(now), appeal, 0.0))
    return int(np.searchsorted(cumulated, rnd.random() * cumulated[-1], side="right"))


def _event(
    view: View, index: int, now: int, limit: int, session: int, intent: int, device: str, rnd: random.Random
) -> Event | None:
    """An event whose type, episode and length have nothing to do with anything."""
    title, drawn, surface = view.titles[index], rnd.random(), rnd.choice(_SURFACES)
    episode = rnd.randrange(title.episodes_at(now))
    if drawn < 0.8:
        kind = "play" if drawn < 0.74 else "search_play"
        share = rnd.uniform(0.93, 1.0) if rnd.random() < 0.6 else rnd.random()
        duration = max(15, int(title.runtimes[episode] * share))
        position: int | None = duration
    else:
        kind, episode, position = ("trailer" if drawn < 0.9 else "list_add"), 0, None
        duration = rnd.randint(5, 110)
    if now + duration > limit or now >= title.last:
        return None
    return Event(now, duration, index, episode, kind, position, surface, device, session, intent, None, None)


def _foresee(viewer: Viewer, view: View, appeal: np.ndarray, follow: Follow | None) -> list[tuple[int, float]]:
    """Titles by expected share of the coming week: popularity, or the mean of six steps of the Markov chain."""
    base = np.where((view.first < view.end) & (view.last > view.start), appeal, 0.0)
    base /= base.sum()
    expected = base
    if follow is not None and viewer.previous is not None:
        step = np.zeros(len(base))
        step[viewer.previous] = 1.0
        expected = np.zeros(len(base))
        for _ in range(6):
            after = np.bincount(
                follow.next[: len(base)].ravel(), np.repeat(step / FOLLOWERS, FOLLOWERS), minlength=len(base)
            )
            step = FOLLOW * after + (1 - FOLLOW) * base
            expected += step / 6
    best = np.argsort(-expected, kind="stable")[:ORACLE_TOP]
    return [(int(title), float(expected[title])) for title in best]
