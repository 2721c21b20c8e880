"""Visits, labels and states in plain Python: loops over sorted lists. Shares only the calendar with the Spark code.

A visit is a dictionary with the columns of INTERACTIONS and of `visits.CARRIED`; timestamps are aware datetimes.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from intentrec.calendar import week_start_of
from intentrec.config import Domain, seconds
from tests.events.days import service_date_of
from tests.interactions.worlds import World

WEEK = timedelta(days=7)
Facts = dict[tuple[date, str], dict]


def hashes(spark: SparkSession, texts: list[str]) -> dict[str, int]:
    """Spark's 64-bit hash of each text, which breaks ties."""
    rows = spark.createDataFrame([(text,) for text in texts], "t string").select("t", F.xxhash64("t")).collect()
    return dict(map(tuple, rows))


def aware(moment: datetime) -> datetime:
    """What Spark collects is naive local time; tests run in UTC."""
    return moment.replace(tzinfo=UTC)


def end_of(event: dict) -> datetime:
    return event["event_ts"] + timedelta(microseconds=round(event["duration_s"] * 1_000_000))


def facts_of(world: World) -> Callable[[dict], dict]:
    """A function from an event to the catalogue row of its item as of its service date, with its title's release."""
    rows = {(row["snapshot_date"], row["item_id"]): row for row in world.catalog}
    dates = sorted({day for day, _ in rows})

    def look_up(event: dict) -> dict:
        day = max(known for known in dates if known <= event["event_date"])
        row = rows[day, event["item_id"]]
        releases = [
            other["release_ts"]
            for (other_day, _), other in rows.items()
            if other_day == day and other["title_id"] == row["title_id"] and other["release_ts"] is not None
        ]
        return {**row, "title_release_ts": min(releases, default=None)}

    return look_up


def visits(world: World, domain: Domain, tie: dict[str, int]) -> list[dict]:
    """All visits of a world."""
    look_up = facts_of(world)
    found = []
    days: dict[tuple, list[dict]] = {}
    for event in world.events:
        row = {**event, "facts": look_up(event), "tie": tie[event["event_id"]], "end_ts": end_of(event)}
        days.setdefault((event["user_id"], event["event_date"]), []).append(row)
    for events in days.values():
        for session in _sessions(events, seconds(domain.calendar.session_gap)):
            found += [_visit(part, session[0]["event_ts"], domain) for part in _split(session)]
    return found


def _sessions(events: list[dict], gap: int) -> list[list[dict]]:
    sessions: list[list[dict]] = []
    busy_until = None
    for event in sorted(events, key=lambda event: event["event_ts"]):
        if busy_until is None or event["event_ts"] > busy_until + timedelta(seconds=gap):
            sessions.append([])
            busy_until = event["end_ts"]
        sessions[-1].append(event)
        busy_until = max(busy_until, event["end_ts"])
    return sessions


def _split(session: list[dict]) -> list[list[dict]]:
    """Visits of one session: at one instant, titles one after the other in the order of their smallest hash."""
    ordered = []
    for instant in sorted({event["event_ts"] for event in session}):
        together: dict[str, list[dict]] = {}
        for event in sorted((e for e in session if e["event_ts"] == instant), key=lambda event: event["tie"]):
            together.setdefault(event["facts"]["title_id"], []).append(event)
        ordered += [event for events in together.values() for event in events]
    parts: list[list[dict]] = []
    for event in ordered:
        if not parts or parts[-1][-1]["facts"]["title_id"] != event["facts"]["title_id"]:
            parts.append([])
        parts[-1].append(event)
    return parts


def _share(event: dict) -> float | None:
    runtime, position = event["facts"]["runtime_s"], event["position_s"]
    return None if not runtime or position is None else min(max(position / runtime, 0.0), 1.0)


def _visit(events: list[dict], session_start: datetime, domain: Domain) -> dict:
    plays = [event for event in events if event["event_type"] in domain.events.play_types]
    first, last = (plays or events)[0], (plays or events)[-1]
    shares = {id(event): _share(event) for event in plays}
    known = [share for event in plays if (share := shares[id(event)]) is not None]
    of_last = [
        share for event in plays if event["item_id"] == last["item_id"] and (share := shares[id(event)]) is not None
    ]
    changes = [e for e in events if e["event_type"] in (domain.events.list_add, domain.events.list_remove)]
    returned_at = max((e["event_ts"] for e in events if e["event_type"] == domain.events.return_type), default=None)
    end, released = max(event["end_ts"] for event in events), last["facts"]["title_release_ts"]
    return {
        "event_date": events[0]["event_date"],
        "user_id": events[0]["user_id"],
        "account_id": events[0]["account_id"],
        "session_id": f"{events[0]['user_id']}@{session_start:%Y-%m-%dT%H:%M:%S.%fZ}",
        "title_id": last["facts"]["title_id"],
        "first_item_id": first["item_id"],
        "item_id": last["item_id"],
        "start_ts": events[0]["event_ts"],
        "end_ts": end,
        "tie": events[0]["tie"],
        "duration_s": round(sum(event["duration_s"] for event in events), 6),
        "fraction": max(of_last, default=None),
        "event_counts": dict(Counter(event["event_type"] for event in events)),
        "signals": {
            name: round(sum(float(event["extra"].get(name, 0)) for event in events), 6)
            for name in domain.events.signals
        },
        "surface": events[0]["surface"],
        "device": events[0]["device"],
        **{name: last["facts"][name] for name in ("kind", "genres", "creator", "language", "episode")},
        "release_age_days": None if released is None else max((end - released) / timedelta(days=1), 0.0),
        "played": bool(plays),
        "returned": returned_at is not None and all(event["event_ts"] <= returned_at for event in plays),
        "finished": any(share >= domain.interactions.finished_fraction for share in known),
        "list_change": changes[-1]["event_type"] == domain.events.list_add if changes else None,
    }


