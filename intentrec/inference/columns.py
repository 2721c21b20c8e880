"""Arrow columns from tensors.

Shape suffixes: B rows, L titles with a logit bias, D width, M names, K length of a list, N and M pairs of a row and a
title.
"""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from intentrec.model.logit_bias import LogitBias


def lists_of(length_B: Tensor, values: pa.Array) -> pa.ListArray:
    """Lists of these lengths, one after another in `values`."""
    offsets = np.concatenate([[0], length_B.cumsum(0).numpy()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def float_lists(value_BD: Tensor) -> pa.ListArray:
    """A list per row."""
    b, width = value_BD.shape
    return lists_of(torch.full((b,), width), pa.array(value_BD.reshape(-1).numpy()))


def logit_bias_maps(logit_bias: LogitBias, title_ids: pa.Array) -> pa.MapArray:
    """Per user a map from title to its logit bias, of titles that have one; several of one title add up."""
    kept_BL = (logit_bias.title_NL >= 0) & (logit_bias.value_NL != 0)
    user_N, titles = kept_BL.nonzero(as_tuple=True)[0].numpy(), len(title_ids)
    pair_N = user_N * titles + logit_bias.title_NL[kept_BL].numpy()
    pair_M, of_N = np.unique(pair_N, return_inverse=True)
    value_M = np.bincount(of_N, weights=logit_bias.value_NL[kept_BL].numpy(), minlength=len(pair_M)).astype(np.float32)
    offsets = np.searchsorted(pair_M, np.arange(len(kept_BL) + 1) * titles).astype(np.int32)
    return pa.MapArray.from_arrays(
        pa.array(offsets), title_ids.take(pa.array(pair_M % max(1, titles))), pa.array(value_M)
    )


def map_of_values(names: list[str], value_BM: Tensor) -> pa.MapArray:
    """Per row a map from name to its value."""
    b, m = value_BM.shape
    keys = pa.array(names * b, pa.string())
    return pa.MapArray.from_arrays(
        pa.array(np.arange(b + 1, dtype=np.int32) * m), keys, pa.array(value_BM.reshape(-1).numpy())
    )


def map_of_lists(names: list[str], value_BK: list[np.ndarray], b: int, of: pa.DataType) -> pa.MapArray:
    """Per user a map from intent to a list; `value_BK` has one (B, K) array per intent."""
    widths = [value.shape[1] for value in value_BK]
    values = np.concatenate(value_BK, axis=1).reshape(-1) if value_BK else np.empty(0, object)
    lists = lists_of(torch.tensor(widths * b, dtype=torch.long), pa.array(values, of))
    offsets = pa.array(np.arange(b + 1, dtype=np.int32) * len(names))
    return pa.MapArray.from_arrays(offsets, pa.array(names * b, pa.string()), lists)
