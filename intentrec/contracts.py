"""The tables: columns, types, keys and partitions. Spark, delta-rs, the audits and the docs derive from this module.

The file is long because it is the only place where a table is described. At its end are the raw rows that
`intentrec.sources` reads. Their values are text, because they are not checked yet.
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
    """One column of a table.

    Attributes:
        name: its name.
        type: its Spark type.
        doc: its meaning, with the unit.
        nullable: whether it may be null.
        former: its former name, if it was renamed; None otherwise.
    """

    name: str
    type: DataType
    doc: str
    nullable: bool = False
    former: str | None = None


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of the table and of its folder.
        row: what one row is.
        partition: the date column by which it is partitioned; None for a small table. A run replaces only its own
        dates.
        key: columns that are unique together; empty if rows have no key.
        columns: its columns, in order.
    """

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
        """Column names in contract order, such as for the `select` at the end of a transform."""
        return [column.name for column in self.columns]


_EVENT = (
    Column("event_id", TEXT, "the source's id of this event"),
    Column("user_id", TEXT, "the user: whose taste the row is about"),
    Column("account_id", TEXT, "the account that a request for erasure names"),
    Column("item_id", TEXT, "what was played or touched (an episode, a video, a product)"),
    Column("event_ts", TS, "when the event began, UTC"),
    Column("arrived_at", TS, "when the row reached the landing zone, UTC"),
    Column("event_type", TEXT, "one of the domain's event types"),
    Column("duration_s", DOUBLE, "seconds of engagement; 0 for an event without a length", nullable=True),
    Column(
        "position_s",
        DOUBLE,
        "position in the item at the end of the event, in seconds from the item's start",
        nullable=True,
    ),
    Column("surface", TEXT, "the page or row of the service on which it happened", nullable=True),
    Column("device", TEXT, "kind of device", nullable=True),
    Column("extra", text_map(TEXT), "all other fields of the raw row, by name"),
)

ENGAGEMENT_EVENTS = Table(
    "engagement_events",
    "an accepted raw event",
    "event_date",
    ("event_date", "event_id"),
    (Column("event_date", DATE, "service date of event_ts; a service day starts at calendar.day_start"), *_EVENT),
)

QUARANTINE = Table(
    "quarantine",
    "a raw row that was refused, with every reason",
    "event_date",
    (),
    (
        Column("event_date", DATE, "service date of the event, or of arrival where the row has no plausible time"),
        Column("record", TEXT, "event or catalog"),
        Column("reasons", array(TEXT), "every reason, sorted"),
        Column("raw", TEXT, "the row as delivered, with invalid UTF-8 replaced"),
        Column("source_file", TEXT, "the file that holds it"),
        Column("source_line", LONG, "1-based line in that file", nullable=True),
        Column("arrived_at", TS, "when the row reached the landing zone, UTC"),
    ),
)

CATALOG = Table(
    "catalog",
    "an item as the service described it on a date",
    "snapshot_date",
    ("snapshot_date", "item_id"),
    (
        Column("snapshot_date", DATE, "service date from which these facts are known"),
        Column("item_id", TEXT, "what is played: an episode, a video, a product"),
        Column("title_id", TEXT, "the title: unit of vocabulary, state and recommendation"),
        Column("kind", TEXT, "film, show, upload type, department, ...", nullable=True),
        Column("genres", array(TEXT), "sorted labels; empty where unknown"),
        Column("creator", TEXT, "author, studio or brand", nullable=True),
        Column("episode", INT, "order of the item within its title", nullable=True),
        Column("release_ts", TS, "first release", nullable=True),
        Column("runtime_s", DOUBLE, "length in seconds", nullable=True),
        Column("language", TEXT, "original language", nullable=True),
        Column("text", TEXT, "name or description", nullable=True),
        Column("available_from", TS, "first moment at which it may be offered", nullable=True),
        Column("available_to", TS, "first moment at which it may no longer be offered", nullable=True),
        Column(
            "promotion",
            DOUBLE,
            "planned promotion in the week after that of snapshot_date: share (0 to 1) of the stores, screens or slots "
            "that show the item",
            nullable=True,
        ),
    ),
)

