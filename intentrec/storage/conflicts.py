"""What Delta raises where another commit came first, as a message for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

from delta.exceptions import captured
from pyspark.errors import AnalysisException

from intentrec.contracts import Table
from intentrec.errors import PipelineError, Superseded

# These classes share no base class of their own.
CONFLICTS = (
    captured.ConcurrentAppendException,
    captured.ConcurrentDeleteDeleteException,
    captured.ConcurrentDeleteReadException,
    captured.ConcurrentTransactionException,
    captured.ConcurrentWriteException,
    captured.DeltaConcurrentModificationException,
    captured.MetadataChangedException,
    captured.ProtocolChangedException,
)
STRAY_ROWS = "DELTA_REPLACE_WHERE_MISMATCH"  # Delta's error for rows outside the replaced interval


@contextmanager
def explained(table: Table, what: str) -> Iterator[None]:
    """Write a table inside this block.

    Args:
        table: the table that is written.
        what: its rows, for the message.

    Raises:
        Superseded: another commit came first.
        PipelineError: the rows do not lie in the interval.
    """
    try:
        yield
    except CONFLICTS as error:
        raise Superseded(
            f"{table.name} {what}: another run wrote this at the same time; "
            f"this run changed nothing. Run it again. ({str(error).splitlines()[0]})"
        ) from error
    except AnalysisException as error:
        if error.getCondition() != STRAY_ROWS:
            raise
        raise PipelineError(
            f"{table.name} {what}: the job made rows with {table.partition} outside its interval; "
            f"nothing was changed. Check --start and --end of the runs that wrote its inputs"
        ) from error
