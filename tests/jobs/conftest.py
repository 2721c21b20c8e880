"""What the tests of jobs share."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyspark.sql import DataFrame

from intentrec.contracts import Table
from intentrec.storage import audit
from intentrec.storage.audit import Audit
from intentrec.storage.runs import Run


def _unaudited(table: Table, staged: DataFrame, run: Run) -> Audit:
    return Audit(table.name, 0, 0.0, [])


@contextmanager
def without_audits() -> Iterator[None]:
    """Skip audits: they have tests of their own and cost seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "audit", _unaudited)
        yield


@pytest.fixture
def no_audits() -> Iterator[None]:
    """See `without_audits`."""
    with without_audits():
        yield
