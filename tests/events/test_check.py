"""Every kind of malformed or hostile field, and the reasons it must be refused for."""

from datetime import UTC, date, datetime

import pytest
from pyspark.sql import SparkSession

from intentrec.config import Domain, Events
from intentrec.events.check import checked_events
from intentrec.events.outcomes import read_counts
from intentrec.raw_rows import EVENT_FIELDS, RAW_EVENT

ARRIVED = datetime(2026, 8, 4, 12, 5, tzinfo=UTC)
GOOD = {
    "raw": "the line",
    "source_file": "f",
    "source_line": 1,
    "arrived_at": ARRIVED,
    "read_error": None,
    "event_id": "e1",
    "user_id": "u1",
    "account_id": "a1",
    "item_id": "i1",
    "event_ts": "2026-08-04T12:00:00.5Z",
    "event_type": "play",
    "duration_s": "60.5",
    "position_s": "70",
    "surface": "home",
    "device": "tv",
    "extra": {"clicks": "3", "new": "column"},
}
NOTHING = {name: None for name in GOOD if name not in ("raw", "source_file", "source_line", "arrived_at", "read_error")}

REQUIRED = [field.name for field in EVENT_FIELDS if field.required]
OPTIONAL = [field.name for field in EVENT_FIELDS if not field.required]

# Fields changed, and every reason, sorted.
CASES: list[tuple[dict, list[str]]] = [
    ({}, []),
    ({"position_s": None, "extra": {}}, []),
    ({"duration_s": "0", "event_type": "list_add"}, []),
    ({"duration_s": "43200"}, []),
    ({"event_ts": "2026-08-04T14:00:00+02:00"}, []),
    *(({name: None}, [f"missing_{name}"]) for name in REQUIRED),
    *(({name: " "}, [f"missing_{name}"]) for name in ("event_id", "user_id", "event_ts")),
    *(({name: text}, []) for name in OPTIONAL for text in (None, " ")),
    *(
        ({name: text}, [f"missing_{name}"])
        for name in ("event_id", "user_id", "item_id")
        for text in ("\t", "\u00a0\u2003", "\x00", "\u200b", "\ufeff\u2060", "\u2028", "\ue000", "\uffff")
    ),
    *(
        ({"user_id": text}, ["bad_characters_user_id"])
        for text in ("u1 ", " u1", "u\t1", "u\u00a01", "u\x001", "u1\u200b", "\u202eu1", "u1\n", "M\ufffdller")
    ),
    *(
        ({"item_id": text}, ["bad_number_item_id"])
        for text in ("17850.0", "17850.", ".5", "-3.25", "1.0E5", "1.2345678901234567E19", "1e+05", "NaN", '"Infinity"')
    ),
    *(({name: "1.0"}, [f"bad_number_{name}"]) for name in ("event_id", "user_id", "account_id")),
    *(
        ({"user_id": text}, [])
        for text in (
            "0017850",
            "12345678901234567890",
            "-5",
            "12345e67",
            "v1.5",
            "1.2.3",
            "Ana Berg",
            "用户",
            "u" * 256,
        )
    ),
    ({"user_id": "u" * 257}, ["bad_length_user_id"]),
    ({"event_id": "e" * 1_000_000}, ["bad_length_event_id"]),
    ({"user_id": "true"}, ["bad_type_user_id"]),
    ({"extra": {"quantity": "-1"}}, ["bad_quantity"]),
    ({"extra": {"quantity": "-1"}, "event_type": "refund"}, []),
    ({"extra": {"quantity": "0", "clicks": "-1"}}, []),
    ({"event_type": " "}, ["missing_event_type", "unknown_event_type"]),
    ({"event_ts": "2026-08-04"}, ["bad_type_event_ts"]),
    ({"event_ts": "2026-08-04T12:00:00"}, ["bad_type_event_ts"]),  # without a zone
    ({"event_ts": "2026-02-30T12:00:00Z"}, ["bad_type_event_ts"]),
    ({"event_ts": "1785844800"}, ["bad_type_event_ts"]),
    ({"event_ts": "now"}, ["bad_type_event_ts"]),
    ({"event_ts": "2026-08-05T12:05:00Z"}, []),  # exactly a day ahead
    ({"event_ts": "2026-08-05T12:05:01Z"}, ["clock_skew"]),
    ({"event_ts": "2026-06-05T12:05:00Z"}, []),  # exactly sixty days old
    ({"event_ts": "2026-06-05T12:04:59Z"}, ["event_too_old"]),
    ({"event_ts": "1970-01-01T00:00:00Z"}, ["event_too_old"]),
    ({"event_ts": "9999-12-31T23:59:59Z"}, ["clock_skew"]),
    ({"event_ts": "0001-01-01T00:00:00Z"}, ["event_too_old"]),
    ({"event_type": "explode"}, ["unknown_event_type"]),
    ({"event_type": "PLAY"}, ["unknown_event_type"]),
    *(
        ({"duration_s": text}, ["bad_duration"])
        for text in ("-0.1", "43200.1", "NaN", "Infinity", "-Infinity", "1e400")
    ),
    *(({"duration_s": text}, ["bad_type_duration_s"]) for text in ("long", "1d", "0x10", "1,5", "true", "1 2")),
    *(({"position_s": text}, ["bad_position"]) for text in ("-1", "NaN", "Infinity")),
    ({"position_s": "start"}, ["bad_type_position_s"]),
    *(({"extra": {"clicks": text}}, ["bad_signal_clicks"]) for text in ("many", "", "NaN", "-Infinity")),
    ({"extra": {"new": "NaN"}}, []),  # only declared signals must be numbers
    (
        {"user_id": "", "duration_s": "-1", "event_type": "x", "event_ts": "?", "position_s": "-1"},
        ["bad_duration", "bad_position", "bad_type_event_ts", "missing_user_id", "unknown_event_type"],
    ),
    ({"read_error": "wrong_arrived_at", "item_id": None}, ["missing_item_id", "wrong_arrived_at"]),
    ({**NOTHING, "read_error": "unreadable_line"}, ["unreadable_line"]),
    ({**NOTHING, "read_error": "invalid_utf8"}, ["invalid_utf8"]),
]


