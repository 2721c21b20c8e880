"""The reasons for which a raw row is refused, and what to do about each.

A reason is a text such as `missing_user_id`. Here it is a column expression that is null where the reason does not
apply.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from intentrec.config import LABEL_LENGTH

# Read errors of lines that could not be parsed. Their fields cannot be judged.
UNREAD = ("unreadable_line", "invalid_utf8", "invalid_unicode", "repeated_field")
MAX_ID_LENGTH = 256  # characters
SHOWN = 400  # characters of an example of a refused row

# Characters that nobody sees: control, format and private-use characters, surrogates, and the code points that never
# become characters. What Unicode has not assigned yet is left out, because it depends on the version of Java.
_UNSEEN = r"\p{Cc}\p{Cf}\p{Co}\p{Cs}\uFDD0-\uFDEF\uFFFE\uFFFF"
_BLANK = rf"^[\p{{Z}}{_UNSEEN}]*$"
# Two ids that differ in such a character look alike. A space inside an id is seen. U+FFFD stands for a lost character.
_DECEPTIVE = rf"[{_UNSEEN}\p{{Zl}}\p{{Zp}}\uFFFD]|[\p{{Zs}}&&[^ ]]|^ | $"
# What programs make of a whole number that they keep as a float: 17850.0, 1.785E4, 1e+20, NaN.
_FLOAT = r'^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?\d+[eE]\+\d+$|^"?[+-]?(NaN|Infinity)"?$'
_BETWEEN = "\u001f"  # between reasons in a text; a reader's own reason may have a comma

_ADVICE = {
    "unreadable_line": "the line is not a record of its format: look at source_file and source_line, and have it sent "
    "again",
    "invalid_utf8": "the line is not UTF-8: have the sender encode it as UTF-8 and send it again",
    "invalid_unicode": "the line has half of a surrogate pair (an escape such as \\ud83d alone): have the sender cut "
    "texts between characters and send the line again",
    "repeated_field": "the line has a field twice: have the sender write it once and send the line again",
    "wrong_arrived_at": "arrived_at is not on the day of the folder's name: move the line, or correct the clock",
    "clock_skew": "event_ts is more than events.max_clock_skew after arrived_at: correct the device's clock, or raise "
    "the limit in the domain file",
    "event_too_old": "event_ts is more than events.max_age before arrived_at: correct the device's clock, or raise the "
    "limit in the domain file",
    "unknown_event_type": "the type is not in events.types of the domain file: list it there if it is meant, and "
    "ingest again",
    "unknown_item": "the catalogue snapshot of that day does not list the item, or listed it in a row that was "
    "refused: deliver a complete snapshot, then ingest the week again",
    "refused_item": "the catalogue snapshot lists the item in a row that was refused: look at the reasons of catalogue "
    "rows, have that row corrected, then ingest the week again",
    "conflicting_duplicate": "the same event_id came at the same moment with different content: have the sender make "
    "ids unique, or send the event again",
    "conflicting_account": "the user has events under another account in the same week: have the sender give a user "
    "one account, or give each account users of its own",
    "conflicting_item": "a snapshot has the item twice with different facts: have the catalogue deliver it once",
    "inhuman_activity": "a user-day has more hours than events.max_hours_per_day: look whether user_id is a person",
    "bad_duration": "duration_s is negative, not finite, or above events.max_duration: correct the sender, or raise "
    "the limit",
    "bad_position": "position_s is negative or not finite: correct the sender, or leave the field out",
    "bad_quantity": "the signal of events.quantity is negative: have the reader make a return of the row "
    "(events.return_type in the domain file), or correct the sender",
    "bad_runtime": "runtime_s is not positive and finite: have the catalogue leave unknown values out",
    "bad_episode": "the episode is negative: have the catalogue leave unknown values out",
    "bad_promotion": "the promotion is not between 0 and 1: have the catalogue deliver a share, or leave it out",
    "label_too_long": f"a label (genre, kind, creator, language, surface, device) has more than {LABEL_LENGTH} "
    "characters: have the sender shorten it",
    "bad_availability": "available_to lies before available_from: have the catalogue correct the dates",
}
_ADVICE_BY_PREFIX = {
    "bad_number_": "the id was written as a decimal number, such as 17850.0 or 1e5: have the sender write ids as text "
    "or as whole numbers and send the row again",
    "bad_characters_": "the id has characters that nobody sees, such as a blank at its end: have the sender remove "
    "them and send the row again",
    "bad_length_": f"the id has more than {MAX_ID_LENGTH} characters: have the sender shorten it, such as to a hash",
    "missing_": "the field is empty or blank: have the sender fill it and send the row again",
    "bad_type_": "the text is not of the field's type (timestamps need date, time and zone): correct the sender",
    "bad_signal_": "the signal is not a finite number: correct the sender, or take it out of events.signals",
}
READER_ADVICE = "the reader module that source.reader names refused the row: look there"


@dataclass(frozen=True)
class Refusal:
    """Rows that were refused for one reason.

    Attributes:
        record: event or catalog.
        reason: why.
        rows: number of rows.
        where: file and line of an example.
        example: the beginning of that row as delivered.
    """

    record: str
    reason: str
    rows: int
    where: str
    example: str


def filled(text: Column) -> Column:
    """Whether a text is neither null nor made of blanks (of any kind) only."""
    return F.coalesce(~text.rlike(_BLANK), F.lit(False))


def or_else(column: str, other: Column) -> Column:
    """The text of a column, or another value where it is absent or blank."""
    return F.when(filled(F.col(column)), F.col(column)).otherwise(other)


def missing(column: str, name: str | None = None) -> Column:
    """Reason: the field is absent or blank. `name` is the field's name, if it differs from the column's."""
    return F.when(~filled(F.col(column)), f"missing_{name or column}")


def bad_type(name: str, text: Column, value: Column) -> Column:
    """Reason: the field's text could not be converted to its type."""
    return F.when(filled(text) & value.isNull(), f"bad_type_{name}")


