"""What a backfill touches and what is stale, against plain walks over the same facts."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intentrec.config import Domain
from intentrec.errors import PipelineError
from intentrec.monitoring import staleness
from intentrec.storage.delta import Commit

WEEK = timedelta(days=7)
FIRST = date(2026, 8, 3)
TABLE = "engagement_events"


def week(number: int) -> date:
    return FIRST + WEEK * number


def days(start: date, count: int) -> list[date]:
    return [start + timedelta(days=number) for number in range(count)]


PARTITIONS = {
    "engagement_events": days(FIRST, 42),
    "interactions": days(FIRST, 42),
    "title_state": [week(number) for number in range(1, 7)],
    "feature_profiles": [week(number) for number in range(6)],
    "sequences": [week(number) for number in range(1, 7)],
    "recommendations": [week(5), week(6)],
}
RELEASES = [{"as_of": week(5)}, {"as_of": week(6)}]


def test_a_plan_replaces_its_weeks_and_names_everything_later(streaming: Domain) -> None:
    found = staleness.plan(week(2), week(4), streaming, PARTITIONS, RELEASES)
    assert found.intervals == [(week(2), week(3)), (week(3), week(4))]
    assert found.rebuilt == {
        "engagement_events": days(week(2), 14),
        "interactions": days(week(2), 14),
        "title_state": [week(3), week(4)],
        "feature_profiles": [week(2), week(3)],
        "sequences": [week(3), week(4)],
    }
    assert found.stale == {
        "interactions": days(week(4), 14),
        "title_state": [week(5), week(6)],
        "feature_profiles": [week(4), week(5)],
        "sequences": [week(5), week(6)],
        "recommendations": [week(5), week(6)],
        "releases": [week(5), week(6)],
    }
    assert found.warnings == []


def test_the_last_week_makes_only_its_own_release_stale(streaming: Domain) -> None:
    found = staleness.plan(week(5), week(6), streaming, PARTITIONS, RELEASES)
    assert found.stale == {"recommendations": [week(6)], "releases": [week(6)]}


def test_a_plan_that_publishes_replaces_its_releases(streaming: Domain) -> None:
    found = staleness.plan(week(5), week(6), streaming, PARTITIONS, RELEASES, publish=True)
    assert found.rebuilt["recommendations"] == [week(6)]
    assert found.stale == {}


def test_state_and_lookback_bound_what_becomes_stale(streaming: Domain) -> None:
    domain = streaming.model_copy(
        update={
            "interactions": streaming.interactions.model_copy(update={"state_weeks": 1}),
            "sequences": streaming.sequences.model_copy(update={"lookback": "1w"}),
        }
    )
    found = staleness.plan(week(0), week(1), domain, PARTITIONS)
    assert found.stale["interactions"] == days(week(1), 7)
    assert found.stale["sequences"] == [week(2)]
    assert "title_state" not in found.stale


def test_a_cascade_goes_on_to_the_last_week_of_any_table(streaming: Domain) -> None:
    """Also where the newest week has events, or interactions, and its snapshot failed."""
    assert staleness.built_until(PARTITIONS, streaming) == week(6)
    for table in ("engagement_events", "interactions"):
        assert staleness.built_until({**PARTITIONS, table: [week(6)]}, streaming) == week(7)
    assert staleness.built_until({**PARTITIONS, "title_state": [week(8)]}, streaming) == week(8)
    assert staleness.built_until({}, streaming) == FIRST


def test_a_gap_before_the_range_is_reported(streaming: Domain) -> None:
    found = staleness.plan(week(8), week(9), streaming, PARTITIONS)
    (warning,) = found.warnings
    assert warning.startswith(f"no title_state as of {week(8)}: the weeks before are missing, so begin with them: ")
    assert f"make backfill FROM={week(6)} TO={week(9)} DOMAIN=streaming" in warning
    assert found.rebuilt == found.stale == {}


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (week(1), week(1), "is empty"),
        (week(-1), week(1), "before calendar.history_start"),
        (week(1) + timedelta(days=1), week(3), "take 2026-08-10..2026-08-24"),
        (week(1), week(3) - timedelta(days=3), "take 2026-08-10..2026-08-24"),
    ],
)
def test_a_range_that_is_not_whole_weeks_is_refused(streaming: Domain, start: date, end: date, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        staleness.plan(start, end, streaming, PARTITIONS)


Step = tuple[str, int, int, bool]  # job, first week, weeks, whether what it writes is new


class World:
    """Runs jobs the way the warehouse does: a commit only where content changes, versions per table.

    Nothing is refused here: an attempt that was given up may write last. The ledger is in the order of their starts.
    """

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.ledger: list[dict] = []
        self.commits: list[Commit] = []
        self.good: dict[tuple[str, date], list[dict]] = {}  # (job, week): its successful attempts
        self.written: list[tuple[int, str, str, date, date]] = []  # moment, run, table, partitions [start, end)
        self.moment = 0
        self.read: dict[str, dict[str, int]] = {}  # by run and table: when it knew what it read
        self.wrote: dict[str, dict[str, int]] = {}  # by run and table: when it had written

    def run(self, step: Step, amid: Sequence[Step] = (), status: str = "succeeded") -> None:
        """One attempt; those of `amid` run after it has read and before it writes."""
        job, start, end = step[0], week(step[1]), week(step[1] + step[2])
        row = {"run_id": f"r{len(self.ledger)}", "job": job, "start": start, "end": end, "status": status}
        self.ledger.append(row)
        row["inputs"] = {table: self.versions[table] for table in READS[job] if table in self.versions}
        read = dict.fromkeys(row["inputs"], self.moment)
        for other in amid:
            self.run(other)
        row["outputs"], written = {}, {}
        for table, shift in WRITES[job]:
            if step[3]:
                self.moment += 1
                self.versions[table] = self.versions.get(table, -1) + 1
                self.commits.append(Commit(table, self.versions[table], row["run_id"]))
                self.written.append((self.moment, row["run_id"], table, start + shift, end + shift))
            if table in self.versions:
                row["outputs"][table], written[table] = self.versions[table], self.moment
        self.read[row["run_id"]], self.wrote[row["run_id"]] = written | read, written
        if status == "succeeded":
            for day in days(start, (end - start).days)[::7]:
                self.good.setdefault((job, day), []).append(row)

    def changed(self, row: dict, since: dict[str, int], table: str, start: date, end: date) -> bool:
        """Whether another run wrote into partitions [start, end) of the table after the attempt knew it."""
        return any(
            at > since[table] and by != row["run_id"] and begin < end and start < until
            for at, by, written, begin, until in self.written
            if written == table and table in since
        )


DAY = timedelta(days=1)
NONE = timedelta(0)
READS = {
    "ingest": ["catalog"],
    "build_interactions": ["engagement_events", "catalog", "title_state"],
    "build_sequences": ["interactions"],
    "publish": ["sequences", "catalog"],
}
WRITES = {
    "ingest": [("engagement_events", NONE), ("quarantine", NONE), ("catalog", NONE)],
    "build_interactions": [("interactions", NONE), ("feature_profiles", NONE), ("title_state", DAY)],
    "build_sequences": [("sequences", DAY)],
    "publish": [],  # nothing that another job reads
}


def needs(job: str, day: date) -> list[tuple[str, date, date]]:
    return {
        "ingest": [("catalog", date.min, day + WEEK)],
        "build_interactions": [
            ("engagement_events", day, day + WEEK),
            ("catalog", date.min, day + WEEK),
            ("title_state", day, day + DAY),
        ],
        "build_sequences": [("interactions", day + WEEK - 52 * WEEK - 2 * DAY, day + WEEK)],
        # Also the sequences of the three weeks before, whose users are served, too.
        "publish": [("sequences", day - 2 * WEEK, day + WEEK + DAY), ("catalog", date.min, day + WEEK)],
    }[job]


INGEST: Step = ("ingest", 0, 1, True)
BUILD: Step = ("build_interactions", 0, 1, True)
STEPS = st.tuples(st.sampled_from(list(READS)), st.integers(0, 4), st.integers(1, 3), st.booleans())


def makes(job: str, day: date) -> list[tuple[str, date, date]]:
    """The partitions of a week that a job writes. Those as_of its end are one date."""
    return [(table, day + shift, day + WEEK + shift) for table, shift in WRITES[job]]


@given(st.lists(st.tuples(STEPS, st.lists(STEPS, max_size=2)), max_size=8))
@settings(max_examples=200)
def test_stale_is_what_no_attempt_made_from_the_rows_of_now(streaming: Domain, steps: list) -> None:
    """Also where another run changed rows between what an attempt read and what it wrote."""
    world = World()
    for step, amid in steps:
        world.run(step, amid)
    expected = {
        (job, day)
        for (job, day), rows in world.good.items()
        if all(
            any(world.changed(row, world.read[row["run_id"]], *need) for need in needs(job, day))
            or any(world.changed(row, world.wrote[row["run_id"]], *made) for made in makes(job, day))
            for row in rows
        )
    }
    assert staleness.stale_weeks(world.ledger, world.commits, streaming) == expected


@pytest.mark.parametrize(
    ("steps", "stale"),
    [
        # An attempt is given up. Its process reads, the events change, the retry ends, and then the attempt writes.
        ([(BUILD, [INGEST, BUILD])], {("build_interactions", FIRST)}),
        # The attempt finds the rows of the retry as it would have written them.
        ([((*BUILD[:3], False), [INGEST, BUILD])], set()),
        # A retry afterwards.
        ([(BUILD, [INGEST, BUILD]), (BUILD, [])], set()),
        # The last that wrote is the one whose inputs are those of now.
        ([(INGEST, []), (BUILD, [BUILD])], set()),
        # Another week's events change nothing for this one.
        ([(BUILD, [("ingest", 3, 1, True), BUILD])], set()),
    ],
)
def test_the_attempt_that_wrote_last_counts_whichever_started_last(
    streaming: Domain, steps: list[tuple[Step, list[Step]]], stale: set
) -> None:
    world = World()
    world.run(INGEST)
    for step, amid in steps:
        world.run(step, amid)
    assert staleness.stale_weeks(world.ledger, world.commits, streaming) == stale


def test_a_week_into_which_a_failed_attempt_wrote_is_stale(streaming: Domain) -> None:
    """A killed attempt replaced the interactions and not the title state."""
    world = World()
    world.run(INGEST)
    world.run(BUILD)
    world.run(BUILD, status="running")
    assert staleness.stale_weeks(world.ledger, world.commits, streaming) == {("build_interactions", FIRST)}
    world.run(BUILD)
    assert staleness.stale_weeks(world.ledger, world.commits, streaming) == set()


def test_failed_attempts_and_foreign_commits_count_for_nothing(streaming: Domain) -> None:
    world = World()
    world.run(("ingest", 0, 1, True))
    world.run(("build_interactions", 0, 1, True))
    world.run(("build_interactions", 0, 1, False), status="failed")
    world.commits.append(Commit("engagement_events", 9, None))
    assert staleness.stale_weeks(world.ledger, world.commits, streaming) == set()


def test_a_week_whose_events_another_week_corrects_is_stale_until_it_reads_them(streaming: Domain) -> None:
    """Versions of the events' table: the first week commits 0, the second 1; the first reads 1 when it comes again."""

    def ingested(number: int, inputs: dict, outputs: int, corrected: int) -> dict:
        row = {"run_id": str(outputs), "job": "ingest", "start": week(number), "end": week(number + 1)}
        counts = {f"events.corrected.{FIRST}": corrected}
        return {**row, "status": "succeeded", "inputs": inputs, "outputs": {TABLE: outputs}, "counts": counts}

    ledger = [ingested(0, {}, 0, 0), ingested(1, {TABLE: 0}, 1, 2)]
    assert staleness.corrected_weeks(ledger, streaming) == {("ingest", FIRST)}
    assert staleness.corrected_weeks([*ledger, ingested(0, {TABLE: 1}, 2, 0)], streaming) == set()
    assert staleness.corrected_weeks([*ledger, ingested(1, {TABLE: 1}, 2, 0)], streaming) == set(), "taken back"


def test_a_failed_audit_is_shown_until_a_later_attempt(streaming: Domain) -> None:
    """Another failure is not an audit's, and a range that failed shows in each of its weeks."""
    attempts = [
        ("ingest", 0, 1, "failed", "AuditFailed: interactions: ..."),
        ("ingest", 0, 1, "succeeded", None),
        ("ingest", 1, 3, "failed", "AuditFailed: catalog: ..."),
        ("ingest", 3, 4, "failed", "PartialDelivery: the delivery is not whole"),
        ("build_sequences", 0, 1, "failed", "PipelineError: no table"),
    ]
    ledger = [
        {"job": job, "start": week(a), "end": week(b), "status": status, "message": message, "started_at": number}
        for number, (job, a, b, status, message) in enumerate(attempts)
    ]
    assert staleness.refused_weeks(ledger, streaming) == {
        ("ingest", week(1)),
        ("ingest", week(2)),
        ("ingest", week(3)),
    }
