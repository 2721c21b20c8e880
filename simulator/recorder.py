"""The events of one session: in order, without overlap, and none after the end of the session or of a title's offer."""

import random
from collections.abc import Callable
from typing import NamedTuple

from simulator import intents
from simulator.catalogue import View
from simulator.settings import Settings
from simulator.users import DEVICES, Slot, Viewer

MAX_SESSION_S = 4 * 3600  # seconds


class Event(NamedTuple):
    """What a user did. `title` and `episode` are indices into the catalogue; times are Unix seconds."""

    start: int
    duration: int
    title: int
    episode: int
    type: str
    position: int | None
    surface: str
    device: str
    session: int
    intent: int
    rank_intent: int | None  # rank of the title for an oracle that knows the session's intent; None: not a choice
    rank_past: int | None  # rank for an oracle that knows everything before the session, so the intent's odds


class Session(NamedTuple):
    """A session and its latent intent; `switched_to` is the second intent if it changed midway."""

    number: int
    start: int
    end: int
    intent: int
    switched_to: int | None
    mood: int


Ranks = tuple[int | None, int | None]  # `rank_intent` and `rank_past` of an event


class SessionRecorder:
    """Records the events of a session and updates the viewer's state with each.

    Attributes:
        events: the events so far.
        now: earliest start of the next event, Unix seconds.
        end: end of the last event.
        limit: no event ends later than this.
        finished: whether the last play reached the end of its item.
    """

    def __init__(
        self, settings: Settings, viewer: Viewer, view: View, slot: Slot, session: int, rnd: random.Random
    ) -> None:
        self.viewer = viewer
        self.view = view
        self.slot = slot
        self.session = session
        self.rnd = rnd
        self.events: list[Event] = []
        self.intent = -1
        self.finished = False
        self.now = max(slot.start, viewer.end + settings.session_gap_s + rnd.randint(120, 3600))
        self.end = viewer.end
        self.limit = min(slot.limit, self.now + MAX_SESSION_S)
        self.device = rnd.choices(DEVICES, viewer.user.devices)[0]

    def begin(self, intent: int) -> None:
        """Set the intent of the events from here on."""
        self.intent = intent

    def available(self, index: int) -> bool:
        """Whether a title is available now."""
        title = self.view.titles[index]
        return title.first <= self.now < title.last

    def _record(
        self,
        index: int,
        episode: int,
        kind: str,
        duration: int,
        position: int | None,
        surface: str,
        ranks: Ranks = (None, None),
    ) -> bool:
        if self.now + duration > self.limit or not self.available(index):
            return False
        self.events.append(
            Event(
                self.now,
                duration,
                index,
                episode,
                kind,
                position,
                surface,
                self.device,
                self.session,
                self.intent,
                *ranks,
            )
        )
        self.viewer.touch(self.view.titles[index])
        self.end = self.now + duration
        # Usually the next event follows at once, sometimes after a break that is shorter than the session gap.
        self.now = self.end + (self.rnd.randint(2, 90) if self.rnd.random() < 0.9 else self.rnd.randint(120, 900))
        return True

    def _surface(self) -> str:
        return intents.SURFACES[self.intent] if self.rnd.random() < 0.75 else "home"

    def trailer(self, index: int) -> None:
        """Watch a title's trailer."""
        self._record(index, 0, "trailer", self.rnd.randint(15, 110), None, self._surface())

    def add_to_list(self, index: int) -> None:
        """Read the page of a title and put it on the list."""
        if self._record(index, 0, "list_add", self.rnd.randint(4, 45), None, self._surface()):
            self.viewer.listed[index] = self.end

    def remove_from_list(self, index: int) -> None:
        """Take a title off the list."""
        if self._record(index, 0, "list_remove", 0, None, "my_list"):
            del self.viewer.listed[index]

    def sample(self, index: int) -> None:
        """Start a title and leave it within two minutes."""
        episode, position = self._where(index)
        self._play(
            index, episode, position, "play", self._surface(), lambda runtime: position + self.rnd.randint(15, 110)
        )

    def _where(self, index: int) -> tuple[int, int]:
        """Episode and position at which the viewer resumes a title."""
        title, progress = self.view.titles[index], self.viewer.progress.get(index)
        if progress is None:
            return 0, 0
        out = title.episodes_at(self.now)
        again = self.intent in (intents.COMFORT, intents.BACKGROUND)
        if title.show and again and self.rnd.random() < 0.5:
            return self.rnd.randrange(out), 0
        if not progress.finished:
            return progress.episode, progress.position
        if progress.episode + 1 < out:
            return progress.episode + 1, 0
        return (0 if again or not title.show else self.rnd.randrange(out)), 0

    def play(
        self,
        index: int,
        kind: str,
        surface: str | None,
        quits: float,
        ranks: Ranks,
        new: bool,
    ) -> bool:
        """Play a title from where the viewer left it. Returns whether anything was played.

        Args:
            index: the title.
            kind: event type.
            surface: surface of the service; None draws one that suits the intent.
            quits: chance to give up within two minutes.
            ranks: the oracle's ranks of the title.
            new: whether the viewer plays the title for the first time.
        """
        episode, position = self._where(index)
        drawn = self.rnd.random()
        # A known title is stopped early less often, and a film more often than an episode.
        stays = self.viewer.user.patience + (0.0 if new else 0.12) - (0.0 if self.view.titles[index].show else 0.15)

        def stop(runtime: int) -> int:
            if drawn < quits:
                return position + self.rnd.randint(15, 110)
            if drawn < quits + (1 - quits) * stays:
                return int(runtime * self.rnd.uniform(0.93, 1.0))
            return position + 130 + int((runtime - position) * 0.85 * self.rnd.random())

        return self._play(index, episode, position, kind, surface or self._surface(), stop, ranks)

    def play_next_episode(self, index: int) -> bool:
        """Play the next episode of a show. Returns False if none is released."""
        title, progress = self.view.titles[index], self.viewer.progress[index]
        if not title.show or progress.episode + 1 >= title.episodes_at(self.now):
            return False
        done = self.rnd.random() < 0.85

        def stop(runtime: int) -> int:
            return int(runtime * (self.rnd.uniform(0.93, 1.0) if done else self.rnd.uniform(0.05, 0.85)))

        return self._play(index, progress.episode + 1, 0, "play", "player", stop)

    def _play(
        self,
        index: int,
        episode: int,
        position: int,
        kind: str,
        surface: str,
        stop: Callable[[int], int],
        ranks: Ranks = (None, None),
    ) -> bool:
        """Play an episode from `position` to `stop(runtime)`, or to the limit of the session if that comes first."""
        runtime = self.view.titles[index].runtimes[episode]
        duration = min(max(stop(runtime), position + 15), runtime) - position
        duration = min(duration, self.limit - self.now)
        self.finished = False
        if duration < 10 or not self._record(index, episode, kind, duration, position + duration, surface, ranks):
            return False
        self.viewer.note_play(self.view.titles[index], episode, position + duration, self.end)
        self.finished = self.viewer.progress[index].finished
        return True
