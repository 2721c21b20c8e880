"""Weeks that lack what a week usually has. Each is trained, judged and scored, or refused in one line before training.

Without MLflow: what a training measures and writes, the gate's decision, and what publication scores.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from intentrec.config import Domain
from intentrec.contracts import CATALOG, INTERACTIONS, SEQUENCES, TITLE_FACTS, TITLE_STATE
from intentrec.errors import PipelineError, Skip
from intentrec.inference.scorer import Scorer, read_files
from intentrec.inference.seen import SeenTitles
from intentrec.registry.challenger import _train
from intentrec.registry.challenger_record import record
from intentrec.registry.judge import _details, decide
from intentrec.registry.versions import Version
from intentrec.reports.training_report import training_report
from intentrec.storage.runs import Run
from intentrec.training.data import read_catalog, read_sequences
from intentrec.training.inputs import Inputs
from intentrec.training.splits import NothingToTrain
from tests.model import world as rows
from tests.model.world import NO_TITLE_FACTS
from tests.registry import world
from tests.registry.judged import CONFIG

pytestmark = pytest.mark.slow

CUT = world.END - timedelta(days=7)
Change = Callable[[dict], dict]  # of an interaction


def same(each: dict) -> dict:
    """No change."""
    return each


def of(**facts: Any) -> Change:
    """Every interaction has these facts."""
    return lambda each: {**each, **facts}


def only_in_the_last_week(name: str, value: Any) -> Change:
    """A class that no training week has."""
    return lambda each: {**each, name: value} if each["end_ts"].date() > CUT else each


@dataclass(frozen=True)
class World:
    """How a world differs from the usual one, and what is to happen: None, or an error and its text."""

    change: Change = same
    users: int = 8
    titles: int = world.TITLES
    sections: dict[str, dict] = field(default_factory=dict)
    catalog: dict[str, Any] = field(default_factory=dict)
    keep: Callable[[dict], bool] = lambda row: True
    error: tuple[type[Exception], str] | None = None


TITLE = rows.facts(1) | {"title_id": rows.title(1)}
JUDGED = rf"nothing to judge on in \[{CUT}, {world.END}\): no "
WORLDS = {
    "no genres": World(of(genres=[]), catalog={"genres": []}),
    "one user": World(users=1, sections={"training": {"epochs": 1, "validation_days": 6}}),
    "one user, nothing to validate": World(users=1, error=(NothingToTrain, "no validation target before 2026-08-24")),
    "one title": World(of(**TITLE), titles=2),
    "one title, unseen only": World(
        of(**TITLE),
        titles=2,
        sections={"publishing": {"seen_titles": False}},
        error=(Skip, JUDGED + "target that its user had not seen"),
    ),
    "one action type": World(of(action_type="watch")),
    "a class of no training week": World(only_in_the_last_week("action_type", "new")),
    "a genre of no training week": World(only_in_the_last_week("genres", ["new"])),
    "long lists": World(titles=3, sections={"publishing": {"top_k": 50}}),
    "long lists, unseen only": World(users=20, titles=30, sections={"publishing": {"top_k": 50, "seen_titles": False}}),
    "nothing on offer": World(catalog={"available_from": datetime(2030, 1, 1, tzinfo=rows.START.tzinfo)}),
    "no ages": World(of(release_age_days=-1.0)),
    "no labels of any intent": World(
        of(genres=[]),
        catalog={"genres": []},
        sections={"intents": [{"name": "genre", "column": "genres"}]},
        error=(PipelineError, r"has a label of any intent \(genre\)"),
    ),
    "new users only": World(
        keep=lambda row: (row["as_of"] == world.END) == (row["user_id"] >= "u0004"),
        error=(Skip, JUDGED + "target of a user who is served"),
    ),
}


def written(run: Run, chosen: World) -> None:
    """The world's tables."""
    changed = []
    for row in rows.learnable_weeks(3, chosen.users, world.WEEKS, chosen.titles).to_pylist():
        names = [name for name, value in row.items() if isinstance(value, list) and name != "window_start"]
        each = [chosen.change({name: row[name][k] for name in names}) for k in range(len(row["title_id"]))]
        row = row | {name: [one[name] for one in each] for name in names}
        changed += [row] if chosen.keep(row) else []
    sequences = rows.table(changed)
    interactions = world.interactions_of(sequences)
    catalog = [row | chosen.catalog for row in rows.catalog(chosen.titles).to_pylist()]
    world.put(run.warehouse, SEQUENCES, sequences)
    world.put(run.warehouse, CATALOG, pa.Table.from_pylist(catalog, schema=rows.catalog(1).schema))
    world.put(run.warehouse, INTERACTIONS, interactions)
    world.put(run.warehouse, TITLE_FACTS, world.title_facts_of(interactions))
    world.put(run.warehouse, TITLE_STATE, world.state_of(interactions, {CUT, world.END}))


@pytest.mark.parametrize("name", WORLDS)
def test_a_degenerate_week_is_judged_and_scored_or_refused(
    name: str, streaming: Domain, new_run: Callable[..., Run], tmp_path: Path
) -> None:
    chosen = WORLDS[name]
    sections = {"training": {"epochs": 1}, **chosen.sections}
    domain = world.domain_of(streaming, **sections)
    run = new_run("train", CUT, world.END, domain)
    written(run, chosen)
    inputs = Inputs.of(run)
    if chosen.error is not None:
        with pytest.raises(chosen.error[0], match=chosen.error[1]):
            _train(run, inputs, tmp_path / "work")
        return
    trained = _train(run, inputs, tmp_path / "work")
    card = training_report(trained, tmp_path / "work" / "plots")
    assert "NaN" not in json.dumps(list(record(run, CONFIG, trained, card).params.values()))
    version = Version("m", "1", "r", inputs.fingerprint, world.END, None, None, None)
    decision = decide(trained.results, domain.gate, version, None)
    assert decision.reasons
    kept = decision.to_dict() | _details(trained.results, domain.gate)
    assert json.loads(json.dumps(kept)) == kept  # false for NaN

    (tmp_path / "work" / "model").symlink_to(trained.fits["challenger"].directory)
    scorer = Scorer(read_files(tmp_path / "work"), read_catalog(run.warehouse, 0, world.END), NO_TITLE_FACTS, world.END)
    snapshot = read_sequences(run.warehouse, 0, world.END).combine_chunks().to_batches()[0]
    if not domain.publishing.seen_titles:
        users = snapshot.column(snapshot.schema.get_field_index("user_id"))
        snapshot = SeenTitles.read(run.warehouse, 0, world.END, users, domain).add_to(snapshot)
    found = scorer.score(snapshot, domain.publishing.top_k, domain.publishing.seen_titles).to_pylist()
    assert len(found) == len(snapshot) > 0
    expected = chosen.titles if name != "nothing on offer" else 0
    if domain.publishing.seen_titles:
        assert {len(row["title_ids"]) for row in found} == {min(domain.publishing.top_k, expected)}
    for row in found:
        assert dict(row["top_labels"]).keys() == set(trained.intents)
        assert row["primary_intent"] in trained.intents
    missing = {"no genres": {"genre"}, "no ages": {"age"}}.get(name, set())
    assert set(trained.intents) == {intent.name for intent in domain.intents} - missing
