"""Which weeks a rebuild makes stale, and which are stale now. Pure.

The chain of tables, for a week W:

    events of W (and of visits that reach into it), the state before W  ->  interactions of W, the state after W
    interactions of the lookback before the end of W                    ->  the sequences as of the end of W
    the sequences as of the end of W and of the active weeks before it  ->  a release
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from intentrec import calendar
from intentrec.calendar import DAY, WEEK, week_start_of, weeks_between
from intentrec.config import Domain, seconds
from intentrec.contracts import ENGAGEMENT_EVENTS, TABLES
from intentrec.contracts import PUBLISHED as PUBLISHED_TABLES
from intentrec.errors import AuditFailed, PartialDelivery, backfill_command
from intentrec.events.versions import CORRECTED
from intentrec.sequences.arrays import read_from
from intentrec.storage.delta import Commit
from intentrec.training.data import known_from, served_from

PUBLISHED = tuple(table.name for table in PUBLISHED_TABLES)
# The jobs of a week in their order, and the tables that each writes.
WRITES: dict[str, tuple[str, ...]] = {
    "ingest": ("engagement_events", "quarantine", "catalog"),
    "build_interactions": ("interactions", "title_state", "title_facts", "feature_profiles"),
    "build_sequences": ("sequences",),
    "train": (),
    "gate": (),
    "publish": (*PUBLISHED, "releases"),
}
REFUSALS = (AuditFailed.__name__, PartialDelivery.__name__)  # how the message of a refused attempt begins
JOBS = tuple(job for job, tables in WRITES.items() if tables)


@dataclass(frozen=True)
class Span:
    """Partition dates [start, end) of a table."""

    table: str
    start: date
    end: date

    def meets(self, other: "Span") -> bool:
        """Whether both spans contain a common partition."""
        return self.table == other.table and self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Change:
    """A commit: the partitions that it may have changed, the table's version, and the attempt that made it."""

    span: Span
    version: int
    run_id: str


def reads(job: str, start: date, end: date, domain: Domain) -> list[Span]:
    """The partitions that a job reads for [start, end). Of the catalogue it reads all earlier snapshots, too."""
    publishing = domain.publishing
    learned = domain.training.weeks if publishing.naive_baselines else 0  # item-kNN learns when it publishes
    return {
        "ingest": [Span("catalog", date.min, end)],
        "build_interactions": [
            Span("engagement_events", start - domain.events.longest_visit, end),
            Span("catalog", date.min, end),
            Span("title_state", start, start + DAY),
        ],
        "build_sequences": [Span("interactions", read_from(start + WEEK, domain), end)],
        "publish": [
            Span("sequences", served_from(end, max(publishing.active_weeks, learned)), end + DAY),
            Span("title_facts", known_from(end), end + DAY),
            Span("title_state", end, end + DAY),
            Span("catalog", date.min, end),
        ],
    }.get(job, [])


def writes(job: str, start: date, end: date) -> list[Span]:
    """The partitions that a job writes for [start, end): the dates in it, and for snapshots the ends of its weeks.

    A publication writes the snapshot as of `end` only.
    """
    spans = []
    for name in WRITES.get(job, ()):
        partition = TABLES[name].partition
        if partition == "as_of":
            spans.append(Span(name, end if job == "publish" else start + DAY, end + DAY))
        elif partition is not None:
            spans.append(Span(name, start, end))
    return spans


def weeks(start: date, end: date, domain: Domain) -> list[tuple[date, date]]:
    """The weekly intervals of [start, end).

    Raises:
        PipelineError: it is empty, before the data begins, or not whole weeks.
    """
    return [(week, week + WEEK) for week in calendar.weeks(start, end, domain.calendar)]


