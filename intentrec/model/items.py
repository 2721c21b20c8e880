"""Titles as vectors: an id embedding plus a tower over catalogue facts, the same at the input and at the output.

A title that was released after training has no id embedding; its vector is the tower's alone, so it can be read and
recommended like any other.

Shape suffixes: ... any leading shape, D width, G labels.
"""

import torch
from torch import Tensor, nn

from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST, OOV, Vocabulary

CHANCE = 0.1


class TokenEmbedding(nn.Module):
    """Embedding of a categorical column; several labels of one interaction are averaged (§3.2)."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, dim) * dim**-0.5)
        # Unknown starts as "says nothing", and stays that where training never saw it; padding never gets a gradient.
        with torch.no_grad():
            self.weight[:FIRST] = 0

    def forward(self, index: Tensor, several: bool) -> Tensor:
        """(..., D) of indices (...), or of (..., G) padded with 0 where `several`."""
        if not several:
            return nn.functional.embedding(index, self.weight)
        mean_ND = nn.functional.embedding_bag(index.flatten(0, -2), self.weight, mode="mean", padding_idx=0)
        return mean_ND.unflatten(0, index.shape[:-1])


class TitleEmbedding(nn.Module):
    """Id embedding + metadata tower."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.features = spec.item_features
        self.id = nn.Parameter(torch.randn(vocabulary.size("title_id"), spec.dim) * spec.dim**-0.5)
        # A title that nobody played yet starts from its facts alone, not from a random direction.
        with torch.no_grad():
            self.id[:FIRST] = 0
            self.id[FIRST + vocabulary.n_seen :] = 0
        self.facts = nn.ModuleDict(
            {name: TokenEmbedding(vocabulary.size(name), spec.dim_token) for name in self.features}
        )
        wide = len(self.features) * spec.dim_token
        self.tower = (
            nn.Sequential(nn.Linear(wide, spec.dim), nn.GELU(), nn.Linear(spec.dim, spec.dim)) if wide else None
        )

    @torch.no_grad()
    def begin_at(self, start_ID: Tensor) -> None:
        """Let the id embeddings of the vocabulary's titles begin there, with a little chance left to part equals."""
        self.id[FIRST:] = start_ID + CHANCE * self.id[FIRST:]

    def forward(self, title: Tensor, tokens: dict[str, Tensor]) -> Tensor:
        """Vectors (..., D) of title indices (...) with the facts of `tokens`."""
        id_D = nn.functional.embedding(title, self.id) * (title > OOV).unsqueeze(-1)
        if self.tower is None:
            return id_D
        facts = [self.facts[name](tokens[name], tokens[name].dim() > title.dim()) for name in self.features]
        return id_D + self.tower(torch.cat(facts, -1))
