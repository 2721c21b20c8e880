"""The fingerprint of a training run's inputs."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from deltalake import write_deltalake

from intentrec.config import Domain
from intentrec.contracts import SEQUENCES
from intentrec.errors import PipelineError
from intentrec.storage.runs import Run
from intentrec.training.inputs import Inputs
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