@dataclass(frozen=True)
class Plan:
    """What a backfill will do.

    Attributes:
        intervals: its weeks, [start, end) each.
        rebuilt: partitions that it replaces, by table.
        stale: later partitions that rest on the replaced ones, by table.
        warnings: sentences for the person who asked.
    """

    intervals: list[tuple[date, date]]
    rebuilt: dict[str, list[date]] = field(default_factory=dict)
    stale: dict[str, list[date]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def built_until(partitions: Mapping[str, Iterable[date]], domain: Domain) -> date:
    """End of the last week with rows in any table before publication; the history's start where there is none."""
    first = domain.calendar.history_start
    ends = {day for name in ("title_state", "sequences") for day in partitions.get(name, ())}
    inside = {day for name in ("engagement_events", "interactions") for day in partitions.get(name, ())}
    return max(ends | {week_start_of(day, domain.calendar) + WEEK for day in inside}, default=first)


def plan(
    start: date,
    end: date,
    domain: Domain,
    partitions: Mapping[str, Iterable[date]],
    releases: Iterable[Mapping] = (),
    publish: bool = False,
) -> Plan:
    """What rebuilding [start, end) replaces, and which later partitions then rest on replaced rows.

    A week influences the labels of the next `state_weeks`, and a label the sequences of the lookback after it.

    Args:
        start: first service date.
        end: service date after the last.
        domain: the domain file.
        partitions: partition dates that exist, by table.
        releases: rows of the table `releases`.
        publish: whether the backfill publishes its weeks, too.

    Raises:
        PipelineError: the range is not whole weeks of the domain's history.
    """
    intervals = weeks(start, end, domain)
    jobs = JOBS if publish else JOBS[:-1]
    written = [span for job in jobs for week in intervals for span in writes(job, *week)]
    state = WEEK * domain.interactions.state_weeks
    lookback = timedelta(seconds=seconds(domain.sequences.lookback))
    reach = {
        "title_state": Span("title_state", end + DAY, end + state),
        "interactions": Span("interactions", end, end + state),
        "title_facts": Span("title_facts", end + DAY, end + state),
        "feature_profiles": Span("feature_profiles", end, end + state),
        "sequences": Span("sequences", end + DAY, end + state + lookback),
    }
    served = WEEK * (domain.publishing.active_weeks - 1)
    reach |= {name: Span(name, start + DAY, end + state + lookback + served) for name in PUBLISHED}
    found = Plan(intervals)
    for table, days in partitions.items():
        for day in sorted(days):
            here = Span(table, day, day + DAY)
            if any(here.meets(span) for span in written):
                found.rebuilt.setdefault(table, []).append(day)
            elif table in reach and here.meets(reach[table]):
                found.stale.setdefault(table, []).append(day)
    if stale := sorted(
        {row["as_of"] for row in releases if row["as_of"] > start} - set(found.rebuilt.get(PUBLISHED[0], []))
    ):
        found.stale["releases"] = stale
    if start > domain.calendar.history_start and start not in set(partitions.get("title_state", ())):
        built = [day for day in partitions.get("title_state", ()) if day < start]
        begin = max(built, default=domain.calendar.history_start)
        command = backfill_command(domain.domain, begin, end)
        found.warnings.append(
            f"no title_state as of {start}: the weeks before are missing, so begin with them: {command}"
        )
    return found


def stale_weeks(ledger: Iterable[Mapping], commits: Iterable[Commit], domain: Domain) -> set[tuple[str, date]]:
    """Weeks whose rows no successful attempt made from the inputs as they are now.

    The order of commits decides, not that of the attempts: the one that started last need not be the one that wrote
    last. An attempt counts while no other one changed what it read, or wrote into its rows, afterwards. A rerun that
    changes no row makes no commit, so it makes nothing stale.

    Args:
        ledger: as `storage.runs.ledger` returns it.
        commits: as `storage.delta.commits` returns them.
        domain: the domain file.

    Returns:
        Pairs of job and first service date of the week.
    """
    attempts = {row["run_id"]: row for row in ledger}
    changes: dict[str, list[Change]] = {}
    for commit in commits:
        by = attempts.get(commit.run_id or "")
        if by is None:
            continue
        for span in writes(by["job"], by["start"], by["end"]):
            if span.table == commit.table:
                changes.setdefault(commit.table, []).append(Change(span, commit.version, by["run_id"]))
    made: dict[tuple[str, date], list[Mapping]] = {}
    for row in attempts.values():
        if row["job"] in JOBS and row["status"] == "succeeded":
            for day in _week_starts(row["start"], row["end"], domain):
                made.setdefault((row["job"], day), []).append(row)
    return {
        (job, day)
        for (job, day), rows in made.items()
        if all(_overtaken(row, day, changes, domain) for row in reversed(rows))
    }


def _overtaken(row: Mapping, day: date, changes: Mapping[str, Sequence[Change]], domain: Domain) -> bool:
    """Whether another attempt changed what `row` read for the week, or wrote into the rows that it made of it."""
    known = [(span, _known(row, span.table)) for span in reads(row["job"], day, day + WEEK, domain)]
    known += [(span, row["outputs"].get(span.table, float("inf"))) for span in writes(row["job"], day, day + WEEK)]
    return any(
        change.version > version and change.run_id != row["run_id"] and change.span.meets(span)
        for span, version in known
        for change in changes.get(span.table, ())
    )


def corrected_weeks(ledger: Iterable[Mapping], domain: Domain) -> set[tuple[str, date]]:
    """Weeks that hold events of which another week has a later version, which they did not read.

    Args:
        ledger: as `storage.runs.ledger` returns it. An ingest run counts what it corrects (`versions.CORRECTED`).
        domain: the domain file.

    Returns:
        Pairs of job and first service date of the week.
    """
    table, found = ENGAGEMENT_EVENTS.name, set()
    latest = latest_successes(ledger, domain)
    for by in latest.values():
        for name, events in by.get("counts", {}).items():
            if events and name.startswith(CORRECTED):
                place = ("ingest", date.fromisoformat(name.removeprefix(CORRECTED)))
                if place in latest and by["outputs"][table] > _known(latest[place], table):
                    found.add(place)
    return found


def latest_successes(ledger: Iterable[Mapping], domain: Domain) -> dict[tuple[str, date], Mapping]:
    """The latest successful attempt by job and week."""
    return {
        (row["job"], day): row
        for row in ledger
        if row["job"] in JOBS and row["status"] == "succeeded"
        for day in _week_starts(row["start"], row["end"], domain)
    }


def refused_weeks(ledger: Iterable[Mapping], domain: Domain) -> set[tuple[str, date]]:
    """Pairs of job and week whose latest attempt was refused, so that its rows never became visible.

    It failed a critical audit, or its delivery was not whole.
    """
    latest: dict[tuple[str, date], Mapping] = {}
    for row in sorted(ledger, key=lambda row: row["started_at"]):
        for day in _week_starts(row["start"], row["end"], domain):
            latest[row["job"], day] = row
    return {
        place
        for place, row in latest.items()
        if row["status"] == "failed" and (row["message"] or "").startswith(REFUSALS)
    }


def _week_starts(start: date, end: date, domain: Domain) -> list[date]:
    first = domain.calendar.history_start
    return weeks_between(start + (first - start) % WEEK, end)


def _known(row: Mapping, table: str) -> float:
    """The version of the table that the attempt read or, if it did not read it, wrote.

    Infinity for a table that it never opened: no version of it is newer for this attempt.
    """
    return row["inputs"].get(table, row["outputs"].get(table, float("inf")))
