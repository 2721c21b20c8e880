"""Readers: from the files of a data set to the raw contract (`raw_rows.RAW_EVENT` and `raw_rows.RAW_ITEM`).

A reader is a module of this package with the functions of the protocol `Reader`. `source.reader` in the domain file
names it. A reader parses rows and marks those that it cannot parse. It does not judge values: `intentrec.events`
decides which rows are accepted. To bring your own data, add a module here and name it in the domain file.
"""

import os
import pkgutil
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from pyspark.sql import DataFrame, SparkSession

from intentrec.errors import PipelineError
from intentrec.sources.files import listing
from intentrec.sources.integrity import Entry
from intentrec.storage.runs import Run

_PACKAGE = "package:"  # begins a data folder that lies inside an installed package


class Reader(Protocol):
    """The two functions of a reader module; `load` returns one."""

    def read_events(self, spark: SparkSession, run: Run, arrived_from: date, arrived_until: date) -> DataFrame:
        """Read raw events.

        Args:
            spark: the session.
            run: the attempt; its domain and profile say where the files are.
            arrived_from: first UTC date of arrival.
            arrived_until: UTC date after the last date of arrival.

        Returns:
            Rows of `raw_rows.RAW_EVENT`, one per record of the files.

        Raises:
            PipelineError: files are missing or cannot be read.
        """

    def read_catalog(self, spark: SparkSession, run: Run) -> DataFrame:
        """Read raw catalogue items.

        Args:
            spark: the session.
            run: the attempt; [run.start, run.end) are the snapshot dates to read.

        Returns:
            Rows of `raw_rows.RAW_ITEM`; none where the interval has no snapshot.

        Raises:
            PipelineError: files are missing or cannot be read.
        """


def load(reader: str) -> Reader:
    """The module `intentrec.sources.<reader>`.

    Raises:
        PipelineError: there is no such reader; the message lists the readers.
    """
    name = f"{__name__}.{reader}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # the reader exists, but one of its own imports does not
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


def named_by(run: Run) -> str:
    """What names the folder of the domain's raw files: `source.options.data`, else INTENTREC_DATA, else the profile."""
    if run.domain.source.options.get("data"):
        return "source.options.data"
    return "INTENTREC_DATA" if os.environ.get("INTENTREC_DATA") else "profile"


def data_folder(run: Run) -> str:
    """Folder of the domain's raw files: `source.options.data`, else INTENTREC_DATA, else the landing zone.

    `package:NAME/FOLDER` is a folder inside an installed Python package.

    Raises:
        PipelineError: the package is not installed.
    """
    folder = {
        "source.options.data": str(run.domain.source.options.get("data")),
        "INTENTREC_DATA": os.environ.get("INTENTREC_DATA", ""),
        "profile": f"{run.profile.landing}/{run.domain.domain}",
    }[named_by(run)]
    if folder.startswith(_PACKAGE):
        return _package_folder(folder.removeprefix(_PACKAGE))
    return folder if "://" in folder else os.path.abspath(folder)


def _package_folder(path: str) -> str:
    name, _, inner = path.partition("/")
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise PipelineError(
            f"source.options.data: {_PACKAGE}{path}: the package {name} is not installed. `make setup` installs it; "
            "elsewhere install intentrec with the extra that names it in pyproject.toml."
        )
    return str(Path(found.submodule_search_locations[0]) / inner)


def published_file(spark: SparkSession, run: Run, name: str, of: str) -> Entry:
    """A file of a published data set, in the run's data folder.

    Args:
        spark: the session.
        run: the attempt; its domain and profile name the folder.
        name: name of the file.
        of: name of the data set, for the message of the error.

    Raises:
        PipelineError: the file does not exist.
    """
    folder = data_folder(run)
    for file in listing(spark, folder):
        if file.name == name:
            return file
    raise PipelineError(
        f"{folder}/{name}: no such file. Name the folder of {of} as source.options.data in the domain file, or with "
        "INTENTREC_DATA."
    )
