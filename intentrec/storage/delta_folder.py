"""Read the folder of a Delta table without its contract: for a registered model, which is served without Spark."""

import os
from datetime import date
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem


def read_before(folder: str, version: int, column: str, before: date) -> pa.Table:
    """The rows at a version whose `column`, a date, lies before `before`.

    Raises:
        ValueError: there is no such table or version.
    """
    try:
        table = DeltaTable(folder, version=version)
    except DeltaError as error:
        raise ValueError(f"{folder} at version {version} cannot be read as a Delta table: {error}") from error
    return table.to_pyarrow_dataset(filesystem=local_filesystem(folder)).to_table(filter=ds.field(column) < before)


def local_filesystem(uri: str) -> FileSystem | None:
    """The file system of a table in a local folder; None elsewhere.

    An Arrow thread may close a file after the interpreter has ended. If the file was opened through Python, which is
    the default of delta-rs, this aborts the process. So Arrow itself opens local files.
    """
    scheme = urlparse(uri).scheme if "://" in uri else ""
    if scheme not in ("", "file"):
        return None
    path = unquote(urlparse(uri).path) if scheme else os.path.abspath(uri)
    return SubTreeFileSystem(path, LocalFileSystem())
