"""Whether a frame that is going to be written, and a table that exists, have the columns of the contract."""

from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DataType, MapType

from intentrec.contracts import Table
from intentrec.errors import PipelineError
from intentrec.storage.delta import Snapshot


def require_frame(table: Table, frame: DataFrame) -> None:
    """Compare names and types with the contract. Delta would accept a frame without a nullable column.

    Raises:
        PipelineError: they differ.
    """
    have = {field.name: field.dataType for field in frame.schema}
    want = {field.name: field.dataType for field in table.schema}
    problems = [f"missing {name}" for name in want.keys() - have.keys()]
    problems += [f"unexpected {name}" for name in have.keys() - want.keys()]
    problems += [
        f"{name} is {have[name].simpleString()}, not {want[name].simpleString()}"
        for name in want.keys() & have.keys()
        if _type_text(have[name]) != _type_text(want[name])
    ]
    if problems:
        raise PipelineError(f"frame for {table.name} does not fit its contract: {'; '.join(sorted(problems))}")


def require_migrated(table: Snapshot, domain: str) -> None:
    """Refuse a table of an earlier version: a column has its former name, is not there yet, or may not be null yet.

    Args:
        table: the table as it is now.
        domain: name of its domain.

    Raises:
        PipelineError: it is one; the message names the command that migrates it.
    """
    name = table.table.name
    problems = [f"its column {old} is called {new} now" for old, new in table.former_columns.items()]
    if missing := [column.name for column in table.missing_columns]:
        problems.append(f"it has no column {', '.join(missing)} yet")
    if strict := table.strict_columns:
        problems.append(f"its columns {', '.join(strict)} may not be null yet")
    if problems:
        raise PipelineError(
            f"{name}: {', '.join(problems)}: run `intentrec migrate --config` with the domain file of {domain} first"
        )


def _type_text(of: DataType) -> str:
    """The type without nullability, which Spark infers. Delta itself refuses a null in a column that allows none."""
    if isinstance(of, ArrayType):
        return f"array<{_type_text(of.elementType)}>"
    if isinstance(of, MapType):
        return f"map<{_type_text(of.keyType)},{_type_text(of.valueType)}>"
    return of.simpleString()
