"""The jobs build_interactions and build_sequences: what they write depends only on events, catalogue and rules."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from intentrec import cli
from intentrec.calendar import DAY, week_start_of
from intentrec.config import ROOT, Domain, Profile
from intentrec.contracts import (
    CATALOG,
    ENGAGEMENT_EVENTS,
    FEATURE_PROFILES,
    INTERACTIONS,
    SEQUENCES,
    TITLE_FACTS,
    TITLE_STATE,
)
from intentrec.errors import PipelineError, Superseded
from intentrec.interactions.preview import preview
from intentrec.storage.runs import Run
from intentrec.storage.warehouse import Warehouse, fingerprint
from jobs import build_interactions, build_sequences
from tests.conftest import profile_under, without_audits
from tests.events.days import service_date_of
from tests.interactions.worlds import World, frame, random_world

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_audits")]

CONFIG = ROOT / "conf" / "streaming.yaml"
WEEK = timedelta(days=7)
WEEKS = 3


@pytest.fixture(scope="module")
def world(streaming: Domain) -> World:
    return random_world(51, streaming, weeks=WEEKS, users=5, per_week=15)


def week(domain: Domain, number: int) -> date:
    return domain.calendar.history_start + number * WEEK


def copied(source: Warehouse, profile: Profile) -> Warehouse:
    """A copy of a warehouse under another profile."""
    run = replace(source.run, profile=profile, inputs={}, outputs={}, counts={})
    copytree(source.root, run.warehouse)
    return Warehouse(source.spark, run)


def redeliver(warehouse: Warehouse, world: World) -> None:
    """Make the world's events and catalogue those of a warehouse."""
    start, end = warehouse.run.start, warehouse.run.end
    warehouse.replace(ENGAGEMENT_EVENTS, world.event_frame(warehouse.spark), start, end)
    warehouse.replace(CATALOG, world.catalog_frame(warehouse.spark), start, end)


def build(domain: Domain, profile: Profile, first: int, last: int) -> list[Run]:
    """Both jobs over the weeks [first, last)."""
    of_weeks = week(domain, first), week(domain, last)
    interactions = Run("build_interactions", *of_weeks, domain, profile)
    build_interactions.body(interactions, CONFIG)
    sequences = Run("build_sequences", *of_weeks, domain, profile)
    build_sequences.body(sequences)
    return [interactions, sequences]


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {
        table.name: warehouse.version(table)
        for table in (INTERACTIONS, TITLE_STATE, TITLE_FACTS, FEATURE_PROFILES, SEQUENCES)
    }