def bad_id(name: str) -> list[Column]:
    """Reasons: the text of an id may stand for another id, too, or is too long.

    A reader cannot always tell a number from a text. So one rule holds for both: an id in the form of a decimal number
    is refused, and so is a truth value.
    """
    text = F.col(name)
    given = filled(text)
    return [
        F.when(given & text.rlike(_DECEPTIVE), f"bad_characters_{name}"),
        F.when(given & text.rlike(_FLOAT), f"bad_number_{name}"),
        F.when(given & (F.length(text) > MAX_ID_LENGTH), f"bad_length_{name}"),
        F.when(given & text.isin("true", "false"), f"bad_type_{name}"),
    ]


def label_too_long(labels: Column) -> Column:
    """Reason: one of the labels (an array of texts, some perhaps null) has more than LABEL_LENGTH characters."""
    return F.when(F.exists(labels, lambda label: F.length(label) > LABEL_LENGTH), "label_too_long")


def all_reasons(read_error: Column, found: Sequence[Column]) -> Column:
    """Array of all reasons, sorted. If the line could not be parsed, it holds only the read error.

    Spark compiles no function of arrays, and interprets whatever stands in one. So the reasons are put together as a
    text, and only the rows that have any sort an array.

    Args:
        read_error: reason that the reader gave; null if there is none.
        found: the other reasons, each null if it does not apply.
    """
    every = F.concat_ws(_BETWEEN, read_error, *found)
    none = F.array().cast("array<string>")
    some = F.when(every == "", none).otherwise(F.array_sort(F.array_distinct(F.split(every, _BETWEEN))))
    return F.when(read_error.isin(*UNREAD), F.array(read_error)).otherwise(some)


def count_reasons(refused: DataFrame) -> dict[str, int]:
    """Rows of QUARANTINE by reason, sorted by reason. A row with several reasons counts for each."""
    each = refused.select(F.explode("reasons").alias("reason"))
    return {row["reason"]: row["count"] for row in each.groupBy("reason").count().orderBy("reason").collect()}


def refusals(refused: DataFrame) -> list[Refusal]:
    """Rows of QUARANTINE by record and reason, the most frequent first, each with the first row of its first file."""
    each = refused.select("record", "raw", "source_file", "source_line", F.explode("reasons").alias("reason"))
    place = F.struct("source_file", "source_line", "raw")
    found = each.groupBy("record", "reason").agg(F.count("*").alias("rows"), F.min(place).alias("first")).collect()
    return [
        Refusal(
            row["record"],
            row["reason"],
            row["rows"],
            row["first"]["source_file"] + ("" if row["first"]["source_line"] is None else f":{row['first'][1]}"),
            row["first"]["raw"][:SHOWN],
        )
        for row in sorted(found, key=lambda row: (-row["rows"], row["record"], row["reason"]))
    ]


def advice(reason: str) -> str:
    """What was wrong and what to do. For a reason that only your own reader gives, where to look."""
    for prefix, text in _ADVICE_BY_PREFIX.items():
        if reason.startswith(prefix):
            return text
    return _ADVICE.get(reason, READER_ADVICE)
