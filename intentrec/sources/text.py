"""Text to typed values (null if the text has another form), and the fields of a line to a raw event."""

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import day_start_of
from intentrec.raw_rows import RAW_EVENT
from intentrec.storage.runs import Run

_ISO = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$"
_NUMBER = r"^\s*([+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|NaN|[+-]?Infinity)\s*$"
_INTEGER = r"^\s*[+-]?\d+\s*$"


def moment(text: Column) -> Column:
    """A timestamp from ISO 8601 text with date, time and zone. Text without a zone is ambiguous, so it gives null."""
    return F.when(text.rlike(_ISO), text.try_cast("timestamp"))


def number(text: Column) -> Column:
    """A double, including NaN and the infinities. A cast alone would also accept Java's '1d' and '0x1p3'."""
    return F.when(text.rlike(_NUMBER), text.try_cast("double"))


def integer(text: Column, of: str = "bigint") -> Column:
    """A whole number that fits the type."""
    return F.when(text.rlike(_INTEGER), text.try_cast(of))


def iso(ts: Column) -> Column:
    """A timestamp as ISO 8601 text in UTC, to the microsecond (the session's time zone is UTC)."""
    return F.date_format(ts, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")


def parsed_once(frame: DataFrame, name: str, parsed: Column) -> DataFrame:
    """`frame` with the column `name`, the value of the costly expression `parsed`, computed once per row.

    The optimiser would copy the expression of a plain column into every filter and field that refers to it: for a wide
    row, hundreds of times. It does not copy an expression across an explode.
    """
    return frame.select("*", F.explode(F.array(parsed)).alias(name))


def hashed_key(fields: Column, names: Sequence[str]) -> Column:
    """An event id for data that have none: the hash of the fields that together identify an event."""
    return F.sha2(F.concat_ws("|", *[F.coalesce(fields[name], F.lit("")) for name in names]), 256)


def extra_map(fields: Column, names: Mapping[str, str]) -> Column:
    """The map `extra` of an event from name -> field; a null field is left out."""
    entries = F.create_map(*[part for name, field in names.items() for part in (F.lit(name), fields[field])])
    return F.map_filter(entries.cast("map<string,string>"), lambda _, value: value.isNotNull())


def arrived_within(events: DataFrame, arrived_from: date, arrived_until: date) -> DataFrame:
    """Rows that arrived on the UTC dates [arrived_from, arrived_until), and those of which nobody knows when.

    For readers of a whole file, whose read errors all mean that a line has no time. Such a line belongs to the week
    that begins the history. Every other run reads and counts it, too, and tells that it left the line out.
    """
    arrived = F.to_date("arrived_at")
    within = (arrived >= F.lit(arrived_from)) & (arrived < F.lit(arrived_until))
    return events.where(within | F.col("read_error").isNotNull())


def instant_events(
    rows: DataFrame,
    run: Run,
    kind: str | Column,
    surface: str,
    user: str,
    item: str,
    when: str,
    key: Sequence[str],
    signals: Mapping[str, str],
) -> DataFrame:
    """RAW_EVENT rows of events without a measured duration, such as purchases and ratings. They arrive as they happen.

    A row whose `moment` is null counts as arrived at the start of the history, and gets the read error
    `bad_type_arrived_at`. The function is long because it lists every column.

    Args:
        rows: rows of `files.csv_rows` or `files.headerless_rows` with the timestamp column `moment`.
        run: the attempt; its domain has the calendar.
        kind: event_type of all rows, or of each.
        surface: surface of all rows.
        user: field of the user, which is the account as well.
        item: field of the item.
        when: field that `moment` was parsed from.
        key: fields that together identify an event.
        signals: name of a signal -> its field.
    """
    fields, calendar = F.col("fields"), run.domain.calendar
    start = F.lit(day_start_of(calendar.history_start, calendar))
    read = fields.isNotNull()

    def always(text: str | Column) -> Column:
        return F.when(read, F.lit(text))

    frame = rows.select(
        "raw",
        "source_file",
        "source_line",
        F.coalesce("moment", start).alias("arrived_at"),
        F.coalesce("read_error", F.when(F.col("moment").isNull(), "bad_type_arrived_at")).alias("read_error"),
        F.when(read, hashed_key(fields, key)).alias("event_id"),
        fields[user].alias("user_id"),
        fields[user].alias("account_id"),
        fields[item].alias("item_id"),
        F.coalesce(iso(F.col("moment")), fields[when]).alias("event_ts"),
        always(kind).alias("event_type"),
        F.lit(None).cast("string").alias("duration_s"),
        F.lit(None).cast("string").alias("position_s"),
        always(surface).alias("surface"),
        always("unknown").alias("device"),
        F.when(read, extra_map(fields, signals)).alias("extra"),
    )
    assert frame.columns == RAW_EVENT.names
    return frame
