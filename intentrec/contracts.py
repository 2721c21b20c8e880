"""Every table once: columns, types, keys and partition. Spark, the ledger, the audits and the docs derive from this.

Long, because every table stands here and nowhere else.

A *raw* row (what `sources/` deliver) is described at the end: all strings, nothing trusted.
"""

from dataclasses import dataclass

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

TEXT, LONG, INT, DOUBLE, FLOAT = StringType(), LongType(), IntegerType(), DoubleType(), FloatType()
BOOL, DATE, TS = BooleanType(), DateType(), TimestampType()


def array(of: DataType) -> ArrayType:
    """An array without null elements, so that aligned arrays can become tensors."""
    return ArrayType(of, containsNull=False)


def text_map(of: DataType) -> MapType:
    """A map from text to `of` without null values."""
    return MapType(TEXT, of, valueContainsNull=False)


@dataclass(frozen=True)
class Column:
    """One column: its name, Spark type, meaning, whether it may be null, and its former name if it was renamed."""

    name: str
    type: DataType
    doc: str
    nullable: bool = False
    former: str | None = None


@dataclass(frozen=True)
class Table:
    """One table. A run replaces the `partition` dates it owns and nothing else; `key` is unique in the table."""

    name: str
    row: str
    partition: str | None
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> StructType:
        """The Spark schema, in contract order."""
        return StructType([StructField(c.name, c.type, c.nullable, {"comment": c.doc}) for c in self.columns])

    @property
    def former_names(self) -> dict[str, str]:
        """Renamed columns: former name -> name."""
        return {column.former: column.name for column in self.columns if column.former}

    @property
    def names(self) -> list[str]:
        """Column names in contract order: the `select` at the end of a transform."""
        return [column.name for column in self.columns]


_EVENT = (
    Column("event_id", TEXT, "the source's id of this event"),
    Column("user_id", TEXT, "whose taste it is (a profile)"),
    Column("account_id", TEXT, "whom erasure concerns"),
    Column("item_id", TEXT, "what was played or touched (an episode, a video, a product)"),
    Column("event_ts", TS, "when it began, UTC"),
    Column("arrived_at", TS, "when the row reached the landing zone, UTC"),
    Column("event_type", TEXT, "one of the domain's event types"),
    Column("duration_s", DOUBLE, "seconds engaged, 0 where the event has no length"),
    Column("position_s", DOUBLE, "where in the item it ended, seconds from its start", nullable=True),
    Column("surface", TEXT, "the page or row it came from"),
    Column("device", TEXT, "kind of device"),
    Column("extra", text_map(TEXT), "everything else the raw row carried, by name"),
)

ENGAGEMENT_EVENTS = Table(
    "engagement_events",
    "an accepted raw event",
    "event_date",
    ("event_date", "event_id"),
    (Column("event_date", DATE, "service date (the service day starts at the domain's hour)"), *_EVENT),
)

QUARANTINE = Table(
    "quarantine",
    "a refused raw row with every reason",
    "event_date",
    (),
    (
        Column("event_date", DATE, "service date of the event, or of arrival where the row has no plausible time"),
        Column("record", TEXT, "event or catalog"),
        Column("reasons", array(TEXT), "every reason, sorted"),
        Column("raw", TEXT, "the row as it came (invalid UTF-8 replaced)"),
        Column("source_file", TEXT, "file it came from"),
        Column("source_line", LONG, "1-based line in that file", nullable=True),
        Column("arrived_at", TS, "when it reached the landing zone"),
    ),
)