def order(visit: dict) -> tuple:
    return visit["end_ts"], visit["start_ts"], visit["tie"]


def known_before(visit: dict, everything: list[dict], domain: Domain) -> list[dict]:
    """All visits of the user that ended before this one and have not expired; none that began in a later week."""
    week = week_start_of(visit["event_date"], domain.calendar)
    oldest = week - domain.interactions.state_weeks * WEEK
    found = []
    for other in everything:
        if other["user_id"] == visit["user_id"] and other is not visit:
            there = order(other) < order(visit) and week_start_of(other["event_date"], domain.calendar) <= week
            if there and service_date_of(other["end_ts"], domain.calendar) >= oldest:
                found.append(other)
    return sorted(found, key=order)


def ended_on(visit: dict, domain: Domain) -> date:
    return service_date_of(visit["end_ts"], domain.calendar)


def seen_genres(visit: dict, before: list[dict], domain: Domain) -> set[str]:
    """Genres seen: for titles of earlier weeks those of their last visit, for this week those of all visits."""
    week = week_start_of(visit["event_date"], domain.calendar)
    last = {other["title_id"]: other["genres"] for other in before if ended_on(other, domain) < week}
    this_week = [other["genres"] for other in before if ended_on(other, domain) >= week]
    return {genre for genres in (*last.values(), *this_week) for genre in genres}


def streaming_label(visit: dict, before: list[dict], domain: Domain) -> str:
    """The eleven rules of conf/streaming.yaml by hand."""
    of_title = [other for other in before if other["title_id"] == visit["title_id"]]
    played = _since_return(of_title)
    listed = [other["list_change"] for other in of_title if other["list_change"] is not None]
    counts = visit["event_counts"]
    if visit["duration_s"] < 120:
        if counts.get("list_add"):
            return "save"
        return "sample" if any(counts.get(t) for t in ("play", "search_play", "trailer")) else "browse"
    if played:
        last = played[-1]
        days = max((visit["start_ts"] - last["end_ts"]) / timedelta(days=1), 0)
        finished = last["fraction"] is not None and last["fraction"] >= domain.interactions.finished_fraction
        if days <= 30 and visit["first_item_id"] == last["item_id"] and not finished:
            return "resume"
        if (
            days <= 30
            and visit["episode"] is not None
            and last["episode"] is not None
            and visit["episode"] > last["episode"]
        ):
            return "next_episode"
        return "return" if days > 30 else "rewatch"
    if listed and listed[-1]:
        return "from_list"
    if counts.get("search_play"):
        return "search_play"
    seen = seen_genres(visit, before, domain)
    return "explore" if visit["genres"] and not seen & set(visit["genres"]) else "discover"


def title_after(visit: dict, before: list[dict], domain: Domain) -> dict:
    """The state of the visit's title after it."""
    of_title = [other for other in (*before, visit) if other["title_id"] == visit["title_id"]]
    played = _since_return(of_title)
    changes = [other["list_change"] for other in of_title if other["list_change"] is not None]
    fraction = played[-1]["fraction"] if played else None
    return {
        "last_fraction": fraction,
        "last_finished": fraction is not None and fraction >= domain.interactions.finished_fraction,
        "listed": bool(changes) and changes[-1],
    }


def _since_return(of_title: list[dict]) -> list[dict]:
    """The visits that played a title, without those before its last return."""
    played: list[dict] = []
    for visit in of_title:
        if visit["returned"]:
            played = []
        elif visit["played"]:
            played.append(visit)
    return played


def kuairand_label(visit: dict, before: list[dict], domain: Domain) -> str:
    """The eleven rules of conf/kuairand.yaml by hand."""
    signals = visit["signals"]
    for label, names in {
        "reject": ["is_hate"],
        "share": ["is_forward"],
        "discuss": ["is_comment", "comment_stay_time"],
        "follow": ["is_follow"],
        "visit_author": ["is_profile_enter", "profile_stay_time"],
        "like": ["is_like"],
    }.items():
        if any(signals[name] > 0 for name in names):
            return label
    if not signals["long_view"] > 0:
        return "skip"
    if _since_return([other for other in before if other["title_id"] == visit["title_id"]]):
        return "replay"
    if before and visit["creator"] is not None and visit["creator"] == before[-1]["creator"]:
        return "same_author"
    seen = seen_genres(visit, before, domain)
    return "explore" if visit["genres"] and not seen & set(visit["genres"]) else "watch"


def state(as_of: date, everything: list[dict], domain: Domain) -> dict[tuple[str, str], dict]:
    """title_state in one pass over the visits that ended before `as_of`, in the last state_weeks weeks."""
    oldest = as_of - domain.interactions.state_weeks * WEEK
    rows: dict[tuple[str, str], dict] = {}
    for visit in sorted(everything, key=order):
        if oldest <= ended_on(visit, domain) < as_of:
            row = rows.setdefault((visit["user_id"], visit["title_id"]), {"listed": False})
            row.update(last_touch_ts=visit["end_ts"], genres=visit["genres"], creator=visit["creator"])
            if visit["returned"]:
                row.update(dict.fromkeys(("last_play_ts", "last_item_id", "last_episode", "last_fraction")))
            elif visit["played"]:
                row.update(
                    last_play_ts=visit["end_ts"],
                    last_item_id=visit["item_id"],
                    last_episode=visit["episode"],
                    last_fraction=visit["fraction"],
                )
            if visit["finished"]:
                row.update(last_finished_ts=visit["end_ts"])
            if visit["list_change"] is not None:
                row.update(listed=visit["list_change"], last_listed_ts=visit["end_ts"])
    return rows
