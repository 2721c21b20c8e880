"""Events that take no time that anyone measured, such as purchases and ratings: they arrive as they happen."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import day_start_of
from intentrec.contracts import RAW_EVENT
from intentrec.sources.text import iso
from intentrec.storage.runs import Run


def instant_events(
    rows: DataFrame,
    run: Run,
    kind: str,
    surface: str,
    user: str,
    item: str,
    when: str,
    key: tuple[str, ...],
    signals: dict[str, str],
) -> DataFrame:
    """RAW_EVENT rows of `rows`, which have `moment`, null where it cannot be read; such a row counts as arrived when
    the history starts, and is refused.

    Args:
        rows: as `delimited` gives them, with the column `moment`.
        run: its domain has the calendar.
        kind: event_type.
        surface: of all of them.
        user: field of the user, who is the account, too.
        item: field of the item.
        when: field that `moment` was read from.
        key: fields that together are the event's identity.
        signals: name of a signal -> its field.
    """
    fields, calendar = F.col("fields"), run.domain.calendar
    start = F.lit(day_start_of(calendar.history_start, calendar))
    read = fields.isNotNull()
    identity = F.concat_ws("|", *[F.coalesce(fields[name], F.lit("")) for name in key])
    extra = F.create_map(*[part for name, field in signals.items() for part in (F.lit(name), fields[field])])

    def always(text: str) -> Column:
        return F.when(read, F.lit(text))

    frame = rows.select(
        "raw",
        "source_file",
        "source_line",
        F.coalesce("moment", start).alias("arrived_at"),
        F.coalesce("read_error", F.when(F.col("moment").isNull(), "bad_type_arrived_at")).alias("read_error"),
        F.when(read, F.sha2(identity, 256)).alias("event_id"),
        fields[user].alias("user_id"),
        fields[user].alias("account_id"),
        fields[item].alias("item_id"),
        F.coalesce(iso(F.col("moment")), fields[when]).alias("event_ts"),
        always(kind).alias("event_type"),
        always("0").alias("duration_s"),
        F.lit(None).cast("string").alias("position_s"),
        always(surface).alias("surface"),
        always("unknown").alias("device"),
        F.when(read, F.map_filter(extra, lambda _, value: value.isNotNull())).alias("extra"),
    )
    assert frame.columns == RAW_EVENT.names
    return frame
