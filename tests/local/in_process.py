"""Execute the jobs of Airflow's tasks in this process, because its Spark session exists already.

A task starts a script in place of the Python interpreter. The script passes the job's command to this process through
one named pipe, and reads the exit status from another. Some jobs may stay processes of their own.
"""

import importlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from intentrec.entry import application

# In place of the interpreter: notes the job, sends its command, and repeats its errors and its exit status. A job of
# APART is a process as usual.
INTERPRETER = """#!/bin/bash
job="${2#jobs.}"
echo "$job $4 $6" >> "$NOTES"
if [[ " $APART " = *" $job "* ]]; then exec "$PYTHON" "$@"; fi
echo "[$job $4..$6] started"
echo "$@" > "$REQUEST"
status="$(cat "$STATUS")"
cat "$ERRORS" >&2
exit "$status"
"""


def run_job(words: list[str]) -> int:
    """Execute `python WORDS`, where the words are `-m jobs.<job> ...`, in this process; returns the exit status."""
    module = importlib.import_module(words[1])
    function = getattr(module, words[1].removeprefix("jobs."))
    try:
        application(function, module.__doc__)(words[2:], prog_name=words[1], standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _serve(request: Path, status: Path, errors: Path) -> None:
    while words := request.read_text().split():
        code = 1
        with redirect_stderr(io.StringIO()) as output:
            try:
                code = run_job(words)
            except Exception:
                traceback.print_exc()
        errors.write_text(output.getvalue())
        print(output.getvalue(), file=sys.stderr, end="")
        status.write_text(str(code))


@contextmanager
def serving(folder: Path, apart: Collection[str] = ()) -> Iterator[dict[str, str]]:
    """Execute the requested jobs until the block ends, but not those of `apart`. Yields the environment of the tasks.

    The jobs' names and intervals are noted in the file NOTES.
    """
    interpreter, request, status, errors = (folder / name for name in ("python", "request", "status", "errors"))
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    os.mkfifo(request)
    os.mkfifo(status)
    server = threading.Thread(target=_serve, args=(request, status, errors), daemon=True)
    server.start()
    try:
        files = {"REQUEST": request, "STATUS": status, "ERRORS": errors, "NOTES": folder / "notes"}
        paths = {name: str(path) for name, path in files.items()}
        yield {"INTENTREC_PYTHON": str(interpreter), "PYTHON": sys.executable, "APART": " ".join(apart), **paths}
    finally:
        request.write_text("")
        server.join(60)
