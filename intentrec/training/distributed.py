"""Processes and threads of a training.

Torchrun starts the processes of one training, and each takes a share of every batch. All have the same weights and make
the same step. The result is that of one process, up to the order of floating-point sums. The first process prepares the
data and writes the files; the others receive tasks from it. The number of threads is set once per process, before
anything is computed.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from intentrec.errors import PipelineError

TIMEOUT = timedelta(hours=12)  # how long the others wait while the first one prepares the data


def launched() -> bool:
    """Whether torchrun started this process."""
    return dist.is_torchelastic_launched()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def launch(processes: int) -> None:
    """Run this program again in `processes` processes of this machine, and exit as the first that failed did."""
    # Torchrun's own imports cost a second, which a single process should not pay.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    spec = getattr(sys.modules["__main__"], "__spec__", None)
    # After "--" torchrun takes no option of the program for its own: --start would be --start-method.
    program = ["-m", "--", spec.name] if spec is not None else ["--", sys.argv[0]]
    try:
        torchrun(["--standalone", "--nproc-per-node", str(processes), *program, *sys.argv[1:]])
    except ChildFailedError as error:
        sys.exit(error.get_first_failure()[1].exitcode)


def run_processes(first: Callable[[], None], follow: Callable[..., object]) -> None:
    """Call `first` in the first process; the others wait for its tasks (`leading`). Without torchrun, just call it.

    Args:
        first: the program of the first process.
        follow: what the other processes call for each task, with the arguments of `leading`.
    """
    if not launched():
        first()
        return
    hardware = device()
    if hardware.type == "cuda":
        torch.cuda.set_device(hardware)
    dist.init_process_group("nccl" if hardware.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        if rank() > 0:
            _listen(follow)
            return
        try:
            first()
        finally:
            _tell()
    finally:
        dist.destroy_process_group()


@contextmanager
def leading(*task: Any) -> Iterator[None]:
    """Make the other processes call `follow(*task)` while the first one executes the body, which must do the same."""
    global _listening
    _tell(*task)
    _listening = False
    try:
        yield
    except PipelineError:
        _listening = True  # the others raise it, too
        raise
    _listening = True


_listening = True  # whether the others wait for a task; if they are busy when the first one fails, torchrun stops them


def _tell(*task: Any) -> None:
    """Send the others a task; an empty one lets them end."""
    if count() > 1 and _listening:
        dist.broadcast_object_list([(torch.get_num_threads(), task)], src=0)


def _listen(follow: Callable[..., object]) -> None:
    while True:
        told: list[Any] = [None]
        dist.broadcast_object_list(told, src=0)
        threads, task = told[0]
        if not task:
            return
        set_threads(threads)
        try:
            follow(*task)
        except PipelineError:
            continue  # the first process raises the same error and reports it


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor in place by its sum over all processes (all-reduce)."""
    if count() > 1:
        for waiting in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            waiting.wait()


def share(rows: Tensor) -> Tensor:
    """This process's part of a batch: every n-th row, so that the parts have similar lengths."""
    return rows[rank() :: count()]


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
    """The GPU's name, or "CPU"."""
    return torch.cuda.get_device_name() if device().type == "cuda" else "CPU"


def device() -> torch.device:
    """This process's GPU, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")