INTERACTIONS = Table(
    "interactions",
    "a visit: consecutive events of one title inside a session",
    "event_date",
    ("user_id", "start_ts", "title_id"),
    (
        Column("event_date", DATE, "service date of the visit's session"),
        Column("user_id", TEXT, "the user"),
        Column("account_id", TEXT, "the account that a request for erasure names"),
        Column("session_id", TEXT, "the user and the start of the session"),
        Column("title_id", TEXT, "the visit's title"),
        Column("item_id", TEXT, "last item of the visit"),
        Column("start_ts", TS, "start of its first event"),
        Column("end_ts", TS, "T_k: end of its last event; the row holds nothing that is known only later"),
        Column("tie", LONG, "hash of its first event_id; visits are ordered by (end_ts, start_ts, tie)"),
        Column("duration_s", DOUBLE, "seconds of engagement in all its events; null if unknown", nullable=True),
        Column("fraction", DOUBLE, "furthest position of the last item as a share of its runtime", nullable=True),
        Column("event_counts", text_map(LONG), "number of events by event_type"),
        Column("signals", text_map(DOUBLE), "sum of each of the domain's signals over the visit"),
        Column("surface", TEXT, "surface of the first event", nullable=True),
        Column("device", TEXT, "device of the first event", nullable=True),
        Column("kind", TEXT, "catalogue fact at that time", nullable=True),
        Column("genres", array(TEXT), "catalogue fact at that time"),
        Column("creator", TEXT, "catalogue fact at that time", nullable=True),
        Column("language", TEXT, "catalogue fact at that time", nullable=True),
        Column("episode", INT, "catalogue fact of the last item", nullable=True),
        Column(
            "release_age_days", DOUBLE, "days from the title's release to end_ts; 0 before the release", nullable=True
        ),
        Column(
            "last_fraction",
            DOUBLE,
            "how far the user's last play of the title, this visit included, got into its item; null if unknown",
            nullable=True,
        ),
        Column("last_finished", BOOL, "whether that play finished its item"),
        Column("listed", BOOL, "whether the title is on the user's list after the visit"),
        Column("action_type", TEXT, "label of the first action-type rule that matches"),
        Column("is_target", BOOL, "whether it may be predicted: the domain's target_when"),
        Column("left_censored", BOOL, "in the domain's first weeks, in which every title looks new"),
        Column("rules_version", TEXT, "hash of the rules that gave the label"),
    ),
)

TITLE_STATE = Table(
    "title_state",
    "what a user had done with a title up to a date",
    "as_of",
    ("as_of", "user_id", "title_id"),
    (
        Column("as_of", DATE, "state before this date; each fact expires after interactions.state_weeks"),
        Column("user_id", TEXT, "the user"),
        Column("title_id", TEXT, "the title"),
        Column("last_play_ts", TS, "end of the last visit that played it", nullable=True),
        Column("last_item_id", TEXT, "last item played", nullable=True),
        Column("last_episode", INT, "episode of that item", nullable=True),
        Column("last_fraction", DOUBLE, "how far that visit got into it, as a share of its runtime", nullable=True),
        Column("last_finished_ts", TS, "end of the last visit that finished an item of it", nullable=True),
        Column("listed", BOOL, "whether it is on the user's list"),
        Column("last_listed_ts", TS, "when it was last put on the list or taken off", nullable=True),
        Column("genres", array(TEXT), "genres at the last visit"),
        Column("creator", TEXT, "creator at the last visit", nullable=True),
        Column("last_touch_ts", TS, "end of the last visit of any kind"),
    ),
)

