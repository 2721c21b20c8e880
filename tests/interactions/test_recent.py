"""Which rule named an interaction, and what it saw of the title."""

from datetime import UTC, date, datetime, timedelta

from intentrec.config import Domain
from intentrec.interactions.recent import Recent, recent

MONDAY = date(2026, 8, 31)
NOON = datetime(2026, 8, 31, 19, tzinfo=UTC)


def test_the_rule_and_the_state_before_each_interaction(streaming: Domain) -> None:
    """A title that was known at the start of the week and came twice in it, and two that the tables do not explain."""
    rules = {rule.name: rule.when for rule in streaming.interactions.action_types}
    version = streaming.interactions.rules_version

    def row(title: str, days: int, label: str, rules_version: str = version) -> dict:
        moment = NOON + timedelta(days=days)
        times = {"start_ts": moment, "end_ts": moment + timedelta(hours=1), "tie": days}
        day = {"event_date": MONDAY + timedelta(days=days)}
        return {"title_id": title, "action_type": label, "rules_version": rules_version, **times, **day}

    before = row("a", -2, "discover")
    over = {**row("a", -1, "save"), "end_ts": NOON}  # began in the week before
    first, second, other = row("a", 1, "resume"), row("a", 2, "next_episode"), row("b", 3, "discover", "older")
    lost = row("c", 4, "explore")
    state = {"as_of": MONDAY, "title_id": "a", "last_item_id": "a1", "last_fraction": 0.5, "listed": False}
    earlier = {"as_of": MONDAY - timedelta(weeks=1), "title_id": "a", "last_item_id": "a0", "listed": True}
    found = recent([first, second, other, lost], [other, second, over, before, first], [state, earlier], streaming)
    known = {"last_item_id": "a1", "last_fraction": 0.5}
    assert found == [
        Recent(first["end_ts"], "a", "resume", version, rules["resume"], known, ("save",)),
        Recent(second["end_ts"], "a", "next_episode", version, rules["next_episode"], known, ("save", "resume")),
        Recent(other["end_ts"], "b", "discover", "older", None, {}, ()),
        Recent(lost["end_ts"], "c", "explore", None, None, {}, ()),
    ]
