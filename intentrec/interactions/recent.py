"""A user's recent interactions with what explains their labels: the rule, and what the user had done with the title."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from intentrec.calendar import day_start_of, week_start_of
from intentrec.config import Domain

STATE = ("last_play_ts", "last_item_id", "last_episode", "last_fraction", "last_finished_ts", "listed", "last_touch_ts")


@dataclass(frozen=True)
class Recent:
    """One interaction of a sequence.

    Attributes:
        ended: T_k (aware, UTC).
        title_id: the title.
        action_type: its label.
        rules_version: hash of the rules that gave the label; None where `interactions` no longer has the interaction.
        when: condition of the rule that gave the label; None where the domain file has other rules than these.
        state: known facts of `title_state` about the title as of the start of the week; empty for a title that was new
            to the user.
        earlier: labels of the interactions with the title that ended earlier in that week: the rule saw them, too.
    """

    ended: datetime
    title_id: str
    action_type: str
    rules_version: str | None
    when: str | None
    state: dict[str, Any]
    earlier: tuple[str, ...]


def recent(
    positions: Sequence[Mapping[str, Any]],
    interactions: Iterable[Mapping[str, Any]],
    states: Iterable[Mapping[str, Any]],
    domain: Domain,
) -> list[Recent]:
    """Explain interactions of one user, in the order of `positions`.

    Args:
        positions: title_id, start_ts, end_ts and action_type of each.
        interactions: rows of INTERACTIONS of the user: those of `positions`, and all others that ended in their weeks.
        states: rows of TITLE_STATE of the user as of the start of these weeks.
        domain: the domain file.
    """
    rules = {rule.name: rule.when for rule in domain.interactions.action_types}
    in_order = sorted(interactions, key=lambda row: (row["end_ts"], row["start_ts"], row["tie"]))
    places = {_key(row): place for place, row in enumerate(in_order)}
    known = {(row["as_of"], row["title_id"]): row for row in states}
    found = []
    for position in positions:
        title, label = position["title_id"], position["action_type"]
        place = places.get(_key(position))
        version: str | None = None
        state: Mapping[str, Any] = {}
        earlier: tuple[str, ...] = ()
        if place is not None:
            week = week_start_of(in_order[place]["event_date"], domain.calendar)
            version, state = in_order[place]["rules_version"], known.get((week, title), {})
            begun = day_start_of(week, domain.calendar)  # what ended later is not in the state
            same = [each for each in in_order[:place] if each["title_id"] == title and each["end_ts"] >= begun]
            earlier = tuple(each["action_type"] for each in same)
        when = rules.get(label) if version == domain.interactions.rules_version else None
        facts = {name: state[name] for name in STATE if state.get(name) not in (None, False)}
        found.append(Recent(position["end_ts"], title, label, version, when, facts, earlier))
    return found


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["title_id"], row["start_ts"], row["end_ts"]
