"""Simulate a range of weeks and write it down."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from tqdm import tqdm

from intentrec.errors import PipelineError
from intentrec.sources.simulated import MANIFEST
from simulator import behaviour, dirt, simple, truth, write
from simulator.catalogue import Catalogue
from simulator.people import population
from simulator.plan import slots
from simulator.settings import Settings
from simulator.viewer import Viewer


@dataclass
class Summary:
    """What was written: raw rows by outcome and by kind, catalogue rows, sessions."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    catalogue_rows: int = 0
    sessions: int = 0


def simulate(
    settings: Settings,
    start: date,
    end: date,
    landing: str | Path,
    truth_dir: str | Path,
    progress: bool = False,
) -> Summary:
    """Write the landing files of the weeks in [start, end) and the truth behind them.

    The world always begins at `settings.epoch`, so that a week is the same whatever range it is written with.

    Raises:
        PipelineError: the range is not whole weeks of the world, or the landing zone holds another world.
    """
    weeks, landing, truth_dir = settings.weeks(start, end), Path(landing), Path(truth_dir)
    _claim(landing, settings)
    catalogue, summary = Catalogue(settings, end), Summary()
    first = catalogue.view(settings.epoch)
    viewers = [Viewer(user, settings, first) for user in population(settings)]
    follow = simple.Follow(settings, len(catalogue.titles)) if settings.world == "item-markov" else None
    steps = tqdm(
        total=len(viewers) * len(catalogue.known),
        unit="user-week",
        disable=not progress,
        desc="simulating",
        mininterval=1,
    )
    for week in catalogue.known:
        view = catalogue.view(week)
        lived, rows = [], []
        for viewer in viewers:
            planned = slots(settings, viewer.user, week)
            if settings.world in ("intent", "steady", "drift"):
                result = behaviour.live(settings, viewer, view, week, planned)
            else:
                result = simple.live(settings, viewer, view, week, planned, follow)
            lived.append((viewer.user, result))
            if week in weeks:
                rows += dirt.rows(settings, viewer.user, view, week, result.events)
            steps.update()
        if week not in weeks:
            continue
        snapshot = catalogue.snapshot(week)
        write.catalogue(landing, week, snapshot)
        truth.events(truth_dir, week, write.events(landing, week, rows), view)
        truth.sessions(truth_dir, week, lived)
        truth.oracle(truth_dir, week, lived, view)
        summary.outcomes.update(row.outcome for row in rows)
        summary.kinds.update(row.kind for row in rows)
        summary.catalogue_rows += len(snapshot)
        summary.sessions += sum(len(result.sessions) for _, result in lived)
    steps.close()
    return summary


def _claim(landing: Path, settings: Settings) -> None:
    """Refuse to mix two worlds in one landing zone, or a world and real data."""
    path = landing / MANIFEST
    world = json.dumps({key: str(value) for key, value in asdict(settings).items() if key != "users"}, indent=1) + "\n"
    if path.exists() and path.read_text() != world:
        raise PipelineError(
            f"{landing} holds another simulated world (see {path}). Remove that folder or set another INTENTREC_HOME."
        )
    real = next((file for name in ("events", "catalog") for file in (landing / name).glob("*/*")), None)
    if real is not None and not path.exists():
        raise PipelineError(
            f"{landing} holds data that was not simulated, such as {real}: nothing is simulated beside it. Name its "
            "folder (`make demo DATA=...`), or set another INTENTREC_HOME."
        )
    write.replace(path, world.encode())
