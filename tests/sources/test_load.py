"""Readers by name, and the folder of their data."""

from datetime import date

import pytest

from intentrec.config import PACKAGE, Domain, Source
from intentrec.errors import PipelineError
from intentrec.sources import data_folder, load
from intentrec.storage.runs import Run


@pytest.mark.parametrize("reader", ["jsonl", "kuairand"])
def test_a_reader_by_name(reader: str) -> None:
    assert callable(load(reader).read_events)


@pytest.mark.parametrize("reader", ["nowhere", "files"])
def test_an_unknown_reader_is_refused_with_a_list_of_readers(reader: str) -> None:
    with pytest.raises(PipelineError, match=f"source.reader: '{reader}'.*jsonl, kuairand"):
        load(reader)


def test_data_folder(new_run, streaming: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The domain file's option first, then the environment, then the landing zone."""

    def folder(domain: Domain) -> str:
        run: Run = new_run("ingest", date(2026, 8, 3), date(2026, 8, 10), domain)
        return data_folder(run)

    monkeypatch.delenv("INTENTREC_DATA", raising=False)
    assert folder(streaming).endswith("/landing/streaming")
    monkeypatch.setenv("INTENTREC_DATA", "/somewhere")
    assert folder(streaming) == "/somewhere"
    own = streaming.model_copy(update={"source": Source(reader="jsonl", options={"data": "s3a://bucket/raw"})})
    assert folder(own) == "s3a://bucket/raw"


def test_a_data_folder_inside_a_package(new_run, streaming: Domain) -> None:
    def folder(data: str) -> str:
        source = Source(reader="jsonl", options={"data": data})
        return data_folder(
            new_run("ingest", date(2026, 8, 3), date(2026, 8, 10), streaming.model_copy(update={"source": source}))
        )

    assert folder("package:intentrec/events") == str(PACKAGE / "events")
    with pytest.raises(PipelineError, match="package:nowhere_py/data: the package nowhere_py is not installed"):
        folder("package:nowhere_py/data")