CATALOG = Table(
    "catalog",
    "an item as the service described it on a date",
    "snapshot_date",
    ("snapshot_date", "item_id"),
    (
        Column("snapshot_date", DATE, "facts known from this service date on"),
        Column("item_id", TEXT, "what is played"),
        Column("title_id", TEXT, "unit of vocabulary, state and recommendation"),
        Column("kind", TEXT, "film, show, upload type, department, ..."),
        Column("genres", array(TEXT), "sorted labels; empty where unknown"),
        Column("creator", TEXT, "author, studio or brand", nullable=True),
        Column("episode", INT, "order of the item within its title", nullable=True),
        Column("release_ts", TS, "first release", nullable=True),
        Column("runtime_s", DOUBLE, "length in seconds", nullable=True),
        Column("language", TEXT, "original language", nullable=True),
        Column("text", TEXT, "name or description", nullable=True),
        Column("available_from", TS, "first moment it may be offered", nullable=True),
        Column("available_to", TS, "moment from which it may no longer be offered", nullable=True),
    ),
)

INTERACTIONS = Table(
    "interactions",
    "a visit: a maximal sequence of one title's events inside a session",
    "event_date",
    ("user_id", "start_ts", "title_id"),
    (
        Column("event_date", DATE, "service date of the visit's session"),
        Column("user_id", TEXT, "whose taste it is"),
        Column("account_id", TEXT, "whom erasure concerns"),
        Column("session_id", TEXT, "user and the session's first moment"),
        Column("title_id", TEXT, "the visit's title"),
        Column("item_id", TEXT, "last item of the visit"),
        Column("start_ts", TS, "start of its first event"),
        Column("end_ts", TS, "T_k: end of its last event; nothing later is in the row"),
        Column("tie", LONG, "hash of the visit's first event_id: the last word in the order (end_ts, start_ts, tie)"),
        Column("duration_s", DOUBLE, "seconds engaged in all its events"),
        Column("fraction", DOUBLE, "furthest position of the last item as a share of its runtime", nullable=True),
        Column("event_counts", text_map(LONG), "events by event_type"),
        Column("signals", text_map(DOUBLE), "sum of each of the domain's signals over the visit"),
        Column("surface", TEXT, "of the first event"),
        Column("device", TEXT, "of the first event"),
        Column("kind", TEXT, "catalogue fact at that time"),
        Column("genres", array(TEXT), "catalogue fact at that time"),
        Column("creator", TEXT, "catalogue fact at that time", nullable=True),
        Column("language", TEXT, "catalogue fact at that time", nullable=True),
        Column("episode", INT, "catalogue fact of the last item", nullable=True),
        Column("release_age_days", DOUBLE, "end_ts minus the title's release, in days; 0 before it", nullable=True),
        Column("action_type", TEXT, "label of the first rule that matched"),
        Column("is_target", BOOL, "the domain's target_when"),
        Column("left_censored", BOOL, "in the domain's first weeks, where everything looks new"),
        Column("rules_version", TEXT, "hash of the rules that labelled the row"),
    ),
)

TITLE_STATE = Table(
    "title_state",
    "what a user had done with a title before a week",
    "as_of",
    ("as_of", "user_id", "title_id"),
    (
        Column("as_of", DATE, "state before this date; each fact expires after the domain's state_weeks"),
        Column("user_id", TEXT, "whose taste it is"),
        Column("title_id", TEXT, "the title"),
        Column("last_play_ts", TS, "end of the last visit that played it", nullable=True),
        Column("last_item_id", TEXT, "last item played", nullable=True),
        Column("last_episode", INT, "its episode", nullable=True),
        Column("last_fraction", DOUBLE, "how far into it", nullable=True),
        Column("last_finished_ts", TS, "end of the last visit that finished an item of it", nullable=True),
        Column("listed", BOOL, "on the user's list"),
        Column("last_listed_ts", TS, "when the list last changed for it", nullable=True),
        Column("genres", array(TEXT), "genres at the last visit: the user's taste is their union over titles"),
        Column("creator", TEXT, "creator at the last visit", nullable=True),
        Column("last_touch_ts", TS, "end of the last visit of any sort"),
    ),
)

