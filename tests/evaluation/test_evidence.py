"""The week that models are judged on: what is read, and what was known before it."""

from collections.abc import Callable
from datetime import date, timedelta

import pyarrow as pa
import pytest

from intentrec.contracts import CATALOG, INTERACTIONS, SEQUENCES, TITLE_FACTS, TITLE_STATE
from intentrec.errors import Skip
from intentrec.evaluation.evidence import read_evidence
from intentrec.storage.runs import Run
from tests.model import world as rows
from tests.registry import world

CUT, END = world.END - timedelta(days=7), world.END
DAY = timedelta(days=1)


def written(run: Run, snapshots: list[date]) -> None:
    """Sequences of five weeks; one interaction a title, each of its own sort, dated by hand."""
    sequences = rows.learnable_weeks(3, 4, world.WEEKS, world.TITLES)
    sort = {"is_target": True, "left_censored": False, "release_age_days": 2.5}
    made = {
        "wanted": (CUT, {}),
        "on the last day": (END - DAY, {}),
        "skipped": (CUT + DAY, {"is_target": False}),
        "censored": (CUT + DAY, {"left_censored": True}),
        "after": (END, {}),
        "before": (CUT - DAY, {}),
        "a week before": (CUT - 7 * DAY, {}),
        "long before": (CUT - 8 * DAY, {}),
    }
    template = world.interactions_of(sequences).to_pylist()[0]
    interactions = [
        {**template, **sort, "title_id": title, "event_date": day, **change} for title, (day, change) in made.items()
    ]
    world.put(run.warehouse, SEQUENCES, sequences)
    world.put(run.warehouse, TITLE_STATE, world.state_of(world.interactions_of(sequences), {CUT, END}))
    world.put(run.warehouse, CATALOG, pa.concat_tables([rows.catalog(2, day) for day in snapshots]))
    dated = pa.Table.from_pylist(interactions, world.interactions_of(sequences).schema)
    world.put(run.warehouse, INTERACTIONS, dated)
    world.put(run.warehouse, TITLE_FACTS, world.title_facts_of(dated))


def test_evidence_holds_the_judged_week_and_what_was_known_before(new_run: Callable[..., Run]) -> None:
    run = new_run("gate", CUT, END)
    written(run, [world.FIRST, CUT - DAY, CUT, END - DAY, END])
    found = read_evidence(run)
    assert (found.cut, found.end) == (CUT, END)
    assert sorted(found.targets["title_id"].to_pylist()) == ["on the last day", "wanted"]
    known = {(row["as_of"], row["title_id"]) for row in found.title_facts.to_pylist()}
    assert known == {(CUT, "a week before"), (CUT, "before"), (CUT - 7 * DAY, "long before")}
    assert set(found.catalog_before["snapshot_date"].to_pylist()) == {world.FIRST, CUT - DAY}
    assert set(found.catalog["snapshot_date"].to_pylist()) == {world.FIRST, CUT - DAY, CUT, END - DAY}
    assert set(found.before["as_of"].to_pylist()) == {CUT}
    assert set(found.week["as_of"].to_pylist()) == {END}
    learned = [day for batch in found.learned() for day in batch["as_of"].to_pylist()]
    assert sorted(set(learned)) == [world.FIRST + week * 7 * DAY for week in (1, 2, 3)]


def test_a_week_without_evidence_is_skipped(new_run: Callable[..., Run]) -> None:
    run = new_run("gate", world.FIRST, world.FIRST + 7 * DAY)
    written(run, [world.FIRST])
    with pytest.raises(Skip, match=f"no snapshot as of {world.FIRST}"):
        read_evidence(run)
