"""Raw event rows to typed events, each with its service date and the reasons for which it is refused.

This module checks each row alone. `outcomes` also compares it with other rows and with the catalogue.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from intentrec.calendar import service_date
from intentrec.config import Domain, seconds
from intentrec.contracts import ENGAGEMENT_EVENTS
from intentrec.events.reasons import UNREAD, all_reasons, bad_id, bad_type, label_too_long, missing, or_else
from intentrec.sources.text import moment, number

_REQUIRED = ("event_id", "user_id", "item_id", "event_ts", "event_type")
_IDS = ("event_id", "user_id", "account_id", "item_id")
_TYPED = ("event_ts", "duration_s", "position_s")
PROVENANCE = ("raw", "source_file", "source_line")


def checked_events(raw: DataFrame, domain: Domain) -> DataFrame:
    """Typed rows with the reasons that follow from each row alone.

    Args:
        raw: rows of `raw_rows.RAW_EVENT`.
        domain: the domain file.

    An absent account is the user. An absent event type is that of a domain with one type only. Duration, position,
    surface and device may be null.

    Returns:
        The columns of ENGAGEMENT_EVENTS, PROVENANCE, `reasons` (sorted; empty if the row is valid), and `plausible`
        (whether event_ts lies near the arrival: at most `events.max_clock_skew` after it and `events.max_age` before
        it). event_date is the service date of a plausible event_ts, else of the arrival.
    """
    made = {"account_id": or_else("account_id", F.col("user_id")), **_only_type(domain)}
    made |= {name: or_else(name, F.lit(None).cast("string")) for name in ("surface", "device")}
    typed = (
        raw.withColumns(made)
        .select(
            *(name for name in raw.columns if name not in _TYPED),
            *(F.col(name).alias(f"{name}_text") for name in _TYPED),
            moment(F.col("event_ts")).alias("event_ts"),
            number(F.col("duration_s")).alias("duration_s"),
            number(F.col("position_s")).alias("position_s"),
        )
        .withColumn("extra", F.coalesce("extra", F.create_map().cast("map<string,string>")))
    )
    parsed = ~F.coalesce(F.col("read_error").isin(*UNREAD), F.lit(False))
    too_old, ahead = _implausible(domain)
    near_arrival = F.coalesce(~too_old & ~ahead, F.lit(False))
    own = typed.withColumns(
        {
            "reasons": all_reasons(F.col("read_error"), _reasons(domain)),
            "plausible": parsed & near_arrival,
        }
    )
    when = F.when(F.col("plausible"), F.col("event_ts")).otherwise(F.col("arrived_at"))
    dated = own.withColumn("event_date", service_date(when, domain.calendar))
    return dated.select(*ENGAGEMENT_EVENTS.names, *PROVENANCE, "reasons", "plausible")


def _only_type(domain: Domain) -> dict[str, Column]:
    """The event type of a domain that has one type only, where the row names none."""
    types = domain.events.types
    unparsed = F.coalesce(F.col("read_error").isin(*UNREAD), F.lit(False))
    only = F.when(~unparsed, F.lit(types[0]))
    return {"event_type": or_else("event_type", only)} if len(types) == 1 else {}


def _implausible(domain: Domain) -> tuple[Column, Column]:
    """Whether a row's event_ts lies too long before its arrival, and too long after it; null without an event_ts."""
    arrived = F.col("arrived_at")
    age = F.make_dt_interval(secs=F.lit(seconds(domain.events.max_age)))
    skew = F.make_dt_interval(secs=F.lit(seconds(domain.events.max_clock_skew)))
    return F.col("event_ts") < arrived - age, F.col("event_ts") > arrived + skew


def _reasons(domain: Domain) -> list[Column]:
    too_old, ahead = _implausible(domain)
    duration, position = F.col("duration_s"), F.col("position_s")
    longest = seconds(domain.events.max_duration)
    signals = [_bad_signal(name) for name in domain.events.signals]
    quantity = number(F.col("extra").getItem(domain.events.quantity))
    counted = F.lit(domain.events.quantity in domain.events.signals)
    returned = F.col("event_type").eqNullSafe(F.lit(domain.events.return_type))
    return [
        *(missing(name if name not in _TYPED else f"{name}_text", name) for name in _REQUIRED),
        *(reason for name in _IDS for reason in bad_id(name)),
        *(bad_type(name, F.col(f"{name}_text"), F.col(name)) for name in _TYPED),
        F.when(too_old, "event_too_old"),
        F.when(ahead, "clock_skew"),
        F.when(~F.col("event_type").isin(domain.events.types), "unknown_event_type"),
        F.when(F.isnan(duration) | (duration < 0) | (duration > longest), "bad_duration"),
        F.when(F.isnan(position) | (position < 0) | (position == float("inf")), "bad_position"),
        label_too_long(F.array("surface", "device")),
        F.when(counted & ~returned & (quantity < 0), "bad_quantity"),
        *signals,
    ]


def _bad_signal(name: str) -> Column:
    text = F.col("extra").getItem(name)
    value = number(text)
    finite = value.isNotNull() & ~F.isnan(value) & (F.abs(value) != float("inf"))
    return F.when(text.isNotNull() & ~finite, f"bad_signal_{name}")
