"""One week of one user, in the intent world (`week_of_intents`) and in the null world (`week_of_popularity`)."""

import random
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from simulator import intents
from simulator.catalogue import GENRES, View
from simulator.choice import Candidates, Chooser
from simulator.recorder import Event, Session, SessionRecorder
from simulator.settings import DAY_S, Settings, scalar_stream, vector_stream
from simulator.users import DEVICES, Slot, Viewer

SWITCH = 0.15  # share of sessions whose intent changes midway
ORACLE_TOP = 20  # titles of an oracle's ranking
_CHAIN_DAYS = 10  # time constant with which the chain and the mood fade
_NULL_SURFACES = ("home", "genre_row", "new_releases", "search")

# Chances by intent: to look around before the choice, to choose another title afterwards, to give up within two
# minutes.
_LOOKS = (0.06, 0.04, 0.10, 0.38, 0.42, 0.50, 0.12, 0.08)
_AGAIN = (0.18, 0.12, 0.25, 0.28, 0.25, 0.30, 0.40, 0.35)
_QUITS = (0.02, 0.02, 0.03, 0.09, 0.09, 0.14, 0.08, 0.04)
# Factors by intent of a user's own chances: to play the next episode, to use the search, to take a title of the list.
_NEXT_EPISODE = (1.15, 0.0, 1.0, 0.8, 1.0, 0.6, 1.0, 1.4)
_SEARCHES = (0.02, 0.02, 0.15, 0.12, 0.14, 0.22, 0.05, 0.04)
_LISTS = (0.0, 0.0, 0.0, 0.30, 0.25, 0.25, 0.0, 0.05)


@dataclass
class Week:
    """What a user did in a week, and the oracle's ranking before it: (title, expected share of the week's choices)."""

    events: list[Event] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    oracle: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class _Streams:
    """The random streams of a user's week."""

    scalar: random.Random
    vector: np.random.Generator


def week_of_intents(settings: Settings, viewer: Viewer, view: View, week: date, slots: list[Slot]) -> Week:
    """Simulate the planned sessions of a week in the intent world; changes `viewer`.

    Args:
        settings: the world.
        viewer: the user's state before the week; it is updated.
        view: the catalogue of the week.
        week: first service date.
        slots: the planned sessions, in order.
    """
    key = ("intent", viewer.user.index, week)
    streams = _Streams(scalar_stream(settings.seed, *key), vector_stream(settings.seed, *key))
    chooser = Chooser(viewer, view)
    result = Week()
    _set_mood(viewer, streams.scalar, 0.0)
    result.oracle = _oracle(chooser, view)
    for number, slot in enumerate(slots):
        recorder = SessionRecorder(settings, viewer, view, slot, number, streams.scalar)
        if recorder.now + 600 > recorder.limit:
            continue
        session = _session(chooser, recorder, streams)
        if recorder.events:
            result.events.extend(recorder.events)
            result.sessions.append(session)
    return result


def _set_mood(viewer: Viewer, rnd: random.Random, change: float) -> None:
    """Draw another genre mood with the chance `change`, and the first one in any case."""
    if viewer.mood is None or rnd.random() < change:
        odds = np.exp(0.7 * viewer.user.taste)
        viewer.mood = rnd.choices(range(len(GENRES)), odds.tolist())[0]


def _candidates(chooser: Chooser, now: int, until: int | None = None) -> dict[int, Candidates]:
    """Candidates by intent, for the intents that at least one title serves."""
    found = {intent: chooser.candidates(intent, now, until) for intent in range(len(intents.INTENTS))}
    return {intent: candidates for intent, candidates in found.items() if len(candidates.titles)}


def _odds(viewer: Viewer, found: dict[int, Candidates], now: int, hour: float) -> np.ndarray:
    """Probabilities of the next session's intent (I), given everything before it."""
    context = np.zeros(len(intents.INTENTS))
    context[list(found)] = 1.0
    # An unfinished film is more likely. The hour of the day favours children's titles or the background.
    context[intents.FINISH_FILM] *= 2.5
    context[intents.KIDS] *= 2.0 if 9 < hour < 15 else 0.6
    context[intents.BACKGROUND] *= 2.0 if hour < 9 else 0.8
    days = (now - viewer.end) / DAY_S
    chain_weight = viewer.user.inertia * float(np.exp(-days / _CHAIN_DAYS))
    return intents.probabilities(viewer.user.habit, chain_weight, viewer.intent, context)


def _oracle(chooser: Chooser, view: View) -> list[tuple[int, float]]:
    """Titles by expected share of the coming week's choices: half the next session's intents, half the user's habit."""
    found = _candidates(chooser, view.start, view.end)
    odds = _odds(chooser.viewer, found, view.start, 16.0)
    habit = np.where([intent in found for intent in range(len(odds))], chooser.viewer.user.habit, 0.0)
    return _ranking(chooser.mixture(0.5 * odds + 0.5 * habit / habit.sum(), found))


def _ranking(expected: np.ndarray) -> list[tuple[int, float]]:
    best = np.argsort(-expected, kind="stable")[:ORACLE_TOP]
    return [(int(title), float(expected[title])) for title in best]


