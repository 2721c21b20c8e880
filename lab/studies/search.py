"""The same small search for every system, decided by validation MRR alone. Every trial is an MLflow run."""

import tempfile
from pathlib import Path

import mlflow
import optuna

from intentrec.config import fingerprint
from intentrec.registry import tracking
from intentrec.storage.runs import code_version
from intentrec.training.settings import settings
from lab.studies.data import Data
from lab.studies.measure import Say, save, stored, train_once
from lab.studies.study import Study, System, domain_of

SEARCHED = ("learning_rate", "dropout", "weight_decay")
SEED = 0  # of the search and of the trainings in it; the tables of a study use other seeds


def tuned(study: Study, data: Data, system: System, out: Path, trials: Path, say: Say) -> dict[str, float]:
    """The best values found, after the missing trials were made.

    Args:
        study: gives the ranges and the number of trials.
        data: only rows before the judged week are read.
        system: the system to tune.
        out: folder of runs; a finished search is kept there as `SYSTEM-tuning.json`.
        trials: folder for the trials of an unfinished search, one SQLite file per system.
        say: receives a line per trial.
    """
    middle = {key: sum(getattr(study.search, key)) / 2 for key in SEARCHED}
    mark = {
        **data.facts.mark(study),
        "system": system.name,
        "settings": settings(domain_of(study, system, middle, SEED)),
    }
    path = out / f"{system.name}-tuning.json"
    known = stored(path, mark)
    if known is not None:
        return known["best"]
    search = _searched(study, data, system, fingerprint(mark), trials / f"{system.name}.db", say)
    found = [{**trial.params, "val_mrr": trial.value} for trial in search.trials if trial.value is not None]
    save(path, {**mark, "best": search.best_params, "trials": found, "code": code_version()})
    return dict(search.best_params)


def _searched(study: Study, data: Data, system: System, name: str, storage: Path, say: Say) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    kept = optuna.create_study(
        study_name=name, storage=f"sqlite:///{storage}", direction="maximize", load_if_exists=True
    )
    known = {tuple(sorted(trial.params.items())): trial.value for trial in kept.trials if trial.value is not None}
    # The state of a sampler cannot be saved. So each search starts again and looks up the trials that are known:
    # it draws the same values whether it was interrupted or not.
    search = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=max(1, study.search.trials // 2)),
    )
    experiment = tracking.experiment(data.run.profile, data.run.domain)

    def objective(trial: optuna.Trial) -> float:
        values = _suggested(study, trial)
        before = known.get(tuple(sorted(values.items())))
        if before is not None:
            return before
        domain = domain_of(study, system, values, SEED)
        with (
            tempfile.TemporaryDirectory() as folder,
            mlflow.start_run(experiment_id=experiment, run_name=f"{system.name} {trial.number}"),
        ):
            mlflow.log_params({"system": system.name, **values})
            found = train_once(domain, data, Path(folder), lambda line: None)
            for row in found.history:
                mlflow.log_metric("val_mrr", row["val_mrr"], step=int(row["epoch"]))
            mlflow.log_metric("best_val_mrr", found.metrics["val_mrr"])
        say(
            f"{system.name}: trial {trial.number + 1} of {study.search.trials}, validation MRR "
            f"{found.metrics['val_mrr']:.4f}, {sum(row['seconds'] for row in found.history):.0f} s"
        )
        value = found.metrics["val_mrr"]
        kept.add_trial(optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=value))
        return value

    search.optimize(objective, n_trials=study.search.trials)
    return search


def _suggested(study: Study, trial: optuna.Trial) -> dict[str, float]:
    search = study.search
    return {
        "learning_rate": trial.suggest_float("learning_rate", *search.learning_rate, log=True),
        "dropout": trial.suggest_float("dropout", *search.dropout),
        "weight_decay": trial.suggest_float("weight_decay", *search.weight_decay, log=True),
    }