TITLE_FACTS = Table(
    "title_facts",
    "what is known of a title when a week begins, if users engaged it in the week before or a promotion is planned",
    "as_of",
    ("as_of", "title_id"),
    (
        Column("as_of", DATE, "first service date of the week"),
        Column("title_id", TEXT, "the title"),
        Column("users", LONG, "users with a target of it in the seven days before as_of, left-censored or not"),
        Column("promotion", DOUBLE, "planned promotion in the week (catalog.promotion); null if none", nullable=True),
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
    """A column with an array of one value per position."""
    return Column(name, array(of), doc)


SEQUENCES = Table(
    "sequences",
    "a user who was active in the week before as_of: the latest n visits, oldest first, as aligned arrays",
    "as_of",
    ("as_of", "user_id"),
    (
        Column("as_of", DATE, "service date before which everything in the row happened"),
        Column("user_id", TEXT, "the user"),
        Column("account_id", TEXT, "the account that a request for erasure names"),
        Column("n_new", INT, "how many of the last positions lie in the week before as_of"),
        _each("title_id", TEXT, "titles"),
        _each("start_ts", TS, "starts"),
        _each("end_ts", TS, "T_k"),
        _each("duration_s", DOUBLE, "seconds of engagement, -1 where unknown"),
        _each("action_type", TEXT, "action types"),
        _each("kind", TEXT, "kinds, empty text where unknown"),
        Column("genres", array(array(TEXT)), "genres of each visit"),
        _each("creator", TEXT, "creators, empty text where unknown"),
        _each("language", TEXT, "languages, empty text where unknown"),
        _each("release_age_days", DOUBLE, "release ages in days, -1 where unknown"),
        _each("last_fraction", DOUBLE, "how far the last play of the title got into its item, -1 where unknown"),
        _each("last_finished", BOOL, "whether that play finished its item"),
        _each("listed", BOOL, "whether the title is on the user's list after the visit"),
        _each("surface", TEXT, "surfaces, empty text where unknown"),
        _each("device", TEXT, "devices, empty text where unknown"),
        _each("is_target", BOOL, "may be predicted: is_target and not left_censored"),
        _each("opens_session", BOOL, "whether the visit before it, if any, is of another session"),
        _each("weight", FLOAT, "weight of the duration, in [0, 1]; 1 where it is unknown"),
        Column("window_start", text_map(array(INT)), "per window H: 0-based first position with T_k - T_i <= H"),
    ),
)

_RELEASE = Column("release_id", TEXT, "the release that the row belongs to")

USER_INTENTS = Table(
    "user_intents",
    "a user's predicted session intent",
    "as_of",
    ("as_of", "user_id"),
    (
        Column("as_of", DATE, "service date before which everything that it is predicted from happened"),
        _RELEASE,
        Column("user_id", TEXT, "the user"),
        Column("account_id", TEXT, "the account that a request for erasure names"),
        Column("intent_embedding", array(FLOAT), "Z of Eq. 2"),
        Column("attention", text_map(FLOAT), "attention weight per intent: softmax of alpha"),
        Column("primary_intent", TEXT, "intent with the largest attention weight"),
        Column(
            "distinctive_intent",
            TEXT,
            "intent whose distribution differs most from that of all users (KL divergence over its mean); null for a "
            "model of an earlier version",
            nullable=True,
        ),
        Column("top_labels", text_map(array(TEXT)), "per intent, most probable labels first"),
        Column("top_probabilities", text_map(array(FLOAT)), "their probabilities"),
        Column("cluster", INT, "k-means cluster of the embedding, within space_id", nullable=True),
        Column("space_id", TEXT, "the model version; embeddings are comparable within one version only"),
    ),
)

RECOMMENDATIONS = Table(
    "recommendations",
    "one recommended title",
    "as_of",
    ("as_of", "user_id", "rank"),
    (
        Column("as_of", DATE, "service date before which everything that it is recommended from happened"),
        _RELEASE,
        Column("user_id", TEXT, "the user"),
        Column("account_id", TEXT, "the account that a request for erasure names"),
        Column("rank", INT, "1 is best"),
        Column("title_id", TEXT, "the title"),
        Column("score", FLOAT, "the model's logit (V4: log probability), or the score of the naive baseline"),
        Column(
            "known",
            BOOL,
            "whether the user has touched the title before (title_state, publishing.seen_for); null in releases of "
            "earlier versions",
            nullable=True,
        ),
    ),
)

INTENT_RECOMMENDATIONS = Table(
    "intent_recommendations",
    "one title recommended for a class that the user's next intent may have",
    "as_of",
    ("as_of", "user_id", "label", "rank"),
    (
        Column("as_of", DATE, "service date before which everything that it is recommended from happened"),
        _RELEASE,
        Column("user_id", TEXT, "the user"),
        Column("account_id", TEXT, "the account that a request for erasure names"),
        Column("intent", TEXT, "the lead intent"),
        Column("label", TEXT, "the class"),
        Column("probability", FLOAT, "of the class"),
        Column("rank", INT, "1 is best"),
        Column("title_id", TEXT, "the title"),
        Column("score", FLOAT, "log probability of the title, given the class"),
    ),
)

POPULAR_TITLES = Table(
    "popular_titles",
    "a popular title, for users without rows in `recommendations`",
    "as_of",
    ("as_of", "title_id"),
    (
        Column("as_of", DATE, "service date before which everything that was counted happened"),
        _RELEASE,
        Column("rank", INT, "1 is best"),
        Column("title_id", TEXT, "the title"),
        Column("users", LONG, "users who engaged it in the seven days before as_of; left-censored visits do not count"),
    ),
)

ITEM_VECTORS = Table(
    "item_vectors",
    "a title's output vector",
    "as_of",
    ("as_of", "title_id"),
    (
        Column("as_of", DATE, "service date on which the title is offered"),
        _RELEASE,
        Column("title_id", TEXT, "the title"),
        Column(
            "vector",
            array(FLOAT),
            "its dot product with a user vector plus the user's logit bias of the title is the logit",
        ),
    ),
)

USER_VECTORS = Table(
    "user_vectors",
    "a user's output vector",
    "as_of",
    ("as_of", "user_id", "label"),
    (
        Column("as_of", DATE, "service date before which everything that it is computed from happened"),
        _RELEASE,
        Column("user_id", TEXT, "the user"),
        Column("account_id", TEXT, "the account that a request for erasure names"),
        Column(
            "vector", array(FLOAT), "its dot product with an item vector plus the logit bias of that title is the logit"
        ),
        Column(
            "label",
            TEXT,
            "V4: the class of the lead intent that the row is conditioned on. A user has a row per class, and the "
            "score of a title is the log of the sum of exp(log_weight + logit) over them; null for other variants",
            nullable=True,
        ),
        Column("log_weight", FLOAT, "V4: see label; null for other variants", nullable=True),
        Column(
            "logit_bias",
            text_map(FLOAT),
            "logit bias by title, for titles in or near the user's history; 0 for all others",
            former="boosts",
        ),
    ),
)

RELEASES = Table(
    "releases",
    "one publication; consumers read this table first",
    None,
    ("release_id",),
    (
        Column("release_id", TEXT, "hash of everything that determines the published rows"),
        Column("as_of", DATE, "the date that it was computed for"),
        Column("active", BOOL, "whether consumers use it; at most one release is active"),
        Column("model_name", TEXT, "registered model, or the naive baseline that published instead of a model"),
        Column("model_version", TEXT, "its version; `none` of a naive baseline"),
        Column(
            "mlflow_run_id", TEXT, "MLflow's id of the training, or of the one that the naive baseline was judged with"
        ),
        Column("table_versions", text_map(LONG), "Delta versions of the published tables and of their inputs"),
        Column("metrics", text_map(DOUBLE), "the gate's metrics of this model or baseline"),
        Column("config_hash", TEXT, "hash of the domain file"),
        Column("code_version", TEXT, "commit of the code, with + where the code differs from it"),
    ),
)

RUN_LEDGER = Table(
    "run_ledger",
    "one attempt of one job",
    None,
    ("run_id",),
    (
        Column("run_id", TEXT, "id of the attempt"),
        Column("job", TEXT, "ingest, build_interactions, ..."),
        Column("start", DATE, "first service date of its interval"),
        Column("end", DATE, "service date after the last"),
        Column("status", TEXT, "running, succeeded, skipped or failed; one that was killed stays at running"),
        Column("message", TEXT, "why it was skipped or failed, or what a person decided", nullable=True),
        Column("inputs", text_map(LONG), "table versions read"),
        Column("outputs", text_map(LONG), "table versions after the run"),
        Column("counts", text_map(LONG), "what was counted, as TABLE_OR_STEP.what, such as events.accepted"),
        Column("config_hash", TEXT, "hash of the domain file"),
        Column("code_version", TEXT, "commit of the code, with + where the code differs from it"),
        Column("started_at", TS, "when it began, UTC"),
        Column("seconds", DOUBLE, "wall time in seconds; null while it is running", nullable=True),
        Column(
            "airflow_task",
            TEXT,
            "Airflow's attempt of the task, as its log is named; null outside Airflow",
            nullable=True,
        ),
        Column(
            "delivery",
            text_map(TEXT),
            "what an ingestion read: folder, named_by (such as INTENTREC_DATA), files (their number), bytes, sha256 "
            "(of names, sizes and hashes; delivery-*.json in the report folder lists them), simulated_files; null for "
            "other jobs",
            nullable=True,
        ),
        Column("host", TEXT, "machine of its process", nullable=True),
        Column("pid", LONG, "id of its process on that machine", nullable=True),
        Column("process_started_at", TS, "when that process began, UTC: the system uses ids again", nullable=True),
        Column(
            "settings",
            text_map(TEXT),
            "hashes of settings of the domain file: job (those that decide what the job writes) and calendar (zone and "
            "day_start); null for an attempt of an earlier version",
            nullable=True,
        ),
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
        TITLE_FACTS,
        FEATURE_PROFILES,
        SEQUENCES,
        USER_INTENTS,
        RECOMMENDATIONS,
        INTENT_RECOMMENDATIONS,
        POPULAR_TITLES,
        ITEM_VECTORS,
        USER_VECTORS,
        RELEASES,
        RUN_LEDGER,
    )
}
# What consumers read, by release. A release of a naive baseline has the first two, and only V4 fills the last one.
PUBLISHED = (RECOMMENDATIONS, POPULAR_TITLES, USER_INTENTS, ITEM_VECTORS, USER_VECTORS, INTENT_RECOMMENDATIONS)
