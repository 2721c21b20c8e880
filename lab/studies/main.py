"""Carry out a study: tables, searches, trainings, timing, page. After an interruption it continues."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, delayed

from intentrec.config import ROOT
from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from intentrec.registry import tracking
from intentrec.training.distributed import set_threads
from lab.studies import page
from lab.studies.data import Data, DataFacts, runs_folder, tables
from lab.studies.measure import measure, time_epochs
from lab.studies.naive_measure import measure_naive
from lab.studies.results import Measured, epoch_seconds, read
from lab.studies.search import tuned
from lab.studies.study import Study, System, load_study, systems
from lab.studies.summary import summary_of

RESULTS = ROOT / "lab" / "results"
PAGES = 0.05  # share of the time that may go into pages before the last one; results are safe without them


@dataclass(frozen=True)
class Place:
    """Where a study writes: `runs` takes the values per user and per seed, `results` the summary and the page."""

    name: str
    runs: Path
    results: Path = RESULTS

    @classmethod
    def of(cls, name: str) -> "Place":
        """The folders of a study of this name below the home."""
        return cls(name, runs_folder(name))


def whole_study(name: str, only: Sequence[str] = ()) -> None:
    """Build the tables, tune every system, train it with every seed, and rewrite the page as results come in.

    At the end an epoch of each system is timed, side by side.

    Args:
        name: of a study.
        only: the systems to train now; none: all of them.

    Raises:
        PipelineError: there is no such study or system, or a job failed.
    """
    place, study, progress = Place.of(name), load_study(name), Progress()
    data = tables(name, study, progress)
    carry_out(study, data, place, progress, only, workers=len(os.sched_getaffinity(0)))


def only_timing(name: str) -> None:
    """Train nothing: time an epoch of every system with results, and write the page.

    Raises:
        PipelineError: there is no such study, or a job failed.
    """
    place, study, progress = Place.of(name), load_study(name), Progress()
    data = tables(name, study, progress)
    set_threads(1)
    conclude(study, data, place, progress, timed=True)


def only_page(name: str) -> None:
    """Train and build nothing: write the page from the values in the folder of runs.

    Raises:
        PipelineError: there is no such study, or it has no values.
    """
    place, study = Place.of(name), load_study(name)
    write_page(study, DataFacts.load(place.runs), place)
    Progress().say(f"{place.results / name}.md")


def carry_out(
    study: Study, data: Data, place: Place, progress: Progress, only: Sequence[str] = (), workers: int = 1
) -> None:
    """Search, train, judge and write the page, from tables that exist; no Spark.

    Models this small gain little from a second thread: `workers` of one thread each finish 1.6 times as many trainings
    on two cores. With one thread the order of sums is also the same on every machine.
    """
    out, trials = place.runs, Path(data.run.profile.work) / "trials"
    known = systems(study)
    wrong = sorted(set(only) - set(known))
    if wrong:
        raise PipelineError(f"{', '.join(wrong)}: no such system; there are {', '.join(known)}")
    wanted = [system for system in known.values() if not only or system.name in only]
    set_threads(1)
    tracking.experiment(data.run.profile, data.run.domain)  # created once, before several processes look for it
    data.facts.save(out)
    if measure_naive(study, data, out):
        progress.say("naive baselines judged")
    pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    searches = dict.fromkeys(system.search for system in wanted)
    chosen = dict(pool(delayed(_tuned)(study, data, known[name], out, trials, progress) for name in searches))
    missing = [(system, chosen[system.search], seed) for seed in study.seeds for system in wanted]
    due = 0.0
    for line in pool(delayed(_measured)(study, data, *each, out) for each in missing):
        if line:
            progress.say(line)
        if line and (began := time.monotonic()) >= due:
            write_page(study, data.facts, place)
            due = time.monotonic() + (time.monotonic() - began) / PAGES
    conclude(study, data, place, progress, timed=not only)


def conclude(study: Study, data: Data, place: Place, progress: Progress, timed: bool) -> None:
    """Write the page. Before it, if `timed`, time all systems unless each has been timed already."""
    known = systems(study)
    measured = read(place.runs, study, data.facts, known)
    trained = {name: measured[name].results[0] for name in known if name in measured}
    if timed and trained.keys() - epoch_seconds(place.runs, study, data.facts, measured)[0].keys():
        time_epochs(study, data, known, trained, place.runs, progress.say)
    write_page(study, data.facts, place, measured)
    progress.say(f"{place.results / place.name}.md")


def write_page(study: Study, facts: DataFacts, place: Place, measured: dict[str, Measured] | None = None) -> None:
    """Write the summary and the page from what is stored (or was read already)."""
    known = systems(study)
    found = read(place.runs, study, facts, known) if measured is None else measured
    page.write(place.name, summary_of(place.name, study, facts, known, found, place.runs), known, place.results)


def _tuned(
    study: Study, data: Data, system: System, out: Path, trials: Path, progress: Progress
) -> tuple[str, dict[str, float]]:
    set_threads(1)
    values = tuned(study, data, system, out, trials, progress.say)
    progress.say(f"{system.name}: {study.search.trials} trials, {_short(values)}")
    return system.name, values


def _measured(study: Study, data: Data, system: System, values: dict[str, float], seed: int, out: Path) -> str:
    set_threads(1)
    done = measure(study, data, system, values, seed, out)
    return f"{system.name}, seed {seed}: {_result(out, system.name, seed)}" if done else ""


def _short(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _result(out: Path, system: str, seed: int) -> str:
    stored = json.loads((out / f"{system}-{seed}.json").read_text(encoding="utf-8"))
    metrics = stored["metrics"]
    return (
        f"next MRR {metrics['next_event']['next_mrr']:.4f}, week NDCG@10 {metrics['week_ahead']['ndcg_at_10']:.4f}, "
        f"{stored['best_epoch']} of {len(stored['history'])} epochs, {stored['seconds']['all']:.0f} s"
    )
