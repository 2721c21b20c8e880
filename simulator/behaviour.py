"""A user's week in the intent, steady and drift worlds: sessions from the intent chain, and what happens in each."""

import random
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from simulator import intents
from simulator.catalogue import GENRES, View
from simulator.choice import Candidates, Chooser
from simulator.plan import Slot
from simulator.recorder import SessionRecorder
from simulator.settings import DAY, Settings, scalars, vectors
from simulator.viewer import Event, Session, Viewer

SWITCH = 0.15  # share of sessions whose intent changes midway
ORACLE_TOP = 20

# Per intent: chance to look around first, to choose a second title, to go on with the next episode (times the user's
# own bent), to give up within two minutes.
_LOOKS = (0.06, 0.04, 0.10, 0.38, 0.42, 0.50, 0.12, 0.08)
_AGAIN = (0.18, 0.12, 0.25, 0.28, 0.25, 0.30, 0.40, 0.35)
_BINGE = (1.15, 0.0, 1.0, 0.8, 1.0, 0.6, 1.0, 1.4)
_QUITS = (0.02, 0.02, 0.03, 0.09, 0.09, 0.14, 0.08, 0.04)
_SEARCHES = (0.02, 0.02, 0.15, 0.12, 0.14, 0.22, 0.05, 0.04)
_LISTS = (0.0, 0.0, 0.0, 0.30, 0.25, 0.25, 0.0, 0.05)


@dataclass(frozen=True)
class Course:
    """How intents and moods go on. `steady`: as the chain says however long ago, and through the whole session."""

    chain: np.ndarray
    steady: bool = False

    @property
    def switch(self) -> float:
        """Share of sessions whose intent changes midway."""
        return 0.0 if self.steady else SWITCH

    def hold(self, inertia: float, days: float) -> float:
        """How much the chain still says after as many days (a time constant of ten)."""
        return 1.0 if self.steady else inertia * float(np.exp(-days / 10))

    def new_mood(self, days: float) -> float:
        """Chance of another genre mood after as many days."""
        return 0.02 if self.steady else 0.08 + 0.5 * (1 - float(np.exp(-days / 10)))


@dataclass
class Week:
    """What a user did in a week, and the oracle's ranking of titles before it: (title, expected share)."""

    events: list[Event] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    oracle: list[tuple[int, float]] = field(default_factory=list)


def live(settings: Settings, viewer: Viewer, view: View, week: date, slots: list[Slot]) -> Week:
    """Live through the planned sessions; changes `viewer`."""
    drifted = settings.world == "drift" and (week - settings.epoch).days // 7 >= settings.drift_week
    viewer.traits = viewer.user.phases[drifted]
    course = Course(intents.CHAIN_AFTER_DRIFT if drifted else intents.CHAIN)
    if settings.world == "steady":
        course = Course(intents.CHAIN_STEADY, steady=True)
    # All draw from the streams of intent, so that drift is the same world until it happens.
    rnd = scalars(settings.seed, "intent", viewer.user.index, week)
    rng = vectors(settings.seed, "intent", viewer.user.index, week)
    chooser = Chooser(viewer, view)
    result = Week()
    _set_mood(viewer, rnd, 0.0)
    result.oracle = _foresee(chooser, course, view)
    for number, slot in enumerate(slots):
        recorder = SessionRecorder(settings, viewer, view, slot, number, rnd)
        if recorder.now + 600 > recorder.limit:
            continue
        session = _session(chooser, course, recorder, rnd, rng)
        if recorder.events:
            result.events.extend(recorder.events)
            result.sessions.append(session)
    return result


def _set_mood(viewer: Viewer, rnd: random.Random, change: float) -> None:
    if viewer.mood is None or rnd.random() < change:
        odds = np.exp(0.7 * viewer.traits.taste)
        viewer.mood = rnd.choices(range(len(GENRES)), odds.tolist())[0]


def _served(chooser: Chooser, now: int, until: int | None = None) -> dict[int, Candidates]:
    found = {intent: chooser.candidates(intent, now, until) for intent in range(len(intents.INTENTS))}
    return {intent: candidates for intent, candidates in found.items() if len(candidates.titles)}


def _odds(chooser: Chooser, course: Course, found: dict[int, Candidates], now: int, hour: float) -> np.ndarray:
    """The next session's intent, given everything before it."""
    viewer = chooser.viewer
    context = np.zeros(len(intents.INTENTS))
    context[list(found)] = 1.0
    # A film left unfinished pulls; so do evenings of premieres and, in the background, mornings.
    context[intents.FINISH_FILM] *= 2.5
    context[intents.KIDS] *= 2.0 if 9 < hour < 15 else 0.6
    context[intents.BACKGROUND] *= 2.0 if hour < 9 else 0.8
    days = (now - viewer.end) / DAY
    hold = course.hold(viewer.traits.inertia, days)
    return intents.probabilities(course.chain, viewer.traits.habit, hold, viewer.intent, context)


