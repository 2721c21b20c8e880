"""The gate: read the evidence, compare challenger, champion, V0 and naive baselines, decide, record, move the alias.

Where promotion is reviewed, the decision is a recommendation, and a person moves the alias.

Shape suffixes: U users, S pairs of a system and a metric.
"""

import json
import tempfile
from collections.abc import Mapping
from math import isfinite, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from intentrec.config import Gate, fingerprint
from intentrec.errors import PipelineError
from intentrec.evaluation.compare import compare
from intentrec.evaluation.evidence import Evidence, read_evidence
from intentrec.evaluation.gate import CHALLENGER, CHAMPION, Decision, Row, judge, leader
from intentrec.evaluation.metrics import Result
from intentrec.evaluation.naive_baselines import INTENT_NAIVE_BASELINES, ITEM_NAIVE_BASELINES
from intentrec.evaluation.significance import Lift, mean_intervals, paired_lift
from intentrec.inference.predictor import Predictor
from intentrec.registry import tracking
from intentrec.registry.challenger_record import PLAIN
from intentrec.registry.health import existing_champion, require_usable
from intentrec.registry.pending import complete
from intentrec.registry.verdicts import settle
from intentrec.registry.versions import APPROVED, PROMOTED, REJECTED, ROLLED_BACK, Registry, Version
from intentrec.storage.runs import Run, write_text
from intentrec.training.distributed import set_threads
from intentrec.training.inputs import Inputs

SHOWN = ("ndcg_at_10", "recall_at_10", "mrr", "coverage_at_10", "recall_at_10_new", "ndcg_at_10_cold", "next_mrr")


def judge_challenger(run: Run) -> Decision:
    """Judge the version that was trained for the run's end.

    The same evidence is not judged again. So a second run changes nothing, even if a person moved the alias meanwhile.

    Raises:
        Skip: there is no evidence for that week.
        PipelineError: no version was trained for it from the inputs as they are now, there was a champion and it is
            gone, or MLflow has lost parts of one of the two.
    """
    evidence = read_evidence(run)
    registry = Registry(run.profile, run.domain)
    for line in complete(run, registry) + settle(registry):
        run.say(line)
    existing_champion(run, registry)
    challenger = registry.by_fingerprint(Inputs.of(run).fingerprint)
    if challenger is None:
        raise PipelineError(
            f"no version of {registry.name} was trained for {run.end} from the inputs as they are now: run train first"
        )
    served = run.domain.publishing.model_dump(include={"seen_titles", "seen_for", "active_weeks"})
    based_on = fingerprint({"evidence": evidence.fingerprint, "gate": run.domain.gate.model_dump(), "served": served})
    judged = _standing(run, registry, challenger, based_on)
    if judged is None:
        judged = {**_judge(run, evidence, registry, challenger), "based_on": based_on}
        registry.record(challenger, judged)
    decision = Decision.from_dict(judged)
    if challenger.applied != based_on:
        if run.domain.gate.promotion == "reviewed":
            registry.request_review(challenger, judged["decision"])
        else:
            run.say(apply(registry, challenger, decision))
        registry.tag(challenger, "applied", based_on)
    _report(run, judged, decision)
    return decision


def _standing(run: Run, registry: Registry, challenger: Version, based_on: str) -> dict[str, Any] | None:
    """The decision that was made on this evidence before; None if there is none, or its record is lost."""
    verdict = registry.verdict(challenger)
    if verdict is None or verdict["based_on"] != based_on:
        return None
    try:
        found = registry.decision(challenger)
    except PipelineError as error:
        run.warn(f"{error}; it is judged again")
        return None
    run.say(f"version {challenger.number} was judged on this evidence before: the decision stands")
    return found


def _judge(run: Run, evidence: Evidence, registry: Registry, challenger: Version) -> dict[str, Any]:
    """Compare and decide; the decision with its details, as gate.json keeps it."""
    set_threads(run.profile.threads)
    champion = registry.champion()
    if champion is not None and champion.number == challenger.number:
        before = champion.replaced
        champion = registry.find(before) if before else None
        if before and champion is None:
            run.warn(f"version {before}, the champion before it, is deleted: the naive baselines alone decide")
    require_usable(registry, challenger, CHALLENGER)
    if champion is not None:
        require_usable(registry, champion, CHAMPION)
    against = f"version {champion.number}" if champion else "no champion"
    run.say(f"judging version {challenger.number} against {against} and the naive baselines")
    with tempfile.TemporaryDirectory() as folder:
        results = compare(evidence, run.domain, _models(registry, challenger, champion, Path(folder)))
    gate = run.domain.gate
    decision = decide(results, gate, challenger, champion)
    versions = {"version": challenger.number, "champion": champion.number if champion else None}
    return {**decision.to_dict(), **_details(results, gate), **versions, "leader": leader(decision, gate)}


def decide(results: Mapping[str, Result], gate: Gate, challenger: Version, champion: Version | None) -> Decision:
    """Apply the rule to the results of `challenger`, `v0`, the naive baselines, and `champion` if there is one."""
    labels = {CHALLENGER: f"IntentRec, version {challenger.number}", PLAIN: "V0, next item only"}
    if champion is not None:
        labels[CHAMPION] = f"champion, version {champion.number}"
    systems = [name for name in (CHALLENGER, CHAMPION, PLAIN, *ITEM_NAIVE_BASELINES) if name in results]
    rows = [Row(name, labels.get(name, name), _table_metrics(results[name].metrics, gate.metric)) for name in systems]
    lift = {name: _lift(results, name, gate) for name in systems if name != CHALLENGER}
    return judge(rows, lift, gate, challenger.trained_for, champion.trained_for if champion else None)


