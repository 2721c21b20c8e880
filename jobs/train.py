"""Train the challenger of the week that ends at --end, and register it.

It is trained on the data before [end - 7d, end), because the gate judges it on that week. Starts no Spark. The same
inputs are never trained twice. Several processes train together if the profile says so, or if torchrun starts this job.
"""

from contextlib import suppress
from pathlib import Path

from intentrec.config import load_profile
from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.errors import PipelineError
from intentrec.registry.challenger import make_challenger
from intentrec.reports.training_report import training_report
from intentrec.training import loop
from intentrec.training.distributed import launch, launched, run_processes


def train(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Train a challenger, in as many processes as the profile asks for."""

    def first() -> None:
        with job("train", start, end, config, profile) as run:
            make_challenger(run, config, training_report)

    if not launched() and processes(profile) > 1:
        launch(processes(profile))
    else:
        run_processes(first, follow=loop.train)


def processes(profile: Path | None) -> int:
    """Number of processes in the profile; 1 if it cannot be read. Then the job reports the error."""
    with suppress(PipelineError):
        return load_profile(profile).processes
    return 1


if __name__ == "__main__":
    main(train, __doc__)
