"""From Airflow's log records to the lines of the jobs."""

import json
import re
import time
from collections import deque

# "[ingest 2026-09-14..2026-09-21] started" or "[ingest] FAILED: ..."
_JOB_LINE = re.compile(r"^\[[a-z_]+( \d{4}-\d\d-\d\d\.\.\d{4}-\d\d-\d\d)?\] ")
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
        self.tail.append(event)
        if _JOB_LINE.match(event):
            self.say(event)

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self._clock), 60)
        print(f"{minutes:3d}:{seconds:02d} {text}", flush=True)

    def last_words(self) -> str:
        """The last lines, for the message of a failure."""
        return "\n".join(f"    {line}" for line in self.tail)
