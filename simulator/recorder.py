"""One session as it is recorded: events in order without overlap, never past the session's limit or a title's end."""

import random
from collections.abc import Callable

from simulator import intents
from simulator.catalogue import View
from simulator.people import DEVICES
from simulator.plan import Slot
from simulator.settings import Settings
from simulator.viewer import Event, Viewer

LONGEST = 4 * 3600  # of a session


class SessionRecorder:
    """Records events of a session and keeps the viewer's state in step."""

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
        self.limit = min(slot.limit, self.now + LONGEST)
        self.device = rnd.choices(DEVICES, viewer.user.devices)[0]

    def begin(self, intent: int) -> None:
        """From here on events serve this intent."""
        self.intent = intent

    def available(self, index: int) -> bool:
        """Whether a title may be watched now."""
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
        ranks: tuple[int | None, int | None] = (None, None),
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
        # Mostly straight on, now and then a break, always shorter than the gap that ends a session.
        self.now = self.end + (self.rnd.randint(2, 90) if self.rnd.random() < 0.9 else self.rnd.randint(120, 900))
        return True

    def _surface(self) -> str:
        return intents.SURFACES[self.intent] if self.rnd.random() < 0.75 else "home"

    def trailer(self, index: int) -> None:
        """Watch a title's trailer."""
        self._record(index, 0, "trailer", self.rnd.randint(15, 110), None, self._surface())

    def enlist(self, index: int) -> None:
        """Read a title's page and put it on the list."""
        if self._record(index, 0, "list_add", self.rnd.randint(4, 45), None, self._surface()):
            self.viewer.listed[index] = self.end

    def unlist(self, index: int) -> None:
        """Take a title off the list."""
        if self._record(index, 0, "list_remove", 0, None, "my_list"):
            del self.viewer.listed[index]

    def sample(self, index: int) -> None:
        """Start something and leave it within two minutes."""
        episode, position = self._where(index)
        self._play(
            index, episode, position, "play", self._surface(), lambda runtime: position + self.rnd.randint(15, 110)
        )

    def _where(self, index: int) -> tuple[int, int]:
        """Item and position at which the viewer takes up a title."""
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
        ranks: tuple[int | None, int | None],
        new: bool,
    ) -> bool:
        """Play a title from where the viewer left it; `quits` is the chance to give up within two minutes."""
        episode, position = self._where(index)
        drawn = self.rnd.random()
        # What is known already is seldom given up, a film more often than an episode.
        stays = self.viewer.user.patience + (0.0 if new else 0.12) - (0.0 if self.view.titles[index].show else 0.15)

        def stop(runtime: int) -> int:
            if drawn < quits:
                return position + self.rnd.randint(15, 110)
            if drawn < quits + (1 - quits) * stays:
                return int(runtime * self.rnd.uniform(0.93, 1.0))
            return position + 130 + int((runtime - position) * 0.85 * self.rnd.random())

        return self._play(index, episode, position, kind, surface or self._surface(), stop, ranks)

    def go_on(self, index: int) -> bool:
        """The next episode, if there is one out; False where not."""
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
        ranks: tuple[int | None, int | None] = (None, None),
    ) -> bool:
        """Play an item from `position` to `stop(runtime)`, cut off where the session has to end."""
        runtime = self.view.titles[index].runtimes[episode]
        duration = min(max(stop(runtime), position + 15), runtime) - position
        duration = min(duration, self.limit - self.now)
        self.finished = False
        if duration < 10 or not self._record(index, episode, kind, duration, position + duration, surface, ranks):
            return False
        self.viewer.watched(self.view.titles[index], episode, position + duration, self.end)
        self.finished = self.viewer.progress[index].finished
        return True
