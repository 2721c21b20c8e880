"""How much more memory it takes to prepare many rows for training and go through them once, after having done few.

Run as `python -m tests.training.memory FEW MANY FOLDER`, two data sets of `sequences`: prints megabytes at the peak
beyond those at the beginning. Pages of mapped files do not count: the system takes them back when it needs them.
"""

import re
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow.dataset as ds
import torch

from intentrec.config import ROOT, Domain, load_domain
from intentrec.training import out_of_core
from intentrec.training.batches import batches
from intentrec.training.prepare import load, prepare
from intentrec.training.steps import loaded
from tests.model import world
from tests.model.world import NO_TITLE_FACTS
from tests.registry.world import domain_of

ROWS = 500  # of a bucket: what has to fit in memory, here small, so that a small test has many of them


class Peak:
    """The most memory that this process has while the body runs."""

    def __enter__(self) -> "Peak":
        self.megabytes, self._done = now(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.megabytes = max(self.megabytes, now())


def now() -> float:
    """Megabytes of this process that no file holds."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def go_through(domain: Domain, sequences: str, folder: Path) -> None:
    cutoff = (world.START + timedelta(weeks=2)).date()
    prepare(domain, ds.dataset(sequences), world.catalog(24), NO_TITLE_FACTS, cutoff, folder)
    data = load(folder)
    order = batches(data.train.lengths, domain.training.tokens, torch.Generator().manual_seed(1))
    for batch in loaded(data.train, order, torch.device("cpu")):
        assert batch is not None


def main(few: str, many: str, folder: Path) -> None:
    out_of_core.ROWS = ROWS
    domain = domain_of(load_domain(ROOT / "conf" / "streaming.yaml"), training={"tokens": 2048})
    go_through(domain, few, folder)  # whatever a first use takes
    before = now()
    with Peak() as peak:
        go_through(domain, many, folder)
    print(f"{peak.megabytes - before:.0f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
