"""Jobs of Airflow's tasks, run in this process. Its Spark session is there already; starting one costs more than they
do."""

import importlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from intentrec.entry import application

# Stands in for the tasks' interpreter: notes the job, has it done, and repeats its errors.
INTERPRETER = """#!/bin/bash
job="${2#jobs.}"
echo "$job $4 $6" >> "$NOTES"
echo "[$job $4..$6] started"
echo "$@" > "$ASK"
status="$(cat "$ANSWER")"
cat "$ERRORS" >&2
exit "$status"
"""


def do(words: list[str]) -> int:
    """`python -m jobs.<job> ...` without a process of its own; returns its exit status."""
    module = importlib.import_module(words[1])
    function = getattr(module, words[1].removeprefix("jobs."))
    try:
        application(function, module.__doc__)(words[2:], prog_name=words[1], standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _serve(ask: Path, answer: Path, errors: Path) -> None:
    while words := ask.read_text().split():
        status = 1
        with redirect_stderr(io.StringIO()) as said:
            try:
                status = do(words)
            except Exception:
                traceback.print_exc()
        errors.write_text(said.getvalue())
        print(said.getvalue(), file=sys.stderr, end="")
        answer.write_text(str(status))


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """While the block runs, do what the interpreter asks for. Gives the environment in which it asks.

    The jobs' names and intervals are noted in the file NOTES.
    """
    interpreter, ask, answer, errors = (folder / name for name in ("python", "ask", "answer", "errors"))
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    os.mkfifo(ask)
    os.mkfifo(answer)
    server = threading.Thread(target=_serve, args=(ask, answer, errors), daemon=True)
    server.start()
    try:
        files = {"ASK": ask, "ANSWER": answer, "ERRORS": errors, "NOTES": folder / "notes"}
        yield {"INTENTREC_PYTHON": str(interpreter), **{name: str(path) for name, path in files.items()}}
    finally:
        ask.write_text("")
        server.join(60)
