"""What another run may do between the read and the commit of a run, and what refuses the commit."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from intentrec.contracts import DATE, LONG, Column, Table
from intentrec.errors import Superseded
from intentrec.storage.concurrency import ConcurrencyCheck, Seen
from intentrec.storage.delta import Snapshot

COLUMNS = (Column("day", DATE, "a date"), Column("n", LONG, "a number"))
SOURCE, MADE, OTHER = (Table(name, "a number", "day", (), COLUMNS) for name in ("source", "made", "other"))
START = date(2026, 8, 10)
END = START + timedelta(days=7)
BEFORE = START - timedelta(days=7)
Disturb = Callable[[str], None]


def put(warehouse: str, table: Table, day: date, *numbers: int) -> None:
    """Replace one day of a table, as another run does it."""
    rows = pa.table({"day": pa.array([day] * len(numbers), pa.date32()), "n": pa.array(numbers, pa.int64())})
    kept = {"predicate": f"day = DATE '{day}'"} if DeltaTable.is_deltatable(f"{warehouse}/{table.name}") else {}
    write_deltalake(f"{warehouse}/{table.name}", rows, mode="overwrite", partition_by=["day"], **kept)


def compact(warehouse: str, table: Table) -> None:
    """Move rows into fewer files, by a commit that changes no row."""
    path = f"{warehouse}/{table.name}"
    files = len(DeltaTable(path).file_uris())
    DeltaTable(path).optimize.compact()
    assert len(DeltaTable(path).file_uris()) < files


def numbers(warehouse: str) -> Callable[[Seen], tuple]:
    """The rows that were seen, in an order of their own."""

    def rows(seen: Seen) -> tuple:
        if seen.version is None:
            return ()
        found = Snapshot(warehouse, seen.table, seen.version).rows(seen.start, seen.end)
        return tuple(sorted((row["day"], row["n"]) for row in found.to_pylist()))

    return rows


@pytest.mark.parametrize(
    ("disturb", "refusal"),
    [
        (lambda w: None, None),
        (
            lambda w: put(w, MADE, START, 9),
            "made [2026-08-10, 2026-08-17): another run wrote this since this run began",
        ),
        (lambda w: put(w, MADE, START), "another run wrote this since this run began"),
        (lambda w: put(w, MADE, BEFORE, 9), None),
        (lambda w: put(w, MADE, END, 9), None),
        (lambda w: put(w, MADE, START, 1), None),
        (lambda w: [put(w, MADE, START, 9), put(w, MADE, START, 1)], None),
        (
            lambda w: put(w, SOURCE, START, 9),
            "made [2026-08-10, 2026-08-17): another run changed source [2026-08-10, 2026-08-17) since this run read it",
        ),
        (lambda w: put(w, SOURCE, BEFORE, 9), None),
        (lambda w: compact(w, SOURCE), None),
        (lambda w: [compact(w, SOURCE), put(w, SOURCE, START, 1, 2, 3)], "another run changed source"),
        (
            lambda w: put(w, OTHER, START, 9),
            "another run changed other [2026-08-10, 2026-08-17) since this run wrote it",
        ),
        (lambda w: put(w, OTHER, END, 9), None),
    ],
    ids=[
        "nothing",
        "the interval",
        "the interval, emptied",
        "the week before",
        "the week after",
        "the interval, with equal rows",
        "the interval, and back",
        "an input",
        "another week of an input",
        "an input, compacted",
        "an input, compacted and changed",
        "what the run wrote",
        "another week of what the run wrote",
    ],
)
def test_a_commit_is_refused_where_rows_that_it_rests_on_changed(
    tmp_path: Path, disturb: Disturb, refusal: str | None
) -> None:
    warehouse = str(tmp_path)
    put(warehouse, MADE, START, 1)
    put(warehouse, OTHER, START, 1)
    put(warehouse, SOURCE, START, 1)
    path = f"{warehouse}/source"
    write_deltalake(path, pa.table({"day": pa.array([START], pa.date32()), "n": [2]}), mode="append")
    tables = {table.name: Snapshot(warehouse, table).version for table in (SOURCE, MADE, OTHER)}
    concurrency = ConcurrencyCheck(tables, numbers(warehouse))
    concurrency.saw(Seen(SOURCE, tables["source"], START, END))
    put(warehouse, OTHER, START, 5)
    concurrency.wrote(Seen(OTHER, Snapshot(warehouse, OTHER).version, START, END))

    disturb(warehouse)
    if refusal is None:
        concurrency.require(warehouse, MADE, f"[{START}, {END})", START, END)
        return
    with pytest.raises(Superseded) as refused:
        concurrency.require(warehouse, MADE, f"[{START}, {END})", START, END)
    assert refusal in str(refused.value)
    assert str(refused.value).endswith("this run changed nothing here. Run it again")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("day", "refused"), [(START, True), (END, False)])
def test_a_table_may_appear_meanwhile_outside_the_interval(tmp_path: Path, day: date, refused: bool) -> None:
    warehouse = str(tmp_path)
    concurrency = ConcurrencyCheck({}, numbers(warehouse))
    concurrency.require(warehouse, MADE, "[)", START, END)
    put(warehouse, MADE, day, 1)
    if refused:
        with pytest.raises(Superseded):
            concurrency.require(warehouse, MADE, "[)", START, END)
    else:
        concurrency.require(warehouse, MADE, "[)", START, END)


def test_a_run_may_rewrite_what_it_read_and_wrote(tmp_path: Path) -> None:
    warehouse = str(tmp_path)
    put(warehouse, MADE, START, 1)
    concurrency = ConcurrencyCheck({"made": 0}, numbers(warehouse))
    concurrency.saw(Seen(MADE, 0, BEFORE, END))
    for number in (2, 3):
        concurrency.require(warehouse, MADE, "[)", START, END)
        put(warehouse, MADE, START, number)
        concurrency.wrote(Seen(MADE, number - 1, START, END))
    concurrency.require(warehouse, MADE, "[)", START, END)
