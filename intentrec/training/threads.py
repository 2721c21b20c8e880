"""How many threads torch takes, set once for a process and before anything is computed."""

import os

import torch


def set_threads(threads: int | None = None) -> int:
    """Use `threads` cores (default: the ones this process may use) and return how many.

    A fixed number also fixes the order of floating-point sums, so results repeat on the machine.
    """
    chosen = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(chosen)
    return chosen


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
