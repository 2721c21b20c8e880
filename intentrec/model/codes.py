"""A long random direction for every title, from a hash of its id: nothing to train, and no title is without one.

Shape suffixes: N titles, ... any leading shape, W words of 64 bits.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

BITS = 64


def code_words(title_ids: pa.Array, words: int) -> np.ndarray:
    """64 x words random bits of each title, from its id alone: (N, W) int64."""
    encoded = pc.dictionary_encode(title_ids)
    digests = [
        hashlib.blake2b(title.encode(), digest_size=8 * words).digest() if words else b""
        for title in encoded.dictionary.to_pylist()
    ]
    table = np.frombuffer(b"".join(digests), "<i8").reshape(len(digests), words).astype(np.int64)
    return table[encoded.indices.to_numpy(zero_copy_only=False)]


def codes(word: Tensor) -> Tensor:
    """Bits (..., W) as directions of length 1: (..., 64 W), plus or minus the same number in every channel; W > 0."""
    byte = word.contiguous().view(torch.uint8)
    bit = (byte.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8, device=word.device)) & 1
    return bit.flatten(-2).float().mul_(2).sub_(1) * (BITS * word.shape[-1]) ** -0.5