def _details(results: Mapping[str, Result], gate: Gate) -> dict[str, Any]:
    """Details for a reviewer: bootstrap intervals of the table's means, and the metrics of every intent by class."""
    systems = [name for name in (CHALLENGER, CHAMPION, PLAIN, *ITEM_NAIVE_BASELINES) if name in results]
    measured = results[CHALLENGER].per_user
    metrics = [name for name in dict.fromkeys([gate.metric, *SHOWN]) if name in measured]
    values_US = np.stack([results[system].per_user[name] for system in systems for name in metrics], axis=1)
    lower_S, upper_S = mean_intervals(values_US, gate.bootstrap, gate.confidence)
    bounds = iter(zip(lower_S.tolist(), upper_S.tolist(), strict=True))
    return {
        "means": {system: {name: list(next(bounds)) for name in metrics} for system in systems},
        "intents": {
            system: {
                name: value
                for name, value in results[system].metrics.items()
                if name.startswith("intent_") and isfinite(value)
            }
            for system in (CHALLENGER, CHAMPION, *INTENT_NAIVE_BASELINES)
            if system in results
        },
    }


def _table_metrics(metrics: Mapping[str, float], first: str) -> dict[str, float]:
    """The gate's metric first; accuracy per class is left out."""
    kept = {name: value for name, value in metrics.items() if "_accuracy_of_" not in name}
    return {name: kept[name] for name in [*([first] if first in kept else []), *(n for n in kept if n != first)]}


def _lift(results: Mapping[str, Result], over: str, gate: Gate) -> Lift:
    ours, theirs = results[CHALLENGER].per_user, results[over].per_user
    if gate.metric not in ours:
        raise PipelineError(f"gate.metric: {gate.metric} is not measured per user; choose one of {', '.join(ours)}")
    return paired_lift(ours[gate.metric], theirs[gate.metric], gate.bootstrap, gate.confidence)


def _models(registry: Registry, challenger: Version, champion: Version | None, folder: Path) -> dict[str, Predictor]:
    models = {CHALLENGER: Predictor.load(registry.artifacts(challenger, folder / CHALLENGER) / "model")}
    if champion is not None:
        models[CHAMPION] = Predictor.load(registry.artifacts(champion, folder / CHAMPION) / "model")
    models[PLAIN] = Predictor.load(tracking.fetch(challenger.run_id, PLAIN, folder))
    return models


def apply(registry: Registry, challenger: Version, decision: Decision) -> str:
    """Move the alias as decided, and return a sentence that says what was done.

    A later judgement on other evidence does not move a version that was promoted or rolled back, or that a person
    decided about. The first must still publish its own week, the second must not come back, and a person's decision
    counts more than the gate's. A champion that no longer passes the gate keeps the alias until another version
    replaces it.
    """
    about = f"version {challenger.number}"
    begun = challenger.gate == PROMOTED and not challenger.applied and not challenger.review
    if begun and decision.promote:  # a gate that was killed while it promoted
        registry.promote(challenger)
        return f"{about} is champion"
    if challenger.gate in (PROMOTED, ROLLED_BACK) or challenger.review in (APPROVED, REJECTED):
        was = challenger.review if challenger.review in (APPROVED, REJECTED) else challenger.gate
        return f"{about} was {str(was).replace('_', ' ')} before, and stays as it is"
    if decision.promote:
        registry.promote(challenger)
        return f"{about} is champion"
    registry.decline(challenger)
    return f"{about} does not become champion"


def _report(run: Run, judged: Mapping[str, Any], decision: Decision) -> None:
    """Write gate.json, which later jobs read for their reports, and print the table."""
    text = json.dumps(judged, indent=1, ensure_ascii=False) + "\n"
    write_text(run.report_dir / "gate.json", text)
    users = int(decision.rows[0].metrics["users"])
    run.counts["gate.users"] = users
    columns = [name for name in dict.fromkeys([run.domain.gate.metric, *SHOWN]) if name in decision.rows[0].metrics]
    table = Table("system", *columns, f"lift in {run.domain.gate.metric}", title=f"Gate {run.start}..{run.end}")
    for row in decision.rows:
        cells = ["-" if isnan(row.metrics.get(name, nan)) else f"{row.metrics[name]:.4f}" for name in columns]
        table.add_row(row.label, *cells, _interval(decision.lift.get(row.system)))
    console = Console(width=180 if not Console().is_terminal else None)
    with console.capture() as shown:
        console.print(table)
    run.say(f"judged\n{shown.get().rstrip()}")
    run.say(f"{_outcome(run.domain.gate, decision)}: {'; '.join(decision.reasons)}")
    best = judged.get("leader")
    if best and run.domain.publishing.naive_baselines:
        run.say(f"the naive baseline {best} is better than what would publish, so it publishes instead")


def _outcome(gate: Gate, decision: Decision) -> str:
    if gate.promotion == "reviewed":
        return f"a person decides, the gate recommends: {decision.recommendation}"
    return "promoted" if decision.promote else "not promoted"


def _interval(lift: Lift | None) -> str:
    return "" if lift is None else f"{lift.estimate:+.1%} [{lift.lower:+.1%}, {lift.upper:+.1%}]"
