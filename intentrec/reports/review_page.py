"""The page that a reviewer decides on: what the gate measured, what changed, and how some users would be served.

`review_page` is pure. `request_review` reads the registry, and writes the page to the report folder and to MLflow. The
Airflow UI and MLflow render the page as Markdown. Texts from outside (titles, labels, settings) are code spans there.
"""

import hashlib
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from intentrec.config import Gate
from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS, TITLE_STATE
from intentrec.errors import Skip
from intentrec.evaluation.gate import CHALLENGER, CHAMPION, Decision, guardrails
from intentrec.inference.scorer import Scorer, read_files
from intentrec.inference.seen import SeenTitles
from intentrec.registry.changes import Change, changes, data_of, settings_of
from intentrec.registry.health import problem_of
from intentrec.registry.pending import complete
from intentrec.registry.verdicts import awaiting, settle
from intentrec.registry.versions import Registry, Version
from intentrec.reports import templates
from intentrec.reports.markdown import code, table
from intentrec.reports.templates import metric, percent
from intentrec.sources.delivery import simulated_before
from intentrec.storage.runs import Run, ledger
from intentrec.training.data import latest_sequences, read_catalog, read_title_facts, title_names
from intentrec.training.inputs import pin

PAGE = "review.md"  # in the run's report folder, and among the artifacts of the training's MLflow run
SHOWN = ("ndcg_at_10", "recall_at_10", "mrr", "coverage_at_10", "next_mrr", "next_mrr_given_intent")
SLICES = {"new titles": "recall_at_10_new", "cold users": "ndcg_at_10_cold"}
INTENT_SYSTEMS = {
    CHALLENGER: "challenger",
    CHAMPION: "champion",
    "majority": "majority",
    "repeat_last_intent": "repeat last",
}
EXAMPLES = 5  # example users
TITLES = 5  # latest and recommended titles of an example user


@dataclass(frozen=True)
class ReviewRequest:
    """The version that awaits a decision, and the page about it as Markdown."""

    version: Version
    text: str


@dataclass(frozen=True)
class Example:
    """One user.

    Attributes:
        pseudonym: a name without meaning outside the page.
        last: latest titles, oldest first; by name where the catalogue has one.
        intents: the most probable label of each intent, with its probability.
        primary: the intent with the greatest attention weight.
        recommended: first recommendations, best first; by name where the catalogue has one.
    """

    pseudonym: str
    last: list[str]
    intents: dict[str, tuple[str, float]]
    primary: str
    recommended: list[str]


def request_review(run: Run) -> ReviewRequest:
    """Write the page about the newest version that was trained for the run's end and awaits a decision.

    Raises:
        Skip: no version awaits a decision; also if a person has decided in the registry.
    """
    registry = Registry(run.profile, run.domain)
    for line in complete(run, registry) + settle(registry):
        run.say(line)
    waiting = [version for version in awaiting(registry) if version.trained_for == run.end]
    if not waiting:
        raise Skip(f"no version of {registry.name} that was trained for {run.end} awaits a review")
    version = waiting[-1]
    record = registry.decision(version)
    assert record is not None, "a version awaits a review only after the gate recorded its decision"
    champion = registry.find(record["champion"]) if record["champion"] else None
    problem = problem_of(registry, champion) if champion else None
    if problem is not None:
        run.warn(f"the page does not compare with version {record['champion']}: {problem}")
        champion = None
    text = review_page(
        version,
        run.domain.gate,
        record,
        changes(data_of(registry, champion) if champion else {}, data_of(registry, version), equal=True),
        changes(settings_of(registry, champion), settings_of(registry, version)) if champion else [],
        examples(run, registry, version),
        simulated_before(ledger(run.profile, run.domain), run.end, run.domain),
    )
    run.report_dir.mkdir(parents=True, exist_ok=True)
    (run.report_dir / PAGE).write_text(text, encoding="utf-8")
    registry.client.log_text(version.run_id, text, PAGE)
    run.say(f"version {version.number} awaits a decision; the page is {run.report_dir / PAGE}")
    return ReviewRequest(version, text)


def review_page(
    version: Version,
    gate: Gate,
    record: Mapping[str, Any],
    data: Sequence[Change],
    settings: Sequence[Change],
    examples: Sequence[Example],
    simulated: bool,
) -> str:
    """The page as Markdown.

    Args:
        version: under review.
        gate: the domain's rule.
        record: the gate's decision about the version, as gate.json holds it.
        data: dates, table versions and row counts of the trainings of the champion and of the version.
        settings: settings that differ between them.
        examples: some users.
        simulated: whether the version learned from simulated data.
    """
    decision = Decision.from_dict(record)
    metrics = {row.system: row.metrics for row in decision.rows}
    intents, classes = _intents(record.get("intents", {}))
    compared = CHAMPION in metrics
    return templates.render(
        "review_page.md.jinja",
        version=version,
        gate=gate,
        champion=record.get("champion"),
        decision=decision,
        metrics=decision.rows[0].metrics,
        systems=_systems(decision, gate, record.get("means", {})),
        slices=_slices(decision),
        intents=intents,
        classes=classes,
        guardrails=guardrails(metrics[CHALLENGER], metrics[CHAMPION], gate) if compared else None,
        data=_changes(data, "data"),
        settings=_changes(settings, "setting") if settings else "",
        examples=_examples(examples) if examples else "",
        simulated=simulated,
    )


