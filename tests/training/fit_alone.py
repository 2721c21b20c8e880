"""A small training, run by as many processes as start it: `python -m tests.training.fit_alone FOLDER`.

Writes FOLDER/history.json and, as any training does, the model: that of the refit in FOLDER/refit.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path

from intentrec.config import ROOT, load_domain
from intentrec.training.distributed import run_processes, set_threads
from intentrec.training.loop import fit, train
from tests.model import world
from tests.registry.world import domain_of

WEEKS, TITLES = 3, 24


def main(folder: Path) -> None:
    # No dropout: each process draws its own. An odd number of rows, and steps of few: some shares are larger, and the
    # last may be empty.
    domain = domain_of(load_domain(ROOT / "conf" / "streaming.yaml"), training={"tokens": 64, "refit": True})
    cutoff = (world.START + timedelta(weeks=WEEKS)).date()
    sequences, catalog = world.learnable_weeks(5, 31, WEEKS, TITLES), world.catalog(TITLES)

    def first() -> None:
        history = fit(domain, sequences, catalog, world.NO_TITLE_FACTS, cutoff, folder).history
        (folder / "history.json").write_text(json.dumps(history))

    set_threads(1)
    run_processes(first, follow=train)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