def _foresee(chooser: Chooser, course: Course, view: View) -> list[tuple[int, float]]:
    """Titles by expected share of the coming week's choices: half the next session's intents, half the user's habit."""
    found = _served(chooser, view.start, view.end)
    odds = _odds(chooser, course, found, view.start, 16.0)
    habit = np.where([intent in found for intent in range(len(odds))], chooser.viewer.traits.habit, 0.0)
    expected = chooser.mixture(0.5 * odds + 0.5 * habit / habit.sum(), found)
    best = np.argsort(-expected, kind="stable")[:ORACLE_TOP]
    return [(int(title), float(expected[title])) for title in best]


def _session(
    chooser: Chooser, course: Course, recorder: SessionRecorder, rnd: random.Random, rng: np.random.Generator
) -> Session:
    viewer, start = chooser.viewer, recorder.now
    days = (start - viewer.end) / DAY
    _set_mood(viewer, rnd, course.new_mood(days))
    found = _served(chooser, start)
    odds = _odds(chooser, course, found, start, recorder.slot.hour)
    intent = rnd.choices(range(len(odds)), odds.tolist())[0]
    state = chooser.mixture(odds, found)
    first, switched = intent, None
    recorder.begin(intent)
    _tidy_list(recorder, rnd)
    _watch(chooser, found[intent], recorder, rnd, rng, state)
    if rnd.random() < course.switch:
        others = [other for other in found if other != intent and odds[other] > 0]
        if others:
            switched = intent = rnd.choices(others, [odds[other] for other in others])[0]
            recorder.begin(intent)
            _watch(chooser, chooser.candidates(intent, recorder.now), recorder, rnd, rng)
    while rnd.random() < _AGAIN[intent]:
        if not _watch(chooser, chooser.candidates(intent, recorder.now), recorder, rnd, rng):
            break
    viewer.intent, viewer.end = intent, recorder.end
    assert viewer.mood is not None
    return Session(recorder.session, start, recorder.end, first, switched, viewer.mood)


def _tidy_list(recorder: SessionRecorder, rnd: random.Random) -> None:
    """Now and then a title leaves the list, most often one that was watched since."""
    viewer = recorder.viewer
    if not viewer.listed or rnd.random() > 0.12:
        return
    listed = [title for title in viewer.listed if recorder.available(title)]
    if listed:
        odds = [4.0 if title in viewer.progress else 1.0 for title in listed]
        recorder.unlist(rnd.choices(listed, odds)[0])


def _look_around(recorder: SessionRecorder, slate: list[int], rnd: random.Random) -> None:
    """Trailers, first minutes and additions to the list before something is chosen."""
    for title in slate[: 1 + (rnd.random() < 0.4)]:
        what = rnd.random()
        if what < 0.45:
            recorder.trailer(title)
        elif what < 0.85 and title not in recorder.viewer.listed and title not in recorder.viewer.progress:
            recorder.enlist(title)
        elif what > 0.9:
            recorder.sample(title)


def _watch(
    chooser: Chooser,
    found: Candidates,
    recorder: SessionRecorder,
    rnd: random.Random,
    rng: np.random.Generator,
    state: np.ndarray | None = None,
) -> bool:
    """Choose a title for the recorder's intent and play it, episode after episode; False where nothing could be played."""
    viewer, intent = chooser.viewer, recorder.intent
    if not len(found.titles) or recorder.now + 300 > recorder.limit:
        return False
    listed = {title for title in viewer.listed if title not in viewer.progress and recorder.available(title)}
    from_list = bool(listed) and rnd.random() < viewer.user.lists * _LISTS[intent]
    pick = chooser.pick(found, rng, listed if from_list else None)
    if not from_list and rnd.random() < _LOOKS[intent]:
        _look_around(recorder, [title for title in pick.slate if title != pick.title], rnd)
    searched = not from_list and rnd.random() < viewer.user.searches * _SEARCHES[intent]
    surface = "my_list" if from_list else "search" if searched else None
    rank = None if state is None else 1 + int((state > state[pick.title]).sum())
    known = pick.title in viewer.progress
    played = recorder.play(
        pick.title, "search_play" if searched else "play", surface, _QUITS[intent], (pick.rank, rank), not known
    )
    while played and recorder.finished and rnd.random() < viewer.user.binge * _BINGE[intent]:
        played = recorder.go_on(pick.title)
    chooser.seen[[event.title for event in recorder.events]] = 1.0
    return True
