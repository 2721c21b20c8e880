"""How a system at work takes turns with the others, so that all meet the same machine: it waits to be told to begin.

The standard library alone: this runs in every system's own environment.
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
    """What every system does alike."""

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


# What the systems print goes to stderr; the answers have stdout for themselves.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
_begun = 0.0


def task() -> Task:
    """The task that the program was started with."""
    return Task(**json.loads(sys.argv[1]))


def begin() -> None:
    """Wait for this system's turn."""
    global _begun
    _say("ready")
    sys.stdin.readline()
    _begun = time.perf_counter()


def end() -> None:
    """Say how long the turn took."""
    _say(time.perf_counter() - _begun)


def about(**facts: Any) -> None:
    """Say what the system was, when all is done."""
    # Linux counts in KiB.
    _say({**facts, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def epochs(base: type) -> Any:
    """A callback of Lightning (of either package: `base` is its Callback) by which each epoch is a turn."""

    class Epochs(base):  # type: ignore[misc]
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            begin()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            end()

    return Epochs()


def _say(what: object) -> None:
    print(json.dumps(what), file=_answers, flush=True)
