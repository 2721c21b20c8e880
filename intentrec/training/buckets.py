"""All rows of a user together, for more users than memory holds.

Rows arrive in record batches and go to files by a hash of the user; whoever reads the files one after the other sees
every user's rows at once, and never more than a bucket of them.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.contracts import SEQUENCES
from intentrec.model.arrow import column

ROWS = 8_192  # of a bucket
READ = 1_024  # rows of a record batch on their way to the buckets
FILES = 128  # buckets that are written at once

SCHEMA = to_arrow_schema(SEQUENCES.schema)


def buckets(sequences: ds.Dataset, folder: Path) -> Iterator[pa.Table]:
    """Rows of `sequences` in tables of about ROWS rows; all rows of a user are in one of them.

    Args:
        sequences: read once, a few record batches at a time.
        folder: for files, which are gone when the iteration is over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    yield from _taken_apart(_batches(sequences), sequences.count_rows(), folder, 0)


def _batches(sequences: ds.Dataset) -> Iterator[pa.RecordBatch]:
    """All rows, a row group at a time: a scan of a dataset reads on and on while its rows wait to be written."""
    for file in sequences.get_fragments():
        groups = file.split_by_row_group() if isinstance(file, ds.ParquetFileFragment) else [file]
        for group in groups:
            yield from group.to_batches(sequences.schema, columns=SCHEMA.names, batch_size=READ)


def _taken_apart(batches: Iterable[pa.RecordBatch], rows: int, folder: Path, level: int) -> Iterator[pa.Table]:
    """Buckets of `rows` rows. Where FILES of them are not enough, each is taken apart again."""
    n = min(FILES, -(-rows // ROWS))
    if n <= 1:
        found = pa.Table.from_batches((_by_contract(batch) for batch in batches), SCHEMA)
        yield found.combine_chunks()
        return
    paths = [folder / f"{level}-{i}.arrow" for i in range(n)]
    counts = _spill(batches, paths, level)
    for path, count in zip(paths, counts, strict=True):
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stored:
            # Hashes are not even; a bucket a little too large needs no files of its own.
            yield from _taken_apart(stored, count if count > 2 * ROWS else min(count, ROWS), folder, level + 1)
        path.unlink()


def _spill(batches: Iterable[pa.RecordBatch], paths: list[Path], level: int) -> list[int]:
    """Write every row to the file of its user, and return how many each got."""
    counts = np.zeros(len(paths), np.int64)
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(str(path), SCHEMA)) for path in paths]
        for batch in batches:
            rows = _by_contract(batch)
            place = _place(column(rows, "user_id"), len(paths), level)
            rows = rows.take(pa.array(np.argsort(place, kind="stable")))
            sizes = np.bincount(place, minlength=len(paths))
            counts += sizes
            for i, end in enumerate(np.cumsum(sizes)):
                if sizes[i]:
                    writers[i].write_batch(rows.slice(end - sizes[i], sizes[i]))
    return counts.tolist()


def _place(users: pa.Array, n: int, level: int) -> np.ndarray:
    """Bucket of each user: from the id and the level alone."""
    ids = users.to_numpy(zero_copy_only=False)
    hashes = pd.util.hash_array(ids, hash_key=f"{level:016d}", categorize=False)
    return (hashes % np.uint64(n)).astype(np.int64)


def _by_contract(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The contract's types: strings may arrive as string_view, which pyarrow's kernels only half support."""
    return batch if batch.schema.equals(SCHEMA) else batch.cast(SCHEMA)