def examples(run: Run, registry: Registry, version: Version, salt: str | None = None) -> list[Example]:
    """Some users of the snapshot as of the run's end, as the version would serve them; empty without a snapshot.

    Args:
        run: its end is the snapshot's date.
        registry: of the version.
        version: the model that scores them.
        salt: of the pseudonyms and of the choice of users. By default it is random and not kept, so that a list of user
            ids does not tell who a user of the page is.
    """
    salt = salt or secrets.token_hex(16)
    snapshot = latest_sequences(run.warehouse, pin(run, SEQUENCES), run.end, run.domain.publishing.active_weeks)
    catalog = read_catalog(run.warehouse, pin(run, CATALOG), run.end)
    title_facts = read_title_facts(run.warehouse, pin(run, TITLE_FACTS), run.end)
    names = [pseudonym(salt, user) for user in snapshot["user_id"].to_pylist()]
    chosen = sorted(range(len(names)), key=names.__getitem__)[:EXAMPLES]
    if not chosen:
        return []
    users = snapshot.take(pa.array(chosen)).combine_chunks().to_batches()[0]
    if not run.domain.publishing.seen_titles:
        ids = users.column(users.schema.get_field_index("user_id"))
        users = SeenTitles.read(run.warehouse, pin(run, TITLE_STATE), run.end, ids, run.domain).add_to(users)
    with tempfile.TemporaryDirectory() as folder:
        scorer = Scorer(read_files(registry.artifacts(version, Path(folder))), catalog, title_facts, run.end)
    scored = scorer.score(users, TITLES, run.domain.publishing.seen_titles, top_labels=1)
    predictions = scored.to_pylist(maps_as_pydicts="strict")
    titles = title_names(catalog)
    histories = users.column(users.schema.get_field_index("title_id")).to_pylist()
    return [
        _example(names[place], history, prediction, titles)
        for place, history, prediction in zip(chosen, histories, predictions, strict=True)
    ]


def pseudonym(salt: str, user_id: str) -> str:
    """Eight hexadecimal digits. Only someone who knows the salt can find the user behind them."""
    return hashlib.sha256(f"{salt}\0{user_id}".encode()).hexdigest()[:8]


def _example(name: str, history: list[str], prediction: dict[str, Any], titles: dict[str, str]) -> Example:
    labels, probabilities = prediction["top_labels"], prediction["top_probabilities"]
    return Example(
        name,
        [titles.get(title, title) for title in history[-TITLES:]],
        {intent: (found[0], probabilities[intent][0]) for intent, found in labels.items() if found},
        prediction["primary_intent"],
        [titles.get(title, title) for title in prediction["title_ids"]],
    )


def _systems(decision: Decision, gate: Gate, means: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    metrics = list(dict.fromkeys([gate.metric, *SHOWN]))
    rows = []
    for row in decision.rows:
        cells = []
        for name in metrics:
            bounds = means.get(row.system, {}).get(name)
            interval = f" [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""
            cells.append(metric(row.metrics.get(name)) + interval)
        lift = decision.lift.get(row.system)
        over = "" if lift is None else f"{percent(lift.estimate)} [{percent(lift.lower)}, {percent(lift.upper)}]"
        rows.append([row.label, *cells, over])
    return table(["system", *metrics, f"lift in {gate.metric}"], rows)


def _slices(decision: Decision) -> str:
    header = ["system", *(f"{name} ({of})" for name, of in SLICES.items())]
    rows = [[row.label, *(metric(row.metrics.get(of)) for of in SLICES.values())] for row in decision.rows]
    return table(header, rows)


def _intents(measured: Mapping[str, Mapping[str, float]]) -> tuple[str, str]:
    """Two tables, empty texts where nothing was measured.

    The first holds the accuracy of every intent beside champion and naive baselines. The second holds the share found
    per class, the class that lost most against the champion first.
    """
    ours, theirs = measured.get(CHALLENGER, {}), measured.get(CHAMPION, {})
    accuracies = [name for name in ours if name.endswith("_accuracy")]
    if not accuracies:
        return "", ""
    systems = [name for name in INTENT_SYSTEMS if name in measured]
    whole = [
        [code(name.removeprefix("intent_").removesuffix("_accuracy"))]
        + [metric(measured[system].get(name)) for system in systems]
        for name in accuracies
    ]
    found = sorted(
        ((name, value, theirs.get(name)) for name, value in ours.items() if "_accuracy_of_" in name),
        key=lambda each: (each[1] - each[2] if each[2] is not None else 0.0, each[0]),
    )
    classes = [
        [code(intent.removeprefix("intent_")), code(label), metric(value), metric(before)]
        for name, value, before in found
        for intent, label in [name.split("_accuracy_of_", 1)]
    ]
    return (
        table(["accuracy", *(INTENT_SYSTEMS[system] for system in systems)], whole),
        table(["intent", "class", "share found", "champion's"], classes),
    )


def _changes(found: Sequence[Change], what: str) -> str:
    rows = [[code(change.what), code(change.champion), code(change.challenger)] for change in found]
    return table([what, "champion", "challenger"], rows)


def _examples(found: Sequence[Example]) -> str:
    rows = []
    for user in found:
        intents = ", ".join(
            f"{code(name)} {code(label)} {probability:.0%}" for name, (label, probability) in user.intents.items()
        )
        last, recommended = (", ".join(map(code, titles)) for titles in (user.last, user.recommended))
        rows.append([user.pseudonym, last, intents, code(user.primary), recommended])
    return table(["user", "last titles", "predicted intents", "greatest weight", "first recommendations"], rows)
