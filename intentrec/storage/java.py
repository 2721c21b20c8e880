"""The Java that Spark would start: found as Spark's own scripts find it, and checked before they start it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from intentrec.errors import PipelineError

OLDEST, NEWEST = 17, 21  # Spark 4.1 needs 17; Hadoop's libraries fail with Java 24 and later
NEEDED = f"Spark needs Java {OLDEST} to {NEWEST}: install OpenJDK {OLDEST}, or set JAVA_HOME to the folder of one"
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


def require_java() -> None:
    """Check the Java that Spark would start: that of JAVA_HOME, else `java` on PATH.

    Raises:
        PipelineError: there is none, it cannot be executed, or it is too old or too new.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        raise PipelineError(f"no Java was found: JAVA_HOME is not set, and no folder of PATH holds java. {NEEDED}")
    of = f" (JAVA_HOME is {home})" if home else ""
    try:
        done = subprocess.run([java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PipelineError(f"{java}{of} cannot be executed: {error.strerror}. {NEEDED}") from error
    told = done.stderr + done.stdout
    found = _VERSION.search(told)
    if done.returncode or found is None:
        line = next(iter(told.splitlines()), "no output")
        raise PipelineError(f"`{java} -version`{of} ended with status {done.returncode}: {line}. {NEEDED}")
    if not OLDEST <= int(found[1]) <= NEWEST:
        raise PipelineError(f"{java}{of} is Java {found[1]}. {NEEDED}")
