"""From Airflow's log records to the lines of the jobs."""

import json
import time
from collections import deque

from intentrec.logging import text_of

_OUTPUT = ".SubprocessHook"
_NOT_OUTPUT = ("Tmp dir root location", "Running command:", "Output:", "Command exited with")


class Progress:
    """Prints what the jobs say with the time since the start, keeps the last lines of everything they printed."""

    def __init__(self, keep: int = 40) -> None:
        self._clock = time.monotonic()
        self.tail: deque[str] = deque(maxlen=keep)

    def feed(self, record: str) -> None:
        """Take one JSON log record; print it if a job said it. Other records are Airflow's own."""
        try:
            fields = json.loads(record)
            event, logger = str(fields["event"]), fields.get("logger", "")
        except (ValueError, KeyError, TypeError):
            return
        if not logger.endswith(_OUTPUT) or event.startswith(_NOT_OUTPUT):
            return
        said = text_of(event)
        self.tail.append(said or event)
        if said:
            self.say(said)

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self._clock), 60)
        print(f"{minutes:3d}:{seconds:02d} {text}", flush=True)

    def last_words(self) -> str:
        """The last lines, for the message of a failure."""
        return "\n".join(f"    {line}" for line in self.tail)
