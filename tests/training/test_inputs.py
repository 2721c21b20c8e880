"""The fingerprint of a training run's inputs."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from intentrec.config import Domain
from intentrec.contracts import SEQUENCES
from intentrec.errors import PipelineError
from intentrec.storage.delta import Snapshot
from intentrec.storage.runs import Run
from intentrec.training.inputs import Inputs, statements
from tests.model import world as rows
from tests.registry import world


def test_fingerprint_moves_with_what_is_read_and_with_nothing_else(
    new_run: Callable[..., Run], streaming: Domain
) -> None:
    def fingerprint(domain: Domain = streaming) -> str:
        return Inputs.of(new_run("train", world.END - timedelta(days=7), world.END, domain)).fingerprint

    root = new_run("train", world.FIRST, world.END).warehouse
    with pytest.raises(PipelineError, match="sequences does not exist"):
        fingerprint()
    world.write(root, users=4)
    first = fingerprint()
    assert fingerprint() == first

    sequences = rows.learnable_weeks(3, 4, world.WEEKS)
    unseen = sequences.filter([day >= world.END for day in sequences["as_of"].to_pylist()])
    write_deltalake(f"{root}/{SEQUENCES.name}", unseen, mode="overwrite", predicate=f"as_of >= '{world.END}'")
    assert fingerprint() == first  # the gate's week and later ones are not read

    read = sequences.filter([day == world.END - timedelta(days=7) for day in sequences["as_of"].to_pylist()])
    day = world.END - timedelta(days=7)
    write_deltalake(f"{root}/{SEQUENCES.name}", read.slice(1), mode="overwrite", predicate=f"as_of = '{day}'")
    assert fingerprint() != first

    small = world.domain_of(streaming)
    assert fingerprint(world.domain_of(streaming, gate={"threshold": 0.5})) == fingerprint(small)
    assert fingerprint(world.domain_of(streaming, training={"seed": 8})) != fingerprint(small)


def test_files_do_not_count_and_partitions_with_known_files_are_not_read_again(
    new_run: Callable[..., Run], streaming: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction and rewritten equal rows change files; an empty work folder only makes the run read more."""
    read: list[str] = []
    batches = Snapshot.batches

    def counted(snapshot: Snapshot, day: date) -> Iterator[pa.RecordBatch]:
        read.append(f"{snapshot.table.name} {day}")
        return batches(snapshot, day)

    def fingerprint() -> str:
        read.clear()
        return Inputs.of(new_run("train", world.END - timedelta(days=7), world.END)).fingerprint

    monkeypatch.setattr(Snapshot, "batches", counted)
    run = new_run("train", world.FIRST, world.END)
    world.write(run.warehouse, users=4)
    sequences = DeltaTable(f"{run.warehouse}/{SEQUENCES.name}")
    first = fingerprint()
    days = [str(world.FIRST + timedelta(weeks=week)) for week in (1, 2, 3)]  # as_of; the cut-off is the last
    facts = [f"title_facts {day}" for day in days]
    assert read == [*(f"sequences {day}" for day in days), f"catalog {world.FIRST}", *facts]
    assert (fingerprint(), read) == (first, [])

    sequences.optimize.z_order(["user_id"], partition_filters=[("as_of", "=", days[1])])
    assert sequences.history(1)[0]["operation"] == "OPTIMIZE"
    assert (fingerprint(), read) == (first, [f"sequences {days[1]}"])

    day = date.fromisoformat(days[0])
    turned = Snapshot(run.warehouse, SEQUENCES).rows(day, day + timedelta(days=1))
    turned = turned.sort_by([("user_id", "descending")])
    write_deltalake(sequences, turned, mode="overwrite", predicate=f"as_of = '{days[0]}'")
    assert (fingerprint(), read) == (first, [f"sequences {days[0]}"])

    rmtree(run.profile.work)
    assert fingerprint() == first
    for cut in ("{", "[]", '{"2026-08-03": 1}'):
        for file in Path(run.profile.work).rglob("sequences.json"):
            file.write_text(cut)
        assert fingerprint() == first


def test_comments_docstrings_and_formatting_are_no_other_code() -> None:
    one = '"""Module."""\n\n\ndef f(x: int) -> int:\n    """Double."""\n    return 2 * x  # twice\n'
    assert statements(one) == statements("def f(x: int)->int:\n  return (2*x)\n")
    assert statements(one) != statements("def f(x: int) -> int:\n    return 3 * x\n")
