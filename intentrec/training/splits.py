"""Rows without repetition, and the split of their targets into training and validation.

Shape suffixes: N interactions of all rows in a line, B rows, R rows with targets, T targets of all rows.
"""

from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from intentrec.calendar import DAY, day_start_of
from intentrec.config import Domain
from intentrec.errors import Skip
from intentrec.model.arrow import column, flat, offsets_of
from intentrec.model.features import Encoded
from intentrec.model.vocabulary import FIRST


class NothingToTrain(Skip):
    """The stacked weeks hold no training target or no validation target. The run is skipped."""


def chained(sequences: pa.Table) -> pa.Table:
    """Stacked weekly rows without repetition: a row that a later one only continues is dropped.

    While a user's history fits into n positions, next week's row is this week's row plus the new interactions. Under a
    causal mask every target then has the same prefix in both. So the later row takes the targets of both (`n_new`
    becomes the sum), and training computes the shared prefix once instead of every week. Rows that were cut at n begin
    elsewhere and stay as they are.

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
    """The UTC moment from which on a model does not learn from targets."""
    return day_start_of(cutoff, domain.calendar) if domain.training.refit else validation_start(domain, cutoff)


def split(encoded: Encoded, begin: datetime) -> tuple[Encoded, Encoded]:
    """Training and validation targets of the same rows: those that end before `begin`, and the others."""
    late_N = encoded.flat.time_BL >= int(begin.timestamp())
    known_N = encoded.flat.target_BL & (encoded.flat.title_BL >= FIRST)
    parts = known_N & ~late_N, known_N & late_N
    return _rows_with_targets(encoded.with_targets(parts[0])), _rows_with_targets(encoded.with_targets(parts[1]))


def permute_intents(encoded: Encoded, seed: int) -> Encoded:
    """The permuted-intent control: the targets of each row get the intent labels of another row's targets.

    Longer or shorter lists of labels are stretched to fit. How often a target has each label stays about the same, but
    a label no longer says anything about its interaction. A lift that a model keeps with these labels is not due to
    intents. Only labels of targets are exchanged, because some actions are never a target.
    """
    generator = torch.Generator().manual_seed(seed)
    at_T = encoded.flat.target_BL.nonzero().squeeze(1)
    row_T = torch.repeat_interleave(torch.arange(len(encoded)), encoded.lengths)[at_T]
    _, row_T, count_R = row_T.unique_consecutive(return_inverse=True, return_counts=True)
    first_R = count_R.cumsum(0) - count_R
    order_R = torch.randperm(len(count_R), generator=generator)
    donor_R = torch.empty_like(order_R)
    donor_R[order_R] = order_R.roll(1)  # along one cycle through all rows, so that no row is its own donor
    given_T = donor_R[row_T]
    number_T = torch.arange(len(at_T)) - first_R[row_T]
    from_T = first_R[given_T] + number_T * count_R[given_T] // count_R[row_T]
    label = {name: value.index_copy(0, at_T, value[at_T[from_T]]) for name, value in encoded.flat.label.items()}
    return replace(encoded, flat=replace(encoded.flat, label=label))


def _rows_with_targets(encoded: Encoded) -> Encoded:
    """Drop rows without a target and what follows a row's last target: under a causal mask, no prediction changes."""
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
