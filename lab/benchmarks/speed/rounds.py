"""The systems take turns, each alone on the machine, and each in an environment of its own packages."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intentrec.config import ROOT
from intentrec.errors import PipelineError
from lab.benchmarks.speed.turns import Task

HERE = Path(__file__).parent
OURS = "ours"
PEERS = {"rectools": "with_rectools", "replay": "with_replay"}  # system -> program

TAIL = 2000  # characters of a system's output that are shown when it fails


@dataclass(frozen=True)
class Timing:
    """Seconds of a system's turns without the warm-up, and facts about it."""

    train: list[float]  # seconds of an epoch
    score: list[float]  # seconds for all users
    about: dict[str, Any]


def measure(pythons: Mapping[str, Path], task: Task, folder: Path, warmup: int) -> dict[str, Timing]:
    """Let the systems take turns until each has trained and scored as often as the task says.

    Args:
        pythons: each system's interpreter.
        task: its `folder` is replaced by each system's own, inside `folder`.
        folder: takes what the systems write.
        warmup: how many of each system's first epochs and scorings do not count.

    Raises:
        PipelineError: a system failed.
    """
    systems = {name: _System(name, python, task, folder / name) for name, python in pythons.items()}
    try:
        # A system must not prepare its next turn during the turn of another one, so each is waited for.
        waiting = {name: system.start() for name, system in systems.items()}
        assert set(waiting.values()) == {"ready"}
        seconds: dict[str, list[float]] = {name: [] for name in systems}
        abouts: dict[str, Any] = {}
        for _ in range(task.epochs + task.scorings):
            for name, system in systems.items():
                seconds[name].append(system.turn())
                print(f"{name}: {seconds[name][-1]:.2f} s", flush=True)
                abouts[name] = system.message()
    finally:
        for system in systems.values():
            system.stop()
    return {
        name: Timing(taken[warmup : task.epochs], taken[task.epochs + warmup :], abouts[name])
        for name, taken in seconds.items()
    }


def python_of(system: str, root: Path) -> Path:
    """The interpreter of a system's environment; it is made under `root` if it is missing or out of date.

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
    """The module that runs the task with a system."""
    return f"lab.benchmarks.speed.{PEERS.get(system, OURS)}"


class _System:
    """The process of a system; a line on its input starts a turn."""

    def __init__(self, name: str, python: Path, task: Task, folder: Path) -> None:
        self.name = name
        folder.mkdir(parents=True)
        self._log = folder / "output.txt"
        arguments = json.dumps({**asdict(task), "folder": str(folder)})
        # Other libraries must not take more threads than torch.
        environment = os.environ | {"OMP_NUM_THREADS": str(task.threads), "MKL_NUM_THREADS": str(task.threads)}
        self._begin = lambda output: subprocess.Popen(
            [python, "-W", "ignore", "-m", program_of(name), arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
        self._process: subprocess.Popen | None = None

    def start(self) -> Any:
        """Start it and wait until it is ready for its first turn."""
        with self._log.open("w") as output:
            self._process = self._begin(output)
        return self.message()

    def turn(self) -> float:
        """Let it take its turn; the seconds it took."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self.message())

    def message(self) -> Any:
        """Its next message.

        Raises:
            PipelineError: it ended without a message.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PipelineError(f"{self.name} failed:\n{self._log.read_text()[-TAIL:]}")
        return json.loads(line)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
