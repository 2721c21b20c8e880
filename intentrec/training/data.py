"""Pinned table versions to Arrow, through delta-rs: training needs no Spark."""

from bisect import bisect_left
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql.pandas.types import to_arrow_schema

from intentrec.calendar import DAY, WEEK, day_start_of
from intentrec.config import Domain
from intentrec.contracts import CATALOG, SEQUENCES, Table
from intentrec.errors import PipelineError, Skip
from intentrec.model.arrow import column, flat, offsets_of
from intentrec.model.features import Encoded
from intentrec.model.vocabulary import FIRST

POOL = 16


class NothingToTrain(Skip):
    """The stacked weeks hold no target to learn from, or none to validate on; the run is skipped."""


def open_sequences(warehouse: str, version: int, cutoff: date, weeks: int = 1) -> ds.Dataset:
    """Rows of `sequences` with as_of in (cutoff - weeks, cutoff], to be read in record batches, in no order.

    Nothing after the cut-off is read.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    first = cutoff - WEEK * weeks
    found = _open(warehouse, SEQUENCES, version)
    # Whole files, because as_of is the partition: unlike filtered rows they can be read a row group at a time.
    within = found.get_fragments(filter=(ds.field("as_of") > first) & (ds.field("as_of") <= cutoff))
    return ds.FileSystemDataset(within, found.schema, found.format, found.filesystem)


def read_sequences(warehouse: str, version: int, cutoff: date, weeks: int = 1) -> pa.Table:
    """The rows of `open_sequences`, sorted by as_of and user.

    One week is one snapshot: the users to score or to judge.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    table = _read(open_sequences(warehouse, version, cutoff, weeks), SEQUENCES)
    return table.sort_by([("as_of", "ascending"), ("user_id", "ascending")])


def read_catalog(warehouse: str, version: int, before: date) -> pa.Table:
    """Catalogue snapshots dated before `before`: what was known when the service day `before` began.

    Raises:
        PipelineError: the table or the version does not exist.
    """
    table = _read(_open(warehouse, CATALOG, version).filter(ds.field("snapshot_date") < before), CATALOG)
    return table.sort_by([("snapshot_date", "ascending"), ("item_id", "ascending")])


def _open(warehouse: str, table: Table, version: int) -> ds.FileSystemDataset:
    path = f"{warehouse}/{table.name}"
    try:
        return DeltaTable(path, version=version).to_pyarrow_dataset()
    except DeltaError as error:
        raise PipelineError(f"{table.name} at version {version} cannot be read from {warehouse}: {error}") from error


def _read(rows: ds.Dataset, table: Table) -> pa.Table:
    # Strings may arrive as string_view, which pyarrow's kernels only half support: cast once.
    return rows.to_table(columns=table.names).cast(to_arrow_schema(table.schema))


def chained(sequences: pa.Table) -> pa.Table:
    """Stacked weekly rows without the repetition: a row that a later one only continues is left to that one.

    While a user's history fits into n positions, next week's row is this week's row and the new interactions. Under a
    causal mask every target then has the same prefix in either, so the later row takes the targets of both (`n_new`
    becomes the sum) and the forward pass over the shared prefix is made once instead of every week. Rows that were cut
    at n begin elsewhere and stay as they are.

    Args:
        sequences: rows of several weeks; every target counts once.
    """
    rows = sequences.sort_by([("user_id", "ascending"), ("as_of", "ascending")])
    if len(rows) < 2:
        return rows
    offsets = offsets_of(column(rows, "title_id"))
    first = pa.array(offsets[:-1])
    begins = [column(rows, "user_id"), flat(rows, "end_ts").take(first), flat(rows, "title_id").take(first)]
    same = np.ones(len(rows) - 1, bool)
    for values in begins:
        same &= pc.equal(values[:-1], values[1:]).to_numpy(zero_copy_only=False)
    n_new = column(rows, "n_new").to_numpy()
    lengths = np.diff(offsets)
    continued = np.append(same & (lengths[1:] - n_new[1:] == lengths[:-1]), False)
    chain = np.cumsum(np.append(True, ~continued[:-1])) - 1
    total = np.bincount(chain, weights=n_new).astype(np.int32)
    kept = rows.filter(pa.array(~continued))
    return kept.set_column(kept.schema.get_field_index("n_new"), kept.schema.field("n_new"), pa.array(total))


def validation_start(domain: Domain, cutoff: date) -> datetime:
    """The UTC moment from which on targets are for validation: the last `validation_days` before the cut-off."""
    return day_start_of(cutoff - DAY * domain.training.validation_days, domain.calendar)


def learned_until(domain: Domain, cutoff: date) -> datetime:
    """The UTC moment from which on targets teach a model nothing."""
    return day_start_of(cutoff, domain.calendar) if domain.training.refit else validation_start(domain, cutoff)


