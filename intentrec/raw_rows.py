"""Raw rows of a source: the fields of an event and of an item, and the schema in which readers return them.

Values are text, so that a bad value reaches the quarantine with its reason instead of failing the read. `read_error`
says why a line could not be parsed. Then only raw, source_* and arrived_at or snapshot_date are filled.
"""

from dataclasses import dataclass

from pyspark.sql.types import MapType, StructField, StructType

from intentrec.contracts import DATE, LONG, TEXT, TS


@dataclass(frozen=True)
class Field:
    """A field of a raw row.

    Attributes:
        name: of the field.
        kind: what its text stands for.
        required: whether a row without it is refused.
        example: a value, as JSON.
        doc: its meaning.
    """

    name: str
    kind: str
    required: bool
    example: str
    doc: str


_ID, _TEXT, _TIME, _SECONDS = "id", "text", "time with zone", "seconds"
EVENT_FIELDS = (
    Field(
        "event_id",
        _ID,
        True,
        '"e1"',
        "unique. A later row with the same id and other content corrects the event; with the same content it is a "
        "duplicate",
    ),
    Field("user_id", _ID, True, '"u1"', "whose taste the row is about: a person, or one profile of an account"),
    Field(
        "account_id",
        _ID,
        False,
        '"a1"',
        "whom an erasure request concerns; default: the user. A user has one account per week: that of the week's "
        "first event. Events under another one are refused",
    ),
    Field("item_id", _ID, True, '"s7e2"', "what was played or bought. The catalogue must list it"),
    Field("event_ts", _TIME, True, '"2026-08-04T03:12:09Z"', "when the event began: ISO 8601"),
    Field(
        "event_type", _TEXT, True, '"play"', "one of `events.types`; optional where the domain file lists one type only"
    ),
    Field(
        "duration_s",
        _SECONDS,
        False,
        "1310",
        "length of the engagement; 0 where the event has no length. Where it is unknown, the duration weight is 1",
    ),
    Field(
        "position_s",
        _SECONDS,
        False,
        "1310",
        "position in the item at the end of the event, from the item's start",
    ),
    Field("surface", _TEXT, False, '"home"', "page on which it happened"),
    Field("device", _TEXT, False, '"tv"', "kind of device"),
)
ITEM_FIELDS = (
    Field("item_id", _ID, True, '"s7e2"', "what is played or bought, such as an episode"),
    Field("title_id", _ID, False, '"s7"', "what is recommended, such as a series; default: the item"),
    Field("kind", _TEXT, False, '"show"', "film, show, department, ..."),
    Field("genres", "list of texts", False, '["drama"]', "labels"),
    Field("creator", _TEXT, False, '"Studio Seven"', "author or brand"),
    Field("episode", "whole number", False, "2", "order of the item inside its title"),
    Field("release_ts", _TIME, False, '"2019-05-01T00:00:00Z"', "first release"),
    Field("runtime_s", _SECONDS, False, "2700", "length, above 0"),
    Field("language", _TEXT, False, '"en"', "original language"),
    Field("text", _TEXT, False, '"The second episode"', "name or description"),
    Field("available_from", _TIME, False, '"2019-05-01T00:00:00Z"', "from when on the title may be offered"),
    Field("available_to", _TIME, False, '"2027-01-01T00:00:00Z"', "until when it may be offered"),
    Field(
        "promotion",
        "number",
        False,
        "0.4",
        "planned promotion in the week after the snapshot's: share of the stores, screens or slots that show it, "
        "from 0 to 1",
    ),
)


def _raw(moment: StructField, fields: tuple[Field, ...]) -> list[StructField]:
    return [
        StructField("raw", TEXT, False),
        StructField("source_file", TEXT, False),
        StructField("source_line", LONG, True),
        moment,
        StructField("read_error", TEXT, True),
        *(StructField(field.name, TEXT, True) for field in fields),
    ]


RAW_EVENT = StructType(
    [*_raw(StructField("arrived_at", TS, False), EVENT_FIELDS), StructField("extra", MapType(TEXT, TEXT), True)]
)
RAW_ITEM = StructType(_raw(StructField("snapshot_date", DATE, False), ITEM_FIELDS))
