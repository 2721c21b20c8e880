"""Codes of titles and the path on which titles come back."""

import hashlib

import pyarrow as pa
import torch

from intentrec.model.codes import code_words, codes
from intentrec.model.titles import titles_of
from tests.model import world


def test_codes_come_from_the_id_alone() -> None:
    """The same on every machine and in every batch; bit b of byte a of the hash is channel 8 a + b."""
    one = codes(torch.from_numpy(code_words(pa.array(["t1", "été", "t1"]), 4)))
    other = codes(torch.from_numpy(code_words(pa.array(["x", "t1"]), 4)))
    assert torch.equal(one[0], one[2])
    assert torch.equal(one[0], other[1])
    digest = hashlib.blake2b(b"t1", digest_size=32).digest()
    assert (one[0] > 0).tolist() == [bool(byte >> b & 1) for byte in digest for b in range(8)]


def test_codes_have_length_one_and_hardly_overlap() -> None:
    code_ID = codes(torch.from_numpy(code_words(pa.array([str(i) for i in range(500)]), 4)))
    product_II = code_ID @ code_ID.T
    torch.testing.assert_close(product_II.diagonal(), torch.ones(500))
    off = product_II - torch.eye(500)
    assert 0.9 / 16 < float(off.std()) < 1.1 / 16
    assert float(off.abs().max()) < 0.35


@torch.no_grad()
def test_a_known_title_stands_out_whether_or_not_training_knew_it() -> None:
    """With open gates the history's titles score about 1 each, one released after training too; others, noise."""
    spec = world.spec("v2")
    spec = type(spec)(**{**vars(spec), "history_path": True})
    model, encoder, _ = world.model_of(spec, world.random_sequences(1, titles=10))
    for parameter in (*model.to_item.parameters(), *model.history.parameters()):
        parameter.zero_()
    model.history.gate.bias.fill_(1.0)
    rows = world.random_sequences(2, titles=40, users=8)
    items = encoder.items(titles_of(world.catalog(40)))
    encoded = encoder.encode(rows)
    output = model(encoded.pad(torch.arange(len(encoded))))
    user_BD = output.item_BLD[torch.arange(len(encoded)), encoded.lengths - 1]
    logit_BI = user_BD @ model.item_vectors(items).T
    for logit_I, history in zip(logit_BI, rows["title_id"].to_pylist(), strict=True):
        known = torch.tensor([world.title(i) in history for i in range(40)])
        assert logit_I[known].mean() > 0.8
        assert abs(logit_I[~known].mean()) < 0.2
    assert any(world.title(i) in history for i in range(25, 40) for history in rows["title_id"].to_pylist())