def split(encoded: Encoded, begin: datetime) -> tuple[Encoded, Encoded]:
    """Training and validation targets of the same rows: those that end before `begin`, and the others."""
    late_N = encoded.flat.time_BL >= int(begin.timestamp())
    known_N = encoded.flat.target_BL & (encoded.flat.title_BL >= FIRST)
    parts = known_N & ~late_N, known_N & late_N
    return _rows_with_targets(encoded.with_targets(parts[0])), _rows_with_targets(encoded.with_targets(parts[1]))


def with_intents_of_others(encoded: Encoded, seed: int) -> Encoded:
    """The same rows, but the targets of each have the intent labels of another row's targets, stretched to fit.

    How often a target has each label stays about the same, and what it says about its interaction is gone: a lift that
    a model keeps with these labels is not one of intent. (Labels of other positions would not do: where some actions
    are no target, a target would be told what no target does.)
    """
    # R rows with targets, T targets of them all
    generator = torch.Generator().manual_seed(seed)
    at_T = encoded.flat.target_BL.nonzero().squeeze(1)
    row_T = torch.repeat_interleave(torch.arange(len(encoded)), encoded.lengths)[at_T]
    _, row_T, count_R = row_T.unique_consecutive(return_inverse=True, return_counts=True)
    first_R = count_R.cumsum(0) - count_R
    order_R = torch.randperm(len(count_R), generator=generator)
    donor_R = torch.empty_like(order_R)
    donor_R[order_R] = order_R.roll(1)  # along one cycle through all rows: nobody is their own donor
    given_T = donor_R[row_T]
    number_T = torch.arange(len(at_T)) - first_R[row_T]
    from_T = first_R[given_T] + number_T * count_R[given_T] // count_R[row_T]
    label = {name: value.index_copy(0, at_T, value[at_T[from_T]]) for name, value in encoded.flat.label.items()}
    return replace(encoded, flat=replace(encoded.flat, label=label))


def _rows_with_targets(encoded: Encoded) -> Encoded:
    """Drop rows without a target, and what follows a row's last target: under a causal mask it changes nothing."""
    index_N = torch.arange(len(encoded.flat.target_BL))
    row_N = torch.repeat_interleave(torch.arange(len(encoded)), encoded.lengths)
    last_B = torch.full((len(encoded),), -1).scatter_reduce_(
        0, row_N[encoded.flat.target_BL], index_N[encoded.flat.target_BL], "amax"
    )
    keep_N = index_N <= last_B[row_N]
    lengths = torch.bincount(row_N[keep_N], minlength=len(encoded))
    kept = lengths[lengths > 0]
    offsets = torch.cat([kept.new_zeros(1), kept.cumsum(0)])
    return Encoded(encoded.flat.map(lambda flat: flat[keep_N]), offsets)


def batches(
    lengths: torch.Tensor, tokens: int, generator: torch.Generator | None = None, rows: int | None = None
) -> list[torch.Tensor]:
    """Row numbers of batches of similar lengths, so that little is padding; shuffled by the generator, if any.

    Lengths are sorted inside pools of about POOL random batches only, so that batches differ from epoch to epoch.

    Args:
        lengths: positions of each row.
        tokens: positions of a batch at most, padding included; a longer row is a batch of its own.
        generator: shuffles; none: all rows are sorted.
        rows: rows of a batch at most.
    """
    n = len(lengths)
    if generator is None:
        pools = [torch.arange(n)]
    else:
        mean = max(1, int(lengths.sum()) // max(1, n))
        pools = list(torch.randperm(n, generator=generator).split(POOL * max(1, tokens // mean)))
    found = []
    for pool in pools:
        ascending = pool[lengths[pool].argsort(stable=True)]
        found += ascending.split(_sizes(lengths[ascending], tokens, rows or n, even=generator is not None))
    if generator is None:
        return found
    return [found[place] for place in torch.randperm(len(found), generator=generator).tolist()]


def _sizes(ascending: torch.Tensor, tokens: int, rows: int, even: bool) -> list[int]:
    """How many rows, shortest first, make each batch: as few batches as possible.

    With `even` batches then are as small as this number of them allows: a last one of a few rows would move the weights
    as far as any other.
    """
    found = _greedy(ascending, tokens, rows)
    if even and len(found) > 1:
        budgets = range(tokens // 2, tokens)
        smaller = bisect_left(budgets, -len(found), key=lambda some: -len(_greedy(ascending, some, rows)))
        found = _greedy(ascending, tokens // 2 + smaller, rows)
    return found


def _greedy(ascending: torch.Tensor, tokens: int, rows: int) -> list[int]:
    sizes: list[int] = []
    begin = 0
    while begin < len(ascending):
        some = ascending[begin : begin + min(rows, tokens)]
        fits = int((some * torch.arange(1, len(some) + 1) <= tokens).sum())  # the left side only grows
        sizes.append(max(1, fits))
        begin += sizes[-1]
    return sizes
