"""Baselines with random weights over the small made-up tables of `tests.model.world`."""

from dataclasses import replace

import pyarrow as pa
import torch
from torch import Tensor, nn

from intentrec.model.features import Batch, Encoded, FeatureEncoder
from intentrec.model.network import Network
from intentrec.model.spec import ModelSpec, variant_of
from intentrec.model.vocabulary import FIRST
from lab.baselines import build
from lab.baselines.transformer import Attention, PostNormBlock
from tests.model import world

CAUSAL = ("lstm", "gru", "transformer", "sasrec", "transact")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def spec(variant: str, id_only: bool = False, **changed: object) -> ModelSpec:
    """A small spec of a baseline; those that have intent heads have intents, id-only ones too."""
    intents = () if variant_of(variant).intents == "none" else world.INTENTS
    facts = {"categorical": (), "multi_label": (), "numeric": (), "item_features": ()} if id_only else {}
    small = {"variant": variant, "intents": intents, "windows": (), "length": 20, **facts, **changed}
    return replace(world.spec("v1"), **small)  # type: ignore[arg-type]


def made(chosen: ModelSpec, sequences: pa.Table, seed: int = 0) -> tuple[Network, FeatureEncoder, Encoded]:
    """A baseline with random weights everywhere, and the rows encoded for it."""
    torch.manual_seed(seed)
    vocabulary = world.vocabulary_of(sequences, world.catalog(25), chosen)
    model = build(chosen, vocabulary).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    encoder = FeatureEncoder(chosen, vocabulary)
    return model, encoder, encoder.encode(sequences)


def all_rows(encoded: Encoded) -> Batch:
    """Every row, side by side."""
    return encoded.pad(torch.arange(len(encoded)))


def title_vectors(model: Network, encoder: FeatureEncoder, row: dict) -> Tensor:
    """The input of an id-only baseline before positions, title by title: (L, D)."""
    known, scale = encoder.vocabulary.titles, model.spec.dim**0.5
    return torch.stack([model.titles.id[FIRST + known.index(title)] * scale for title in row["title_id"]])


def reference(block: PostNormBlock, activation: str) -> nn.TransformerEncoderLayer:
    """The same block by torch. In training mode, whose code path takes any mask; there is no dropout."""
    attention: Attention = block.attention
    inner, outer = block.mlp[0], block.mlp[3]
    dim, hidden = inner.in_features, inner.out_features
    layer = nn.TransformerEncoderLayer(dim, attention.heads, hidden, 0.0, activation, batch_first=True)
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([attention.query.weight, attention.key_value.weight]),
            "self_attn.in_proj_bias": torch.cat([attention.query.bias, attention.key_value.bias]),
            **{f"self_attn.out_proj.{name}": value for name, value in attention.out.state_dict().items()},
            **{f"linear1.{name}": value for name, value in inner.state_dict().items()},
            **{f"linear2.{name}": value for name, value in outer.state_dict().items()},
            **{f"norm1.{name}": value for name, value in block.norm_attention.state_dict().items()},
            **{f"norm2.{name}": value for name, value in block.norm_mlp.state_dict().items()},
        }
    )
    return layer


def ago(table: Tensor, seconds: list[int], bias_HLL: Tensor) -> Tensor:
    """Add a learned score by the power of two of seconds between a query and an earlier (or equal) key, in place."""
    for k, now in enumerate(seconds):
        for i, then in enumerate(seconds):
            if now >= then:
                bias_HLL[:, k, i] += table[min((1 + now - then).bit_length() - 1, 31)]
    return bias_HLL
