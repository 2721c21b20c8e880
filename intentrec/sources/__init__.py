"""Data sets to the raw contract (`contracts.RAW_EVENT`, `contracts.RAW_ITEM`): one module per reader.

A reader is a module of this package with

    read_events(spark, run, arrived_from, arrived_until) -> DataFrame[RAW_EVENT]   arrivals of UTC dates [from, until)
    read_catalog(spark, run) -> DataFrame[RAW_ITEM]                                snapshots of [run.start, run.end)

and `source.reader` of the domain file names it. Readers take rows apart and judge nothing but whether that worked: what
a row is worth is decided in `intentrec.events`. To bring your own data, add a module and name it.
"""

import os
import pkgutil
from datetime import date
from importlib import import_module
from typing import Protocol, cast

from pyspark.sql import DataFrame, SparkSession

from intentrec.errors import PipelineError
from intentrec.sources.files import Entry, listing
from intentrec.storage.runs import Run


class Reader(Protocol):
    """What `load` returns."""

    def read_events(self, spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
        """Raw events that arrived on the UTC dates [arrived_from, arrived_until)."""

    def read_catalog(self, spark: SparkSession, run: Run) -> DataFrame:
        """Raw items of the catalogue snapshots in [run.start, run.end); no rows where there is none."""


def load(reader: str) -> Reader:
    """The module `intentrec.sources.<reader>`.

    Raises:
        PipelineError: there is no such reader; names those there are.
    """
    name = f"{__name__}.{reader}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # the reader exists, something that it imports does not
            raise
        raise _no_reader(reader) from error
    if not (hasattr(module, "read_events") and hasattr(module, "read_catalog")):
        raise _no_reader(reader)
    return cast(Reader, module)


def _no_reader(reader: str) -> PipelineError:
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    known = sorted(module.__name__.rpartition(".")[2] for module in modules if hasattr(module, "read_events"))
    return PipelineError(
        f"source.reader: {reader!r} is not a module of intentrec.sources with read_events and read_catalog; "
        f"there are {', '.join(known)}"
    )


def data_folder(run: Run) -> str:
    """Where the domain's raw files lie: option `data` of its source, else INTENTREC_DATA, else the landing zone."""
    chosen = run.domain.source.options.get("data") or os.environ.get("INTENTREC_DATA")
    folder = str(chosen or f"{run.profile.landing}/{run.domain.domain}")
    return folder if "://" in folder else os.path.abspath(folder)


def published_file(spark: SparkSession, run: Run, name: str, of: str) -> Entry:
    """The file `name` of a published data set.

    Raises:
        PipelineError: it is not there.
    """
    folder = data_folder(run)
    for file in listing(spark, folder):
        if file.name == name:
            return file
    raise PipelineError(
        f"{folder}/{name}: no such file. Name the folder of {of} as source.options.data in the domain file, or with "
        "INTENTREC_DATA."
    )