def _session(chooser: Chooser, recorder: SessionRecorder, streams: _Streams) -> Session:
    viewer, start, rnd = chooser.viewer, recorder.now, streams.scalar
    days = (start - viewer.end) / DAY_S
    _set_mood(viewer, rnd, 0.08 + 0.5 * (1 - float(np.exp(-days / _CHAIN_DAYS))))
    found = _candidates(chooser, start)
    odds = _odds(viewer, found, start, recorder.slot.hour)
    intent = rnd.choices(range(len(odds)), odds.tolist())[0]
    before = chooser.mixture(odds, found)
    first, switched = intent, None
    recorder.begin(intent)
    _clean_list(recorder, rnd)
    _watch(chooser, found[intent], recorder, streams, before)
    if rnd.random() < SWITCH:
        others = [other for other in found if other != intent and odds[other] > 0]
        if others:
            switched = intent = rnd.choices(others, [odds[other] for other in others])[0]
            recorder.begin(intent)
            _watch(chooser, chooser.candidates(intent, recorder.now), recorder, streams)
    while rnd.random() < _AGAIN[intent]:
        if not _watch(chooser, chooser.candidates(intent, recorder.now), recorder, streams):
            break
    viewer.intent, viewer.end = intent, recorder.end
    assert viewer.mood is not None
    return Session(recorder.session, start, recorder.end, first, switched, viewer.mood)


def _clean_list(recorder: SessionRecorder, rnd: random.Random) -> None:
    """In some sessions, take a title off the list, most often one that was played."""
    viewer = recorder.viewer
    if not viewer.listed or rnd.random() > 0.12:
        return
    listed = [title for title in viewer.listed if recorder.available(title)]
    if listed:
        odds = [4.0 if title in viewer.progress else 1.0 for title in listed]
        recorder.remove_from_list(rnd.choices(listed, odds)[0])


def _look_around(recorder: SessionRecorder, slate: list[int], rnd: random.Random) -> None:
    """Record trailers, samples and additions to the list before a title is chosen."""
    for title in slate[: 1 + (rnd.random() < 0.4)]:
        drawn = rnd.random()
        if drawn < 0.45:
            recorder.trailer(title)
        elif drawn < 0.85 and title not in recorder.viewer.listed and title not in recorder.viewer.progress:
            recorder.add_to_list(title)
        elif drawn > 0.9:
            recorder.sample(title)


def _watch(
    chooser: Chooser,
    found: Candidates,
    recorder: SessionRecorder,
    streams: _Streams,
    before: np.ndarray | None = None,
) -> bool:
    """Choose a title for the recorder's intent and play it, episode after episode.

    `before` are the titles' probabilities before the session (T), if the choice is the first of the session. Returns
    False if no choice was possible.
    """
    viewer, intent, rnd = chooser.viewer, recorder.intent, streams.scalar
    if not len(found.titles) or recorder.now + 300 > recorder.limit:
        return False
    listed = {title for title in viewer.listed if title not in viewer.progress and recorder.available(title)}
    from_list = bool(listed) and rnd.random() < viewer.user.lists * _LISTS[intent]
    pick = chooser.pick(found, streams.vector, listed if from_list else None)
    if not from_list and rnd.random() < _LOOKS[intent]:
        _look_around(recorder, [title for title in pick.slate if title != pick.title], rnd)
    searched = not from_list and rnd.random() < viewer.user.searches * _SEARCHES[intent]
    kind = "search_play" if searched else "play"
    surface = "my_list" if from_list else "search" if searched else None
    rank_past = None if before is None else 1 + int((before > before[pick.title]).sum())
    new = pick.title not in viewer.progress
    played = recorder.play(pick.title, kind, surface, _QUITS[intent], (pick.rank, rank_past), new)
    while played and recorder.finished and rnd.random() < viewer.user.binge * _NEXT_EPISODE[intent]:
        played = recorder.play_next_episode(pick.title)
    chooser.seen[[event.title for event in recorder.events]] = 1.0
    return True


def week_of_popularity(settings: Settings, viewer: Viewer, view: View, week: date, slots: list[Slot]) -> Week:
    """Simulate the planned sessions of a week in the null world; changes `viewer`. For the arguments see
    `week_of_intents`.

    A title is drawn from its popularity. Each session gets a latent intent that has no effect.
    """
    rnd = scalar_stream(settings.seed, "null", viewer.user.index, week)
    appeal = np.exp(view.popularity)
    expected = np.where((view.first < view.end) & (view.last > view.start), appeal, 0.0)
    result = Week(oracle=_ranking(expected / expected.sum()))
    for number, slot in enumerate(slots):
        now = max(slot.start, viewer.end + settings.session_gap_s + rnd.randint(120, 3600))
        if now + 600 > slot.limit:
            continue
        intent = rnd.choices(range(len(intents.INTENTS)), viewer.user.habit.tolist())[0]
        start, device, count = now, rnd.choice(DEVICES), 1 + min(5, int(rnd.expovariate(0.7)))
        for _ in range(count):
            cumulated = np.cumsum(np.where(view.available(now), appeal, 0.0))
            title = int(np.searchsorted(cumulated, rnd.random() * cumulated[-1], side="right"))
            event = _null_event(view, title, now, slot.limit, number, intent, device, rnd)
            if event is None:
                break
            result.events.append(event)
            viewer.end = now + event.duration
            now = viewer.end + rnd.randint(5, 300)
        if viewer.end > start:
            switched = rnd.randrange(len(intents.INTENTS)) if rnd.random() < SWITCH else None
            result.sessions.append(Session(number, start, viewer.end, intent, switched, 0))
    return result


def _null_event(
    view: View, index: int, now: int, limit: int, session: int, intent: int, device: str, rnd: random.Random
) -> Event | None:
    """An event whose type, episode and length depend on nothing; None if it does not end before `limit`."""
    title, drawn, surface = view.titles[index], rnd.random(), rnd.choice(_NULL_SURFACES)
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
