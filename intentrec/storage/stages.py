"""Lines of progress while Spark works: a job of minutes says at least every half minute how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from py4j.protocol import Py4JError

EVERY = 30.0  # seconds


@contextmanager
def stage_progress(say: Callable[[str], None], every: float = EVERY) -> Iterator[None]:
    """Print the running stages of this process's Spark session, if there is one, until the block ends.

    Args:
        say: prints a line.
        every: seconds between two lines.
    """
    over = Event()

    def watch() -> None:
        with suppress(Py4JError):  # the session ended or its JVM was killed, which the job itself tells
            while not over.wait(every):
                if line := _running():
                    say(line)

    thread = Thread(target=watch, daemon=True, name="stage progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _running() -> str:
    """The stages that run now, with finished and all tasks; empty where none runs."""
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    if context is None:
        return ""
    tracker = context.statusTracker()
    infos = [tracker.getStageInfo(stage) for stage in sorted(tracker.getActiveStageIds())]
    parts = [f"stage {info.stageId}: {info.numCompletedTasks:,} of {info.numTasks:,} tasks" for info in infos if info]
    return f"Spark works: {', '.join(parts)}" if parts else ""
