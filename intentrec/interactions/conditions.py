"""Whether a condition of a domain file, in Spark SQL, is a function of its row.

A condition must not read a file or a table, and must not depend on the clock, on chance or on who executes it: the same
rows must give the same labels. Spark's parser gives the tree of a condition before anything is read or executed.
"""

import re
from collections.abc import Iterator
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

# Groups of Spark's functions whose members compute a value from their arguments. Others read the session or the system
# (misc), external entities (xml) or other rows (agg, window), or make rows (generator).
GROUPS = {
    f"{name}_funcs"
    for name in (
        "array",
        "bitwise",
        "collection",
        "conditional",
        "conversion",
        "datetime",
        "hash",
        "json",
        "lambda",
        "map",
        "math",
        "predicate",
        "string",
        "struct",
        "url",
    )
}
# Words that Spark's parser replaces by the date or time of the parsing, as in DATE 'today'.
_NOW = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)


def column(condition: str) -> Column:
    """The condition as a column. Only for conditions that `objection` accepts.

    Spark parses it alone, so it cannot end an expression around it.
    """
    return F.expr(condition)


def objection(frame: DataFrame, condition: str) -> str | None:
    """Why a condition is not a function of a row of `frame`; None if it is one.

    Args:
        frame: has the columns that the condition may use.
        condition: in Spark SQL.

    Raises:
        ParseException: it is not Spark SQL.
        AnalysisException: it uses an unknown column or a function with wrong arguments.
    """
    spark = frame.sparkSession
    patterns = _jvm(spark).org.apache.spark.sql.catalyst.trees.TreePattern
    tree = spark._jsparkSession.sessionState().sqlParser().parseExpression(condition)
    if tree.containsPattern(patterns.PLAN_EXPRESSION()):
        return "reads a table or a file in a subquery: use the columns of the row only"
    for node in _nodes(tree):
        kind = node.getClass().getSimpleName()
        if kind == "ExpressionWithUnresolvedIdentifier":
            return "names a column or a function by IDENTIFIER: write the name itself"
        if kind == "UnresolvedFunction" and not _computes(spark, node):
            name = node.nameParts().mkString(".")
            return f"calls {name}, which is not a function of the row: use the columns and functions of their values"
        if kind == "Literal" and node.dataType().simpleString() in _TIMES and _NOW.search(_source(node)):
            return "depends on the clock: use columns only"
    plan = frame.select(column(condition))._jdf.queryExecution().analyzed()
    if not plan.deterministic() or plan.containsPattern(patterns.CURRENT_LIKE()):
        return "depends on the clock, on chance or on who executes it: use columns only"
    return None


def compared_texts(spark: SparkSession, condition: str) -> set[tuple[str, str]]:
    """Pairs of a column and a text that a condition compares with it, by `=`, `<>`, `IN`, `array_contains` or `[]`.

    Args:
        spark: the session.
        condition: in Spark SQL.
    """
    pairs = set()
    for node in _nodes(spark._jsparkSession.sessionState().sqlParser().parseExpression(condition)):
        kind = node.getClass().getSimpleName()
        if kind in _COMPARISONS or (kind == "UnresolvedFunction" and node.nameParts().head() == "array_contains"):
            parts = [(each.getClass().getSimpleName(), each) for each in _children(node)]
            columns = [each.nameParts().mkString(".") for name, each in parts if name == "UnresolvedAttribute"]
            literals = [
                each for name, each in parts if name == "Literal" and each.dataType().simpleString() == "string"
            ]
            pairs |= {(name, each.value().toString()) for name in columns for each in literals}
    return pairs


_COMPARISONS = {"EqualTo", "EqualNullSafe", "In", "UnresolvedExtractValue"}  # Spark's names of = <=> IN []
_TIMES = {"date", "timestamp", "timestamp_ntz", "time(6)"}


def _jvm(spark: SparkSession) -> Any:
    return spark._jvm


def _nodes(tree: Any) -> Iterator[Any]:
    """A node of Spark's tree and all nodes below it."""
    yield tree
    for child in _children(tree):
        yield from _nodes(child)


def _children(node: Any) -> list[Any]:
    children = node.children()
    return [children.apply(place) for place in range(children.size())]


def _computes(spark: SparkSession, call: Any) -> bool:
    """Whether a call is of a built-in function in one of GROUPS."""
    catalyst = _jvm(spark).org.apache.spark.sql.catalyst
    if call.nameParts().size() != 1:
        return False
    name = catalyst.FunctionIdentifier(call.nameParts().head())
    found = catalyst.analysis.FunctionRegistry.builtin().lookupFunction(name)
    return found.isDefined() and found.get().getGroup() in GROUPS


def _source(node: Any) -> str:
    """The text that a node was parsed from. Not for `true` and `false`: Spark shares one node among all texts."""
    origin = node.origin()
    return origin.sqlText().get()[origin.startIndex().get() : origin.stopIndex().get() + 1]
