"""Jobs that Airflow's tasks ask for, run in this process, whose Spark session is warm: starting one costs more than
they do."""

import importlib
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intentrec.storage.runs import arguments, attempt

# Takes the place of the tasks' interpreter: notes the job, fails where the test says, has the job done.
INTERPRETER = """#!/bin/bash
job="${2#jobs.}"
echo "$job $4 $6" >> "$NOTES"
echo "[$job $4..$6] started"
if [ "$job $4" = "$FAIL" ]; then echo "[$job] FAILED: no such thing" >&2; exit 1; fi
echo "$@" > "$ASK"
exit "$(cat "$ANSWER")"
"""


def do(words: list[str]) -> None:
    """`python -m jobs.<job> ...` without a process of its own."""
    module = importlib.import_module(words[1])
    parser = arguments(words[1])
    if hasattr(module, "options"):
        module.options(parser)
    args = parser.parse_args(words[2:])
    with attempt(words[1].removeprefix("jobs."), args) as run:
        module.body(run, args)


def _serve(ask: Path, answer: Path) -> None:
    while words := ask.read_text().split():
        try:
            do(words)
            answer.write_text("0")
        except Exception:
            traceback.print_exc()
            answer.write_text("1")


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """While the block runs, do what the interpreter asks for. Gives the environment in which it asks.

    The jobs' names and intervals are noted in the file NOTES; FAIL may name one that is to fail.
    """
    interpreter, ask, answer = folder / "python", folder / "ask", folder / "answer"
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    os.mkfifo(ask)
    os.mkfifo(answer)
    server = threading.Thread(target=_serve, args=(ask, answer), daemon=True)
    server.start()
    try:
        files = {"ASK": ask, "ANSWER": answer, "NOTES": folder / "notes"}
        yield {"INTENTREC_PYTHON": str(interpreter), "FAIL": "", **{name: str(path) for name, path in files.items()}}
    finally:
        ask.write_text("")
        server.join(60)
