"""The measured system's part of the protocol: it waits for its turn, so that systems never work at the same time.

Uses only the standard library, because it runs in the environment of every system.
"""

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """The task, the same for every system."""

    data: str  # a file of `histories`
    folder: str  # for what the system writes
    titles: int
    length: int  # interactions that a model sees; one more is its last target
    dim: int
    heads: int
    blocks: int
    dropout: float
    batch: int  # sequences of a training step
    rate: float
    epochs: int  # how often to train, each time on all users
    scorings: int  # how often to score, each time all users
    score_batch: int
    top_k: int
    threads: int


# What the systems print goes to stderr; stdout is for the messages alone.
_messages = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
_begun = 0.0


def task() -> Task:
    """The task that the program was started with."""
    return Task(**json.loads(sys.argv[1]))


def begin() -> None:
    """Wait for this system's turn."""
    global _begun
    _send("ready")
    sys.stdin.readline()
    _begun = time.perf_counter()


def end() -> None:
    """Send how long the turn took."""
    _send(time.perf_counter() - _begun)


def about(**facts: Any) -> None:
    """Send facts about the system, at the end."""
    # Linux counts in KiB.
    _send({**facts, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def epochs(base: type) -> Any:
    """A callback of Lightning (of either package: `base` is its Callback) by which each epoch is a turn."""

    class Epochs(base):  # type: ignore[misc]
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            begin()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            end()

    return Epochs()


def _send(what: object) -> None:
    print(json.dumps(what), file=_messages, flush=True)
