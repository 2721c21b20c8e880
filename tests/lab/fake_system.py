"""A system that only writes the times of its turns, to a file that all systems share."""

import sys
import time
from pathlib import Path

from lab.benchmarks.speed import turns


def main() -> None:
    task = turns.task()
    if task.titles == 0:
        sys.exit("this system fails")
    print("noise that is no message")
    name = Path(task.folder).name
    for _ in range(task.epochs + task.scorings):
        time.sleep(0.02)  # what is prepared between turns
        turns.begin()
        begun = time.monotonic()
        time.sleep(0.05)
        turns.end()
        with Path(task.data).open("a") as file:
            file.write(f"{name} {begun} {time.monotonic()}\n")
    turns.about(name=name)


if __name__ == "__main__":
    main()