@pytest.fixture(scope="module")
def delivered(
    spark: SparkSession, streaming: Domain, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Warehouse:
    """The world's events and catalogue."""
    profile = profile_under(tmp_path_factory.mktemp("delivered"))
    warehouse = Warehouse(spark, Run("ingest", week(streaming, 0), week(streaming, WEEKS), streaming, profile))
    with without_audits():
        redeliver(warehouse, world)
    return warehouse


@pytest.fixture(scope="module")
def straight(
    streaming: Domain, world: World, delivered: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> Warehouse:
    """The tables of all weeks, built in one run each."""
    profile = profile_under(tmp_path_factory.mktemp("straight"))
    warehouse = copied(delivered, profile)
    with without_audits():
        runs = build(streaming, profile, 0, WEEKS)
    assert runs[0].counts["interactions.events"] == len(world.events)
    assert runs[0].counts["interactions.rows"] == runs[0].counts["interactions.visits"] > 50
    assert all(warehouse.current(table).count() for table in (TITLE_STATE, TITLE_FACTS, FEATURE_PROFILES, SEQUENCES))
    return warehouse


@pytest.mark.extended
def test_however_a_range_is_split_and_repeated_the_tables_are_the_same(
    spark: SparkSession,
    streaming: Domain,
    world: World,
    delivered: Warehouse,
    straight: Warehouse,
    profile: Profile,
) -> None:
    expected = straight.checksums()
    warehouse = copied(delivered, profile)
    first_week = week(streaming, 0), week(streaming, 1)
    events = [event for event in world.events if event["event_date"] < first_week[1]]
    warehouse.replace(ENGAGEMENT_EVENTS, frame(spark, events[::2], ENGAGEMENT_EVENTS), *first_week)
    build(streaming, profile, 0, 2)

    # The first week's events arrive after all: it is built again, and then the weeks that it made stale.
    warehouse.replace(ENGAGEMENT_EVENTS, frame(spark, events, ENGAGEMENT_EVENTS), *first_week)
    build(streaming, profile, 0, 1)
    second = week(streaming, 2), week(streaming, 2) + DAY
    states = [fingerprint(each.current(TITLE_STATE, *second)) for each in (warehouse, straight)]
    assert states[0] != states[1], "the state after the second week is stale"
    build(streaming, profile, 1, 3)
    assert warehouse.checksums() == expected

    at = versions(warehouse)
    build(streaming, profile, 1, 2)
    assert (warehouse.checksums(), versions(warehouse)) == (expected, at)


def test_interactions_beyond_the_length_are_counted(streaming: Domain, straight: Warehouse, profile: Profile) -> None:
    """With three positions, all but the latest three of each user's week are left out."""
    short = streaming.model_copy(update={"sequences": streaming.sequences.model_copy(update={"length": 3})})
    warehouse = copied(straight, profile)
    run = Run("build_sequences", week(short, 0), week(short, WEEKS), short, profile)
    build_sequences.body(run)
    in_week: Counter[tuple[str, date]] = Counter()
    for row in straight.current(INTERACTIONS).collect():
        ended = service_date_of(row["end_ts"].replace(tzinfo=UTC), short.calendar)
        if ended < run.end:
            in_week[row["user_id"], week_start_of(ended, short.calendar)] += 1
    assert run.counts["sequences.new_beyond_length"] == sum(max(count - 3, 0) for count in in_week.values()) > 0
    first = 0
    for row in warehouse.current(SEQUENCES).collect():
        new = row["end_ts"][-row["n_new"] :] if row["n_new"] else []
        first += len(row["end_ts"]) == 3 and sum(moment == row["end_ts"][0] for moment in new)
    assert run.counts["sequences.new_in_first_moment_of_full_row"] == first > 0


def test_a_missing_state_is_an_error_with_the_command(
    streaming: Domain, delivered: Warehouse, profile: Profile
) -> None:
    warehouse = copied(delivered, profile)
    start, wanted = week(streaming, 0), week(streaming, 2)
    command = rf"`make backfill FROM={start} TO={wanted} DOMAIN=streaming`"
    with pytest.raises(PipelineError, match=rf"title_state has no rows as of {wanted}.*{command}"):
        build(streaming, profile, 2, 3)
    assert not warehouse.exists(INTERACTIONS)
    with pytest.raises(PipelineError, match=r"interactions does not exist"):
        build_sequences.body(Run("build_sequences", start, wanted, streaming, profile))


@pytest.fixture
def skipped(spark: SparkSession, streaming: Domain, delivered: Warehouse, profile: Profile) -> tuple[date, date]:
    """A week without a run: neither its events nor its state are there when the third week is to be built."""
    warehouse = copied(delivered, profile)
    missing = week(streaming, 1), week(streaming, 2)
    warehouse.replace(ENGAGEMENT_EVENTS, frame(spark, [], ENGAGEMENT_EVENTS), *missing)
    build(streaming, profile, 0, 1)
    return missing


def test_after_skipped_weeks_the_error_names_the_backfill_that_repairs_them(
    streaming: Domain, skipped: tuple[date, date], profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PipelineError, match=r"and then this job again$") as error:
        build(streaming, profile, 2, 3)
    command = re.search(r"`intentrec (backfill --from (\S+) --to (\S+) --config \S+)`", str(error.value))
    assert command is not None
    assert f"`make backfill FROM={skipped[0]} TO={skipped[1]} DOMAIN=streaming`" in str(error.value)
    asked: list[tuple] = []
    monkeypatch.setattr("intentrec.local.backfill.backfill", lambda home, dag, *weeks: asked.append((dag, *weeks[:2])))
    monkeypatch.setenv("INTENTREC_HOME", str(Path(profile.warehouse).parent))
    monkeypatch.chdir(ROOT)
    assert CliRunner().invoke(cli.app, command[1].split()).exit_code == 0
    assert asked == [("intentrec_weekly_streaming", *skipped)]


@pytest.mark.extended
def test_after_the_backfill_of_a_skipped_week_the_tables_are_as_if_it_had_run(
    spark: SparkSession,
    streaming: Domain,
    world: World,
    straight: Warehouse,
    skipped: tuple[date, date],
    profile: Profile,
) -> None:
    """A backfill ingests and builds the skipped week. Then the newest one is built."""
    warehouse = Warehouse(spark, Run("ingest", *skipped, streaming, profile))
    events = [event for event in world.events if skipped[0] <= event["event_date"] < skipped[1]]
    warehouse.replace(ENGAGEMENT_EVENTS, frame(spark, events, ENGAGEMENT_EVENTS), *skipped)
    build(streaming, profile, 1, 2)
    build(streaming, profile, 2, 3)
    assert warehouse.checksums() == straight.checksums()


@pytest.mark.extended
def test_an_attempt_that_was_given_up_changes_nothing_after_its_retry(
    spark: SparkSession,
    streaming: Domain,
    world: World,
    delivered: Warehouse,
    straight: Warehouse,
    profile: Profile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It reads half of the events. Before it commits, the others arrive and the retry builds the week."""
    warehouse, first = copied(delivered, profile), (week(streaming, 0), week(streaming, 1))
    events = [event for event in world.events if event["event_date"] < first[1]]
    warehouse.replace(ENGAGEMENT_EVENTS, frame(spark, events[::2], ENGAGEMENT_EVENTS), *first)
    replace = Warehouse.replace

    def given_up(late: Warehouse, *rows: Any) -> int:
        monkeypatch.setattr(Warehouse, "replace", replace)
        warehouse.replace(ENGAGEMENT_EVENTS, frame(spark, events, ENGAGEMENT_EVENTS), *first)
        build(streaming, profile, 0, 1)
        return late.replace(*rows)

    monkeypatch.setattr(Warehouse, "replace", given_up)
    run = Run("build_interactions", *first, streaming, profile)
    with pytest.raises(Superseded, match=r"^interactions \[2026-08-03, 2026-08-10\): another run wrote this"):
        build_interactions.body(run, CONFIG)
    assert run.outputs == {}
    for table, until in (
        (INTERACTIONS, first[1]),
        (TITLE_STATE, first[1] + DAY),
        (TITLE_FACTS, first[1] + DAY),
        (FEATURE_PROFILES, first[1]),
    ):
        assert fingerprint(warehouse.current(table)) == fingerprint(straight.current(table, end=until))


@pytest.mark.parametrize(
    ("broken", "weeks", "message"),
    [
        ("type", 1, r"events were read but the visits hold .* under events.types"),
        ("item", 1, r"1 visits are of items that no catalogue snapshot .*such as item 'nowhere'; .*run ingest again"),
        ("rule", 1, r"s\.fancy"),
        ("week", 2, r"weeks of 2026-08-10: .*`make backfill FROM=2026-08-10 TO=2026-08-17 "),
    ],
)
def test_input_that_does_not_fit_is_refused_before_anything_is_written(
    streaming: Domain, world: World, delivered: Warehouse, profile: Profile, broken: str, weeks: int, message: str
) -> None:
    """An unknown event type, an unknown item, a rule with an unknown column, and a missing week."""
    events, domain = [dict(event) for event in world.events], streaming
    if broken == "type":
        events[0]["event_type"] = "teleport"
    elif broken == "item":
        events[0]["item_id"] = "nowhere"
    elif broken == "week":
        events = [each for each in events if not week(domain, 1) <= each["event_date"] < week(domain, 2)]
    else:
        first, *others = domain.interactions.action_types
        rules = [first.model_copy(update={"when": "s.fancy > 1"}), *others]
        domain = domain.model_copy(
            update={"interactions": domain.interactions.model_copy(update={"action_types": rules})}
        )
    warehouse = copied(delivered, profile)
    if events != world.events:
        redeliver(warehouse, replace(world, events=events))
    with pytest.raises(PipelineError, match=message):
        build(domain, profile, 0, weeks)
    assert not any(warehouse.exists(table) for table in (INTERACTIONS, TITLE_STATE, TITLE_FACTS, FEATURE_PROFILES))


@pytest.mark.extended
def test_labels_of_other_rules_are_warned_of(
    streaming: Domain, straight: Warehouse, profile: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two weeks were labelled before a rule changed, the third after."""
    copied(straight, profile)
    longer = streaming.interactions.action_types[0].model_copy(update={"when": "r.duration_s > 600"})
    changed = streaming.interactions.model_copy(
        update={"action_types": [longer, *streaming.interactions.action_types[1:]]}
    )
    domain = streaming.model_copy(update={"interactions": changed})
    _, built = build(domain, profile, 2, 3)
    last = week(domain, 2)
    old = [row for row in straight.current(INTERACTIONS).collect() if row["event_date"] < last]
    assert built.counts["sequences.interactions_of_other_rules"] == len(old) > 0
    said = capsys.readouterr().out
    assert f"{len(old)} interactions from {min(row['event_date'] for row in old)}" in said
    assert f"`make backfill FROM={week(domain, 0)} TO={last} DOMAIN=streaming`" in said


def test_part_of_a_week_is_refused(streaming: Domain, profile: Profile) -> None:
    start = week(streaming, 0)
    part = start, start + timedelta(days=3), streaming, profile
    with pytest.raises(PipelineError, match=r"not made of whole weeks"):
        build_interactions.body(Run("build_interactions", *part), CONFIG)
    with pytest.raises(PipelineError, match=r"not made of whole weeks"):
        build_sequences.body(Run("build_sequences", *part))


@pytest.mark.extended
def test_events_after_a_moment_change_nothing_before_it(
    streaming: Domain, world: World, delivered: Warehouse, straight: Warehouse, profile: Profile
) -> None:
    """Events and catalogue facts from the last week on are changed: earlier rows are exactly the same."""
    cut = week(streaming, 2)
    other = random_world(52, streaming, weeks=WEEKS, users=7, per_week=15)
    changed = World(
        [event for event in world.events if event["event_date"] < cut]
        + [event for event in other.events if event["event_date"] >= cut],
        [row for row in world.catalog if row["snapshot_date"] < cut]
        + [row for row in other.catalog if row["snapshot_date"] >= cut],
    )

    second = copied(delivered, profile)
    redeliver(second, changed)
    build(streaming, profile, 0, WEEKS)
    until = {
        INTERACTIONS: cut,
        FEATURE_PROFILES: cut,
        TITLE_STATE: cut + DAY,
        TITLE_FACTS: cut + DAY,
        SEQUENCES: cut + DAY,
    }
    for table, end in until.items():
        known = fingerprint(straight.current(table, end=end))
        assert known.rows
        assert fingerprint(second.current(table, end=end)) == known
        assert fingerprint(second.current(table)) != fingerprint(straight.current(table))


def test_changed_rules_are_previewed_and_nothing_is_written(
    streaming: Domain, world: World, straight: Warehouse
) -> None:
    """Two rules are swapped: the visits that both match get the other label. They are counted from the rows."""
    at = versions(straight)
    run = Run("rules_preview", week(streaming, 2), week(streaming, WEEKS), streaming, straight.run.profile)
    same = preview(Warehouse(straight.spark, run), CONFIG)
    of_week = straight.current(INTERACTIONS, run.start, run.end)
    labels = [row["action_type"] for row in of_week.select("action_type").collect()]
    assert same.before == same.after == Counter(labels)
    assert all(then == now for then, now in same.labels)

    everything = streaming.interactions.action_types[0].model_copy(
        update={"name": "long", "when": "r.duration_s > 600"}
    )
    changed = streaming.interactions.model_copy(
        update={"action_types": [everything, *streaming.interactions.action_types]}
    )
    tried = Run(run.job, run.start, run.end, streaming.model_copy(update={"interactions": changed}), run.profile)
    found = preview(Warehouse(straight.spark, tried), CONFIG)
    rows = of_week.select("action_type", "duration_s").collect()
    expected = Counter((row["action_type"], "long" if row["duration_s"] > 600 else row["action_type"]) for row in rows)
    assert found.labels == expected
    assert found.after["long"] > 0
    assert versions(straight) == at
