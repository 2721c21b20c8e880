"""One week of a delivery under a domain file: what ingestion would accept, and which labels the rules would give.

Nothing is written and no table is read, so the week is judged without a history: titles that a user knew before it look
new.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StringType

from intentrec.config import Domain
from intentrec.errors import did_you_mean
from intentrec.events.catalog import check_catalog, required_snapshots
from intentrec.events.check import checked_events
from intentrec.events.outcomes import ACCEPTED, Judged, arrival_dates, outcomes
from intentrec.events.reasons import Refusal, refusals
from intentrec.interactions import state
from intentrec.interactions.build import label, with_facts
from intentrec.interactions.conditions import column, compared_texts
from intentrec.interactions.visits import visits
from intentrec.sources import load
from intentrec.sources.integrity import unchanged
from intentrec.storage.runs import Run

MOST_EVENTS = 200_000  # raw events that a sample holds at most


@dataclass(frozen=True)
class Labels:
    """Labels of the visits of a sample.

    Attributes:
        visits: number of visits by action type; the visits that no rule matches have the key None.
        targets: number of visits that may be predicted.
        matches: number of visits that match each rule, also if an earlier rule labels them.
    """

    visits: Mapping[str | None, int]
    targets: int
    matches: Mapping[str, int]


@dataclass(frozen=True)
class Sample:
    """What a week of a delivery holds.

    Attributes:
        start: first service date of the week.
        end: service date after the last.
        whole: whether all raw events were read, not only the first MOST_EVENTS.
        events: raw events by outcome.
        items: catalogue rows by outcome.
        refusals: refused rows by reason, the most frequent first.
        users: users with an accepted event.
        titles: titles with an accepted event.
        days: service dates with an accepted event.
        hours: accepted events by hour of the day in `calendar.zone`.
        labels: of the visits.
        warnings: what in the domain file does not fit the sample.
    """

    start: date
    end: date
    whole: bool
    events: Mapping[str, int]
    items: Mapping[str, int]
    refusals: Sequence[Refusal]
    users: int
    titles: int
    days: Sequence[date]
    hours: Mapping[int, int]
    labels: Labels
    warnings: Sequence[str]


def sample(spark: SparkSession, run: Run) -> Sample:
    """Read the run's week with the domain's reader, and judge and label it.

    Args:
        spark: the session.
        run: names the week, the domain and the folder of the raw files.

    Raises:
        PipelineError: files are missing or cannot be read, or no catalogue snapshot holds on the first day.
    """
    domain = run.domain
    reader = load(domain.source.reader)
    # The catalogue of an earlier week may still hold.
    raw_items = reader.read_catalog(spark, replace(run, start=domain.calendar.history_start))
    with unchanged(raw_items):
        items = check_catalog(raw_items)
    snapshots = required_snapshots(items.accepted, run.start, run.end)
    raw_events = reader.read_events(spark, run, *arrival_dates(run.start, run.end, domain, include_late=False))
    with unchanged(raw_events):
        checked = checked_events(raw_events.limit(MOST_EVENTS), domain).localCheckpoint()
    judged = Judged(
        outcomes(
            checked,
            items.accepted,
            snapshots,
            run.start,
            run.end,
            domain,
            include_late=False,
            refused_items=items.refused_ids,
        ).localCheckpoint()
    )
    by_day = judged.by_day()
    by_outcome = {outcome: sum(days.values()) for outcome, days in by_day.items()}
    known = with_facts(judged.accepted, items.accepted, snapshots).localCheckpoint()
    hour = F.hour(F.from_utc_timestamp(F.col("event_ts"), domain.calendar.zone))
    hours = {row["hour"]: row["count"] for row in known.groupBy(hour.alias("hour")).count().collect()}
    counted = known.agg(F.count_distinct("user_id"), F.count_distinct("title_id")).first()
    assert counted is not None
    scoped = state.before_visits(visits(known, domain), state.empty(spark), domain).localCheckpoint()
    labelled = label(scoped, domain).localCheckpoint()
    labels = _labels(scoped, labelled, domain)
    return Sample(
        start=run.start,
        end=run.end,
        whole=sum(by_outcome.values()) < MOST_EVENTS,
        events=by_outcome,
        items=items.count,
        refusals=refusals(judged.refused.unionByName(items.refused)),
        users=counted[0],
        titles=counted[1],
        days=sorted(by_day[ACCEPTED]),
        hours=hours,
        labels=labels,
        warnings=[
            *_of_events(known, domain),
            *_of_rules(labels, domain),
            *_of_texts(scoped, labelled, domain),
            *_of_intents(labelled, domain),
            *_of_days(hours, domain),
        ],
    )


def _labels(scoped: DataFrame, labelled: DataFrame, domain: Domain) -> Labels:
    by_label = labelled.groupBy("action_type").agg(F.count("*"), F.count_if("is_target")).collect()
    names = [rule.name for rule in domain.interactions.action_types]
    matched = scoped.agg(*[F.count_if(column(rule.when)) for rule in domain.interactions.action_types]).first()
    assert matched is not None
    return Labels(
        {row[0]: row[1] for row in by_label}, sum(row[2] for row in by_label), dict(zip(names, matched, strict=True))
    )


def _of_events(known: DataFrame, domain: Domain) -> list[str]:
    """Event types and signals that no accepted event has."""
    signals, types = domain.events.signals, domain.events.types
    held = known.agg(
        *[F.count_if(F.col("extra").getItem(name).isNotNull()) for name in signals],
        *[F.count_if(F.col("event_type") == name) for name in types],
    ).first()
    assert held is not None
    keys = [("signals", name) for name in signals] + [("types", name) for name in types]
    return [
        f"events.{key}: no accepted event has the {key.removesuffix('s').replace('type', 'event_type')} {name}"
        for (key, name), rows in zip(keys, held, strict=True)
        if not rows
    ]


def _of_rules(labels: Labels, domain: Domain) -> list[str]:
    """Rules that label no visit, and visits without a label."""
    found = []
    if labels.visits.get(None):
        found.append(
            f"interactions.action_types: {labels.visits[None]:,} visits match no rule, and build_interactions refuses "
            'them: let the last rule have `when: "true"`'
        )
    for rule in domain.interactions.action_types:
        if labels.visits.get(rule.name) or rule.when.strip().lower() == "true":  # the rule for all other visits
            continue
        matches = labels.matches[rule.name]
        why = f"the rules before it label all {matches:,} visits that it matches" if matches else "it matches no visit"
        history = "; the sample has no history before its week" if any(f"{each}." in rule.when for each in "su") else ""
        found.append(f"interactions.action_types: {rule.name} labels no visit: {why}{history}")
    if not labels.targets:
        found.append("interactions.target_when: no visit is a target, so there is nothing to train on")
    return found


def _of_texts(scoped: DataFrame, labelled: DataFrame, domain: Domain) -> list[str]:
    """Texts in conditions that the columns they are compared with never hold."""
    spark, names = scoped.sparkSession, [rule.name for rule in domain.interactions.action_types]
    conditions = [(f"action_types ({rule.name})", rule.when, scoped) for rule in domain.interactions.action_types]
    found = []
    for key, condition, frame in [*conditions, ("target_when", domain.interactions.target_when, labelled)]:
        for name, text in sorted(compared_texts(spark, condition)):
            if name == "action_type":
                known, near = text in names, did_you_mean(text, names)
            else:
                known, near = _held(frame, name, text), ""
            if not known:
                where = "an action type" if name == "action_type" else f"a value of {name} in the sample"
                found.append(f"interactions.{key}: {text!r} is not {where}{near}")
    return found


def _held(frame: DataFrame, name: str, text: str) -> bool:
    """Whether some row's column has this text; also true for columns that hold no texts."""
    is_held = _holds(frame.select(name).schema[0].dataType, F.col(name), text)
    return is_held is None or not frame.where(is_held).isEmpty()


