"""Simulate a range of weeks and write the landing and truth files."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tqdm import tqdm

from simulator import behaviour, dirt, output
from simulator.catalogue import Catalogue
from simulator.settings import Settings
from simulator.users import Viewer, plan_sessions, population


@dataclass
class Summary:
    """What was written: raw rows by outcome and by kind of dirt, catalogue rows, sessions."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    catalogue_rows: int = 0
    sessions: int = 0


def simulate(
    settings: Settings,
    start: date,
    end: date,
    landing: str | Path,
    truth: str | Path,
    progress: bool = False,
) -> Summary:
    """Write the landing files of the weeks in [start, end), and the truth behind them.

    The world always begins at `settings.epoch`, so a week is the same in every range.

    Args:
        settings: the world.
        start: first service date.
        end: service date after the last.
        landing: folder of the landing files.
        truth: folder of the truth files.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: the range is not whole weeks of the world, or the landing zone holds other data.
    """
    weeks, landing, truth = settings.weeks(start, end), Path(landing), Path(truth)
    output.claim(landing, settings)
    simulate_week = behaviour.week_of_popularity if settings.world == "null" else behaviour.week_of_intents
    catalogue, summary = Catalogue(settings, end), Summary()
    first = catalogue.view(settings.epoch)
    viewers = [Viewer(user, settings, first) for user in population(settings)]
    total = len(viewers) * len(catalogue.known)
    with tqdm(total=total, unit="user-week", disable=not progress, desc="simulating", mininterval=1) as steps:
        for week in catalogue.known:
            view = catalogue.view(week)
            user_weeks, rows = [], []
            for viewer in viewers:
                result = simulate_week(settings, viewer, view, week, plan_sessions(settings, viewer.user, week))
                user_weeks.append((viewer.user, result))
                if week in weeks:
                    rows += dirt.log_rows(settings, viewer.user, view, week, result.events)
                steps.update()
            if week not in weeks:
                continue
            snapshot = catalogue.snapshot(week)
            output.write_catalogue(landing, week, snapshot)
            output.write_truth(truth, week, output.write_events(landing, week, rows), user_weeks, view)
            summary.outcomes.update(row.outcome for row in rows)
            summary.kinds.update(row.kind for row in rows)
            summary.catalogue_rows += len(snapshot)
            summary.sessions += sum(len(result.sessions) for _, result in user_weeks)
    return summary