FEATURE_PROFILES = Table(
    "feature_profiles",
    "how often a value of a feature occurred in a week",
    "week",
    ("week", "table_name", "feature", "kind", "value"),
    (
        Column("week", DATE, "first service date of the week"),
        Column("table_name", TEXT, "the table whose rows were counted: engagement_events or interactions"),
        Column("feature", TEXT, "its column, or intent.NAME for the classes that an intent makes of a number"),
        Column("kind", TEXT, "value, bin (of a number), other (values without a row of their own) or null (unknown)"),
        Column("value", TEXT, "the value, or the bin's index; empty where the kind says all"),
        Column("rows", LONG, "rows of the week that hold it; a row with several labels counts for each"),
    ),
)


def _each(name: str, of: DataType, doc: str) -> Column:
    return Column(name, array(of), doc)


SEQUENCES = Table(
    "sequences",
    "a user active in the week before as_of: the latest n interactions, oldest first, as aligned arrays",
    "as_of",
    ("as_of", "user_id"),
    (
        Column("as_of", DATE, "everything in the row happened before this service date"),
        Column("user_id", TEXT, "whose taste it is"),
        Column("account_id", TEXT, "whom erasure concerns"),
        Column("n_new", INT, "how many of the last positions fell into the week before as_of"),
        _each("title_id", TEXT, "titles"),
        _each("start_ts", TS, "starts"),
        _each("end_ts", TS, "T_k"),
        _each("duration_s", DOUBLE, "seconds engaged"),
        _each("action_type", TEXT, "action types"),
        _each("kind", TEXT, "kinds"),
        Column("genres", array(array(TEXT)), "genres of each interaction"),
        _each("creator", TEXT, "creators, empty text where unknown"),
        _each("language", TEXT, "languages, empty text where unknown"),
        _each("release_age_days", DOUBLE, "ages, -1 where unknown"),
        _each("surface", TEXT, "surfaces"),
        _each("device", TEXT, "devices"),
        _each("is_target", BOOL, "may be predicted: the domain's target, and not left-censored"),
        _each("weight", FLOAT, "duration weight in [0, 1]"),
        Column("window_start", text_map(array(INT)), "per window H: 0-based first position with T_k - T_i <= H"),
    ),
)

_RELEASE = Column("release_id", TEXT, "the publication this row belongs to")

USER_INTENTS = Table(
    "user_intents",
    "a user's predicted session intent",
    "as_of",
    ("as_of", "user_id"),
    (
        Column("as_of", DATE, "predicted from everything before this date"),
        _RELEASE,
        Column("user_id", TEXT, "whose intent"),
        Column("account_id", TEXT, "whom erasure concerns"),
        Column("intent_embedding", array(FLOAT), "Z of Eq. 2"),
        Column("attention", text_map(FLOAT), "softmax of alpha per intent"),
        Column("primary_intent", TEXT, "intent of the largest attention weight"),
        Column("top_labels", text_map(array(TEXT)), "per intent, most probable labels first"),
        Column("top_probabilities", text_map(array(FLOAT)), "their probabilities"),
        Column("cluster", INT, "k-means cluster of the embedding, within space_id", nullable=True),
        Column("space_id", TEXT, "embeddings are comparable within one space only: the model version"),
    ),
)

RECOMMENDATIONS = Table(
    "recommendations",
    "one recommended title",
    "as_of",
    ("as_of", "user_id", "rank"),
    (
        Column("as_of", DATE, "recommended from everything before this date"),
        _RELEASE,
        Column("user_id", TEXT, "for whom"),
        Column("account_id", TEXT, "whom erasure concerns"),
        Column("rank", INT, "1 is best"),
        Column("title_id", TEXT, "what"),
        Column("score", FLOAT, "the model's logit"),
    ),
)

ITEM_VECTORS = Table(
    "item_vectors",
    "a title's output vector",
    "as_of",
    ("as_of", "title_id"),
    (
        Column("as_of", DATE, "offered on this date"),
        _RELEASE,
        Column("title_id", TEXT, "the title"),
        Column(
            "vector",
            array(FLOAT),
            "its dot product with a user vector, and the user's logit bias of the title, are the logit",
        ),
    ),
)

