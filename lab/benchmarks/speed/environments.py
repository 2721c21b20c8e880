"""An environment per system, so that none decides about another's packages."""

import subprocess
import sys
from pathlib import Path

from intentrec.errors import PipelineError

HERE = Path(__file__).parent
OURS = "ours"
PEERS = {"rectools": "with_rectools", "replay": "with_replay"}  # system -> program


def python_of(system: str, root: Path) -> Path:
    """The interpreter of a system's environment, which is made under `root` where it is missing or out of date.

    Raises:
        PipelineError: its packages cannot be installed.
    """
    if system == OURS:
        return Path(sys.executable)
    requirements = HERE / "requirements" / f"{system}.txt"
    folder = root / system
    python, ready = folder / "bin" / "python", folder / "ready.txt"
    if ready.exists() and ready.read_text() == requirements.read_text():
        return python
    uv = [sys.executable, "-m", "uv"]
    print(f"installing {system} into {folder}", flush=True)
    try:
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True)
    except subprocess.CalledProcessError as error:
        raise PipelineError(f"{requirements} could not be installed: see above, and run this again") from error
    ready.write_text(requirements.read_text())
    return python


def program_of(system: str) -> str:
    """The module that does the task with a system."""
    return f"lab.benchmarks.speed.{PEERS.get(system, OURS)}"
