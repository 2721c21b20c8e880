"""The lines that the jobs of a DAG run print, read from Airflow's log records and printed as they arrive."""

import json
import time
from collections import deque
from pathlib import Path

from intentrec.logging import text_of

_OUTPUT = ".SubprocessHook"
_NOT_OUTPUT = ("Tmp dir root location", "Running command:", "Output:", "Command exited with")


class Progress:
    """Prints the jobs' lines with the time since the start, and keeps the last `keep` lines of their whole output."""

    def __init__(self, keep: int = 40) -> None:
        self._clock = time.monotonic()
        self.tail: deque[str] = deque(maxlen=keep)

    def feed(self, record: str) -> None:
        """Take one JSON log record of Airflow. Print it if it holds a line of a job."""
        try:
            fields = json.loads(record)
            event, logger = str(fields["event"]), fields.get("logger", "")
        except (ValueError, KeyError, TypeError):
            return
        if not logger.endswith(_OUTPUT) or event.startswith(_NOT_OUTPUT):
            return
        line = text_of(event)
        self.tail.append(line or event)
        if line:
            self.say(line)

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self._clock), 60)
        print(f"{minutes:3d}:{seconds:02d} {text}", flush=True)

    def last_lines(self) -> str:
        """The last lines, indented, for the message of a failure."""
        return "\n".join(f"    {line}" for line in self.tail)


class LogFiles:
    """Lines added to any task log under a folder since this object was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = {path: path.stat().st_size for path in self._files()}

    def new_lines(self) -> list[str]:
        """Whole lines written since the last call, file by file."""
        lines: list[str] = []
        for path in self._files():
            begin = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                text, newline, _ = file.read().rpartition(b"\n")
            self._read[path] = begin + len(text) + len(newline)
            lines += text.decode(errors="replace").splitlines()
        return lines

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("run_id=*/task_id=*/attempt=*.log"), key=lambda path: path.stat().st_mtime)
