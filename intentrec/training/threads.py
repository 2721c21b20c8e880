"""How many threads torch takes, set once for a process and before anything is computed."""

import os

import torch


def set_threads(threads: int | None = None) -> int:
    """Use `threads` cores and return how many.

    By default the cores that this process may use, divided among the processes that torchrun started on the machine. A
    fixed number also fixes the order of floating-point sums, so results repeat on the machine.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    chosen = threads or max(1, len(os.sched_getaffinity(0)) // processes)
    torch.set_num_threads(chosen)
    return chosen


def hardware_name() -> str:
    """What models are trained on here: the GPU by its maker's name, or the CPU."""
    return torch.cuda.get_device_name() if device().type == "cuda" else "CPU"


def device() -> torch.device:
    """A GPU where there is one; of several, this process's own."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")
