"""All of a study, in an order in which every finished part is worth having; interrupted, it goes on where it was."""

import json
from collections.abc import Sequence
from pathlib import Path

from intentrec.config import ROOT
from intentrec.errors import PipelineError
from intentrec.experiments import page
from intentrec.experiments.data import tables
from intentrec.experiments.run import Data, measure, measure_floors
from intentrec.experiments.study import Study, load_study
from intentrec.experiments.systems import systems
from intentrec.experiments.tables import read
from intentrec.experiments.tune import tuned
from intentrec.operate.progress import Progress
from intentrec.training.threads import set_threads

RESULTS = ROOT / "docs" / "results"


def experiments(name: str, only: Sequence[str] = ()) -> None:
    """Build the tables of a study, tune every system, train it with every seed, and write the page after each.

    Args:
        name: of a study.
        only: systems that are trained now; none: all of them.

    Raises:
        PipelineError: no such study or system, or a job failed.
    """
    study, progress = load_study(name), Progress()
    data = tables(name, study, progress)
    set_threads(data.run.profile.threads)
    carry_out(name, study, data, RESULTS, progress, only)


def carry_out(name: str, study: Study, data: Data, results: Path, progress: Progress, only: Sequence[str] = ()) -> None:
    """The part that needs no Spark."""
    out, trials = results / "runs" / name, Path(data.run.profile.work) / "trials.db"
    known = systems(study)
    wrong = sorted(set(only) - set(known))
    if wrong:
        raise PipelineError(f"{', '.join(wrong)}: no such system; there are {', '.join(known)}")
    wanted = [system for system in known.values() if not only or system.name in only]
    if measure_floors(study, data, out):
        progress.say("floors judged")
    chosen = {}
    for system in wanted:
        chosen[system.name] = tuned(study, data, system, out, trials, progress.say)
        progress.say(f"{system.name}: {study.search.trials} trials, {_short(chosen[system.name])}")
    for seed in study.seeds:
        for system in wanted:
            if measure(study, data, system, chosen[system.name], seed, out):
                progress.say(f"{system.name}, seed {seed}: {_said(out, system.name, seed)}")
                page.write(name, study, data, read(out, study, data, known), results)
    page.write(name, study, data, read(out, study, data, known), results)
    progress.say(f"{results / name}.md")


def _short(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _said(out: Path, system: str, seed: int) -> str:
    stored = json.loads((out / f"{system}-{seed}.json").read_text(encoding="utf-8"))
    metrics = stored["metrics"]
    return (
        f"next MRR {metrics['next_event']['next_mrr']:.4f}, week NDCG@10 {metrics['week_ahead']['ndcg_at_10']:.4f}, "
        f"{stored['best_epoch']} of {len(stored['history'])} epochs, {stored['seconds']['all']:.0f} s"
    )
