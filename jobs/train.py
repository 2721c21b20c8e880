"""Train the challenger of the week that ends at --end, on what was known a week before, and register it.

The week [end - 7d, end) stays unseen, for the gate. Needs no Spark. The same inputs are never trained twice.
Several processes train together where the profile says so, or where torchrun starts this job.
"""

import argparse
from contextlib import suppress
from pathlib import Path

from intentrec.config import load_profile
from intentrec.errors import PipelineError
from intentrec.registry.challenger import make_challenger
from intentrec.storage.runs import Run, arguments, main
from intentrec.training.distributed import launch, launched, together
from intentrec.training.loop import train


def body(run: Run, args: argparse.Namespace) -> None:
    """Make the challenger."""
    make_challenger(run, Path(args.config))


def job() -> None:
    """The job, as each of the processes runs it."""
    main("train", __doc__, body)


def processes() -> int:
    """How many the profile wants; `main` says what is wrong with a profile that cannot be read."""
    with suppress(PipelineError):
        return load_profile(arguments(__doc__).parse_args().profile).processes
    return 1


if __name__ == "__main__":
    if processes() > 1 and not launched():
        launch(processes())
    else:
        together(job, follow=train)
