"""All of a study, in an order in which every finished part is worth having; interrupted, it goes on where it was."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from joblib import Parallel, delayed

from intentrec.config import ROOT
from intentrec.errors import PipelineError
from intentrec.local.progress import Progress
from intentrec.registry import tracking
from intentrec.training.distributed import set_threads
from lab.studies import page, timing
from lab.studies.data import tables
from lab.studies.naive import measure_naive
from lab.studies.run import Data, measure
from lab.studies.study import Study, load_study
from lab.studies.systems import System, systems
from lab.studies.tables import read
from lab.studies.tune import tuned

RESULTS = ROOT / "docs" / "results"
PAGES = 0.05  # how much of the time may go into pages before the last one: results are kept without them


def experiments(name: str, only: Sequence[str] = (), pace_only: bool = False) -> None:
    """Build the tables of a study, tune every system, train it with every seed, and write the page again and again.

    At the end of all, an epoch of each is timed, side by side.

    Args:
        name: of a study.
        only: systems that are trained now; none: all of them.
        pace_only: train nothing, and time what is trained so far.

    Raises:
        PipelineError: no such study or system, systems named where only paces are wanted, or a job failed.
    """
    if pace_only and only:
        raise PipelineError(
            "--pace-only times all that is trained, because seconds of other days are no ratio: run it without --system"
        )
    study, progress = load_study(name), Progress()
    data = tables(name, study, progress)
    if pace_only:
        set_threads(1)
        conclude(name, study, data, RESULTS, progress, timed=True)
        return
    carry_out(name, study, data, RESULTS, progress, only, workers=len(os.sched_getaffinity(0)))


def carry_out(
    name: str, study: Study, data: Data, results: Path, progress: Progress, only: Sequence[str] = (), workers: int = 1
) -> None:
    """The part that needs no Spark.

    Models this small gain little from a second thread: `workers` of one thread each finish 1.6 times as many trainings
    on two cores, and the sums of a training have an order that no machine changes.
    """
    out, trials = results / "runs" / name, Path(data.run.profile.work) / "trials"
    known = systems(study)
    wrong = sorted(set(only) - set(known))
    if wrong:
        raise PipelineError(f"{', '.join(wrong)}: no such system; there are {', '.join(known)}")
    wanted = [system for system in known.values() if not only or system.name in only]
    set_threads(1)
    tracking.experiment(data.run.profile, data.run.domain)  # made once, before several processes look for it
    if measure_naive(study, data, out):
        progress.say("naive baselines judged")
    pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    searches = dict.fromkeys(system.search for system in wanted)
    chosen = dict(pool(delayed(_tuned)(study, data, known[name], out, trials, progress) for name in searches))
    missing = [(system, chosen[system.search], seed) for seed in study.seeds for system in wanted]
    due = 0.0
    for said in pool(delayed(_measured)(study, data, *each, out) for each in missing):
        if said:
            progress.say(said)
        if said and (began := time.monotonic()) >= due:
            page.write(name, study, data, read(out, study, data, known), results)
            due = time.monotonic() + (time.monotonic() - began) / PAGES
    conclude(name, study, data, results, progress, timed=not only)


def conclude(name: str, study: Study, data: Data, results: Path, progress: Progress, timed: bool) -> None:
    """Write the page; before it, where wanted, time all systems if one of them has not been timed yet."""
    out, known = results / "runs" / name, systems(study)
    measured = read(out, study, data, known)
    trained = known.keys() & measured.keys()
    if timed and trained - timing.read(study, data, measured, out)[0].keys():
        timing.time_epochs(study, data, known, measured, out, progress.say)
    page.write(name, study, data, measured, results)
    progress.say(f"{results / name}.md")


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
    return f"{system.name}, seed {seed}: {_said(out, system.name, seed)}" if done else ""


def _short(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _said(out: Path, system: str, seed: int) -> str:
    stored = json.loads((out / f"{system}-{seed}.json").read_text(encoding="utf-8"))
    metrics = stored["metrics"]
    return (
        f"next MRR {metrics['next_event']['next_mrr']:.4f}, week NDCG@10 {metrics['week_ahead']['ndcg_at_10']:.4f}, "
        f"{stored['best_epoch']} of {len(stored['history'])} epochs, {stored['seconds']['all']:.0f} s"
    )