def _holds(of: DataType, value: Column, text: str) -> Column | None:
    match of:
        case StringType():
            return value == text
        case ArrayType(elementType=StringType()):
            return F.array_contains(value, text)
        case MapType(keyType=StringType()):
            return F.map_contains_key(value, text)
    return None


def _of_intents(labelled: DataFrame, domain: Domain) -> list[str]:
    """Intents with fewer than two values among the targets, so that there is nothing to predict."""
    chosen = [each for each in domain.intents if not each.bins]
    ends = []
    for each in chosen:
        value = F.col(each.column)
        ends.append(F.min(F.array_min(value) if each.multi_label else value))
        ends.append(F.max(F.array_max(value) if each.multi_label else value))
    held = labelled.where("is_target").agg(*ends).first() if ends else ()
    assert held is not None
    found = []
    for each, least, most in zip(chosen, held[::2], held[1::2], strict=True):
        if least == most:
            only = f"only the value {least!r}" if least is not None else "no value"
            found.append(f"intents ({each.name}): the sample's targets have {only} of {each.column}")
    return found


def _of_days(hours: Mapping[int, int], domain: Domain) -> list[str]:
    """Whether service days start at a busy hour, which parts sessions."""
    at, total = domain.calendar.day_start.hour, sum(hours.values())
    if hours.get(at, 0) * 24 <= total:
        return []
    quiet = min(range(24), key=lambda hour: (hours.get(hour, 0), (hour - at) % 24))
    return [
        f"calendar.day_start: {hours[at] / total:.0%} of the events begin in the hour of {at:02}:00 in "
        f"{domain.calendar.zone}, and a session ends where a service day does; the quietest hour is {quiet:02}:00"
    ]
