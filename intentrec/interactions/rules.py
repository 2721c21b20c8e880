"""Action types: ordered Spark SQL rules of the domain file, compiled into one column.

A rule sees three structs:

    r   the visit that gets the label
    s   what this user had done with this title before the visit
    u   what this user had done before the visit, with any title

The first rule that matches gives the label. There is no implicit else: a visit that no rule matches gets null, which
the audit of `interactions` refuses.
"""

from pathlib import Path

from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, StructField, StructType

from intentrec.config import ConfigError, Domain
from intentrec.contracts import BOOL, DOUBLE, INT, INTERACTIONS, LONG, TEXT
from intentrec.interactions.conditions import column, objection
from intentrec.interactions.visits import BEFORE_LABELS

# Scope `s`. A field is null or false if the user never did it, or did it more than `state_weeks` before the week.
TITLE_SCOPE = StructType(
    [
        StructField("last_item_id", TEXT),  # last item played
        StructField("last_episode", INT),
        StructField("last_fraction", DOUBLE),
        StructField("last_finished", BOOL, False),  # whether that item was played to finished_fraction
        StructField("days_since_play", DOUBLE),  # from the end of the last visit that played it to this visit's start
        StructField("listed", BOOL, False),
        StructField("days_since_touch", DOUBLE),  # as days_since_play, for visits of any sort
    ]
)
# Scope `u`.
USER_SCOPE = StructType(
    [
        StructField("genres", ArrayType(TEXT, False), False),  # of all titles touched
        StructField("last_creator", TEXT),  # of the last visit, whatever its title
    ]
)


def visit_scope(domain: Domain) -> StructType:
    """Scope `r`: the visit without its labels, with its counts as n_<event_type> and its signals by name."""
    contract = INTERACTIONS.schema
    return StructType(
        [
            *(contract[name] for name in BEFORE_LABELS),
            StructField("first_item_id", TEXT),
            *(StructField(f"n_{kind}", LONG) for kind in domain.events.types),
            *(StructField(name, DOUBLE) for name in domain.events.signals),
        ]
    )


def visit_struct(domain: Domain) -> Column:
    """The struct `r` of a frame of visits."""
    counts = [F.coalesce(F.col("event_counts").getItem(t), F.lit(0)).cast("long") for t in domain.events.types]
    return F.struct(
        *BEFORE_LABELS,
        "first_item_id",
        *(count.alias(f"n_{kind}") for kind, count in zip(domain.events.types, counts, strict=True)),
        *(F.col("signals").getItem(name).alias(name) for name in domain.events.signals),
    )


def action_type(domain: Domain) -> Column:
    """Label of the first rule that matches, null if none does. For a frame with the structs r, s and u."""
    first, *others = domain.interactions.action_types
    label = F.when(column(first.when), first.name)
    for rule in others:
        label = label.when(column(rule.when), rule.name)
    return label


def is_target(domain: Domain) -> Column:
    """The domain's target_when on a frame of labelled visits. Null counts as false. A visit with a return is none."""
    meant = F.coalesce(column(domain.interactions.target_when), F.lit(False))
    kind = domain.events.return_type
    return meant if kind is None else meant & F.col("event_counts").getItem(kind).isNull()


def check(spark: SparkSession, domain: Domain, path: str | Path) -> None:
    """Analyse every condition against the columns that it may use. Jobs call this before they write anything.

    Args:
        spark: the session.
        domain: the domain with the rules.
        path: the domain file, for messages.

    Raises:
        ConfigError: a condition is not Spark SQL, uses an unknown column, is not boolean, contains an aggregate, or is
            not a function of its row (`conditions.objection`). The message names the file and the key.
    """
    _check_names(domain, path)
    scopes = {"r": visit_scope(domain), "s": TITLE_SCOPE, "u": USER_SCOPE}
    empty = spark.createDataFrame([], StructType([StructField(name, of, False) for name, of in scopes.items()]))
    for index, rule in enumerate(domain.interactions.action_types):
        key = f"interactions.action_types.{index}.when"
        _check_condition(empty, rule.when, f"{path}: {key} ({rule.name})", _available(scopes))
    columns = StructType([field for field in INTERACTIONS.schema if field.name != "is_target"])
    labelled = spark.createDataFrame([], columns)
    where = f"{path}: interactions.target_when"
    _check_condition(labelled, domain.interactions.target_when, where, ", ".join(columns.names))


def _check_names(domain: Domain, path: str | Path) -> None:
    fixed = {*BEFORE_LABELS, "first_item_id", *(f"n_{kind}" for kind in domain.events.types)}
    clash = sorted(fixed & set(domain.events.signals))
    if clash:
        raise ConfigError(
            f"{path}: events.signals: {', '.join(clash)} is already a column of a visit; rename the signal"
        )


def _check_condition(frame: DataFrame, condition: str, where: str, available: str) -> None:
    try:
        wrong = objection(frame, condition)
        if wrong is not None:
            raise ConfigError(f"{where}: {condition!r} {wrong}")
        found = frame.select(column(condition).alias("condition")).schema["condition"].dataType
        if not isinstance(found, BooleanType):
            raise ConfigError(f"{where}: {condition!r} is {found.simpleString()}, not true or false")
        frame.where(column(condition)).schema  # noqa: B018  as a filter, Spark refuses aggregates and generators
    except ParseException as error:
        raise ConfigError(f"{where}: {condition!r} is not Spark SQL: {_first_line(error)}") from error
    except AnalysisException as error:
        raise ConfigError(f"{where}: {condition!r}: {_first_line(error)} Columns: {available}") from error


def _first_line(error: Exception) -> str:
    return next(line for line in str(error).splitlines() if line.strip())


def _available(scopes: dict[str, StructType]) -> str:
    return ", ".join(f"{scope}.{name}" for scope, of in scopes.items() for name in of.names)