@pytest.fixture(scope="module")
def domain(streaming: Domain) -> Domain:
    """The streaming service with signals, and an event type that takes a play back."""
    own = streaming.events.model_dump()
    own |= {"signals": ["clicks", "quantity"], "types": [*own["types"], "refund"], "return_type": "refund"}
    events = Events(**own)
    return streaming.model_copy(update={"events": events})


def test_reasons_of_a_row(spark: SparkSession, domain: Domain) -> None:
    rows = [{**GOOD, **changes, "source_line": number} for number, (changes, _) in enumerate(CASES)]
    raw = spark.createDataFrame([tuple(row[name] for name in RAW_EVENT.names) for row in rows], RAW_EVENT)
    checked = checked_events(raw, domain).select("source_line", "reasons").collect()
    got = {row["source_line"]: row["reasons"] for row in checked}
    wrong = {str(CASES[line][0]): (got[line], want) for line, (_, want) in enumerate(CASES) if got[line] != want}
    assert not wrong
    assert len(checked) == len(CASES)


def test_a_row_without_a_plausible_time_belongs_to_the_day_it_arrived(spark: SparkSession, domain: Domain) -> None:
    changes = [
        {},
        {"event_ts": "1999-01-01T00:00:00Z"},
        {"event_ts": None},
        {**NOTHING, "read_error": "unreadable_line"},
    ]
    early = datetime(2026, 8, 4, 10, 59, tzinfo=UTC)  # 03:59 in Los Angeles: still the service day before
    rows = [{**GOOD, "event_ts": "2026-08-03T20:00:00Z", "arrived_at": early, **change} for change in changes]
    rows[0]["event_ts"] = "2026-08-02T20:00:00Z"
    raw = spark.createDataFrame([tuple(row[name] for name in RAW_EVENT.names) for row in rows], RAW_EVENT)
    checked = checked_events(raw, domain)
    dates = [(row["event_date"], row["plausible"]) for row in checked.select("event_date", "plausible").collect()]
    assert dates == [(date(2026, 8, 2), True), *[(date(2026, 8, 3), False)] * 3]
    # A reader of whole files gives such rows the first date of the history.
    began = domain.calendar.model_copy(update={"history_start": date(2026, 8, 3)})
    since = domain.model_copy(update={"calendar": began})
    assert read_counts(checked, date(2026, 8, 3), since) == (4, 0), "the first week quarantines them"
    assert read_counts(checked, date(2026, 8, 10), since) == (4, 3), "every other week tells of them"