USER_VECTORS = Table(
    "user_vectors",
    "a user's output vector",
    "as_of",
    ("as_of", "user_id"),
    (
        Column("as_of", DATE, "from everything before this date"),
        _RELEASE,
        Column("user_id", TEXT, "the user"),
        Column("account_id", TEXT, "whom erasure concerns"),
        Column(
            "vector", array(FLOAT), "its dot product with an item vector, and that title's logit bias, are the logit"
        ),
        Column(
            "logit_bias",
            text_map(FLOAT),
            "by title in or near the user's history: what to add to its dot product",
            former="boosts",
        ),
    ),
)

RELEASES = Table(
    "releases",
    "one publication: consumers start here",
    None,
    ("release_id",),
    (
        Column("release_id", TEXT, "hash of everything that determines the published rows"),
        Column("as_of", DATE, "what it was computed for"),
        Column("active", BOOL, "consumers use the one active release"),
        Column("model_name", TEXT, "registered model"),
        Column("model_version", TEXT, "its version"),
        Column("mlflow_run_id", TEXT, "the training run"),
        Column("table_versions", text_map(LONG), "published and input tables at their Delta versions"),
        Column("metrics", text_map(DOUBLE), "the gate's metrics of this model"),
        Column("config_hash", TEXT, "of the domain file"),
        Column("code_version", TEXT, "commit"),
    ),
)

RUN_LEDGER = Table(
    "run_ledger",
    "one attempt of one job",
    None,
    ("run_id",),
    (
        Column("run_id", TEXT, "this attempt"),
        Column("job", TEXT, "ingest, build_interactions, ..."),
        Column("start", DATE, "interval, inclusive"),
        Column("end", DATE, "interval, exclusive"),
        Column("status", TEXT, "running, succeeded, skipped or failed"),
        Column("message", TEXT, "why it was skipped or failed, or what a person decided", nullable=True),
        Column("inputs", text_map(LONG), "table versions read"),
        Column("outputs", text_map(LONG), "table versions after the run"),
        Column("counts", text_map(LONG), "rows in, accepted, quarantined, ... as TABLE_OR_STEP.what"),
        Column("config_hash", TEXT, "of the domain file"),
        Column("code_version", TEXT, "commit"),
        Column("started_at", TS, "clock time"),
        Column("seconds", DOUBLE, "wall time", nullable=True),
        Column("airflow_task", TEXT, "Airflow's task attempt, as its log is named; empty where none", nullable=True),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        ENGAGEMENT_EVENTS,
        QUARANTINE,
        CATALOG,
        INTERACTIONS,
        TITLE_STATE,
        FEATURE_PROFILES,
        SEQUENCES,
        USER_INTENTS,
        RECOMMENDATIONS,
        ITEM_VECTORS,
        USER_VECTORS,
        RELEASES,
        RUN_LEDGER,
    )
}

# What a source delivers: everything as text, so that a bad value reaches the quarantine with its reason instead of
# failing the read. `read_error` is set where a line could not be taken apart at all (then only raw, source_* and
# arrived_at are filled).
RAW_EVENT = StructType(
    [
        StructField("raw", TEXT, False),
        StructField("source_file", TEXT, False),
        StructField("source_line", LONG, True),
        StructField("arrived_at", TS, False),
        StructField("read_error", TEXT, True),
        *(
            StructField(name, TEXT, True)
            for name in (
                "event_id",
                "user_id",
                "account_id",
                "item_id",
                "event_ts",
                "event_type",
                "duration_s",
                "position_s",
                "surface",
                "device",
            )
        ),
        StructField("extra", MapType(TEXT, TEXT), True),
    ]
)

RAW_ITEM = StructType(
    [
        StructField("raw", TEXT, False),
        StructField("source_file", TEXT, False),
        StructField("source_line", LONG, True),
        StructField("snapshot_date", DATE, False),
        StructField("read_error", TEXT, True),
        *(
            StructField(name, TEXT, True)
            for name in (
                "item_id",
                "title_id",
                "kind",
                "genres",
                "creator",
                "episode",
                "release_ts",
                "runtime_s",
                "language",
                "text",
                "available_from",
                "available_to",
            )
        ),
    ]
)
