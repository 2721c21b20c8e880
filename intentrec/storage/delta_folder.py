"""Read the folder of a Delta table without its contract: for a registered model, which is served without Spark."""

import os
from datetime import date
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSystem, LocalFileSystem, PyFileSystem, SubTreeFileSystem


def read_before(folder: str, version: int, column: str, before: date) -> pa.Table:
    """The rows at a version whose `column`, a date, lies before `before`.

    Raises:
        ValueError: there is no such table or version.
    """
    try:
        table = DeltaTable(folder, version=version)
    except DeltaError as error:
        raise ValueError(f"{folder} at version {version} cannot be read as a Delta table: {error}") from error
    return table.to_pyarrow_dataset(filesystem=filesystem(folder)).to_table(filter=ds.field(column) < before)


class _InMemory(DeltaStorageHandler):
    """The files of a table in an object store, read by delta-rs. Each is held whole, in Arrow's own memory."""

    def open_input_file(self, path: str) -> pa.BufferReader:
        """Read the file `path`, which is relative to the table."""
        sink = pa.BufferOutputStream()
        with super().open_input_file(path) as file:
            sink.write(file.read_buffer())
        return pa.BufferReader(sink.getvalue())


def filesystem(uri: str) -> FileSystem:
    """The file system through which Arrow reads the table at `uri`.

    By default delta-rs gives Arrow memory of Python. An Arrow thread may free it after the interpreter has ended, which
    aborts the process. So Arrow itself opens local files, and gets those of an object store in memory of its own.
    """
    scheme = urlparse(uri).scheme if "://" in uri else ""
    if scheme not in ("", "file"):
        return PyFileSystem(_InMemory(uri))
    path = unquote(urlparse(uri).path) if scheme else os.path.abspath(uri)
    return SubTreeFileSystem(path, LocalFileSystem())
