"""Why a raw row is refused, as column expressions that are null where a reason does not apply.

What to do about a refused row, by reason.
"""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

# With these a line was not taken apart, so that no field can be judged.
UNREAD = ("unreadable_line", "invalid_utf8", "repeated_field")


def missing(column: str, name: str | None = None) -> Column:
    """The field is absent or blank. `name` is the field's where the column has another one."""
    text = F.col(column)
    return F.when(text.isNull() | (F.trim(text) == ""), f"missing_{name or column}")


def bad_type(name: str, text: Column, value: Column) -> Column:
    """The field holds text that is not of its type."""
    return F.when(text.isNotNull() & (F.trim(text) != "") & value.isNull(), f"bad_type_{name}")


def all_reasons(read_error: Column, found: Sequence[Column]) -> Column:
    """Every reason, sorted; only the read error where the line could not be taken apart."""
    every = F.array_sort(F.array_distinct(F.array_compact(F.array(read_error, *found))))
    return F.when(read_error.isin(*UNREAD), F.array(read_error)).otherwise(every)


_WHOLE = {
    "unreadable_line": "the line is no record of its format: look at source_file and source_line, have it sent again",
    "invalid_utf8": "the line is not UTF-8: have the sender encode it so, and send it again",
    "repeated_field": "a field stands twice in the line: have the sender write it once, and send it again",
    "wrong_arrived_at": "arrived_at is not of the day that the folder is named after: move the line or mend the clock",
    "clock_skew": "event_ts is too far from arrived_at: mend the device's clock, or widen events.max_clock_skew or "
    "events.max_age in the domain file",
    "unknown_event_type": "list the type under events.types in the domain file if it is meant, and ingest again",
    "unknown_item": "the catalogue snapshot that held on that day does not list the item, and a snapshot is complete: "
    "deliver it with all items, then ingest the week again",
    "conflicting_duplicate": "the same event_id came with different content: have the sender make ids unique",
    "conflicting_item": "a snapshot has the item twice with different facts: have the catalogue deliver it once",
    "inhuman_activity": "a user-day of more hours than events.max_hours_per_day: look whether user_id is a person",
    "bad_duration": "duration_s is negative, not finite, or beyond events.max_duration: mend the sender, or raise it",
    "bad_position": "position_s is negative or not finite: mend the sender, or leave it out",
    "bad_runtime": "runtime_s is not above zero and finite: have the catalogue leave out what it does not know",
    "bad_episode": "the episode is negative: have the catalogue leave out what it does not know",
    "bad_availability": "available_to lies before available_from: have the catalogue mend the dates",
}
_BEGINNINGS = {
    "missing_": "the field is empty: have the sender fill it, and send the row again",
    "bad_type_": "the text is not of the field's type (moments need date, time and zone): mend the sender",
    "bad_signal_": "the signal is no finite number: mend the sender, or take it out of events.signals",
}

OF_A_READER = "the module that source.reader names refused it: look there"


def advice(reason: str) -> str:
    """What was wrong and what to do; of a reason that a reader of your own gives, where to look."""
    for beginning, text in _BEGINNINGS.items():
        if reason.startswith(beginning):
            return text
    return _WHOLE.get(reason, OF_A_READER)
