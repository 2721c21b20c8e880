"""Interactions and titles as vectors.

A title is an id embedding plus a tower over its catalogue facts, the same at the input and at the output. A title that
was released after training has no id embedding. Its vector is the tower's alone, so it can still be read and
recommended.

Shape suffixes: ... any leading shape, N rows of a lookup, B rows, L positions, F numeric features, D width, G labels of
one interaction, I titles.
"""

import torch
from torch import Tensor, nn

from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import FIRST, OOV, Vocabulary

NOISE = 0.1  # share of the random start that stays when id embeddings start elsewhere


class TokenEmbedding(nn.Module):
    """Embedding of a categorical column; several labels of one interaction are averaged (§3.2)."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, dim) * dim**-0.5)
        # An unknown token starts at zero, and stays there if training never sees one. Padding never gets a gradient.
        with torch.no_grad():
            self.weight[:FIRST] = 0

    def forward(self, index: Tensor, several: bool) -> Tensor:
        """Vectors (..., D) of int64 indices (...) or, if `several`, of (..., G) padded with 0."""
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
        # The vector of a title without training targets starts as that of its facts, without a random part.
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
    def start_at(self, start_ID: Tensor) -> None:
        """Set the id embeddings of the vocabulary's titles to `start_ID` plus some noise, so that equal rows differ."""
        self.id[FIRST:] = start_ID + NOISE * self.id[FIRST:]

    def forward(self, title: Tensor, tokens: dict[str, Tensor]) -> Tensor:
        """Vectors (..., D) of title indices (...) with the facts of `tokens`."""
        id_D = nn.functional.embedding(title, self.id) * (title > OOV).unsqueeze(-1)
        if self.tower is None:
            return id_D
        facts = [self.facts[name](tokens[name], tokens[name].dim() > title.dim()) for name in self.features]
        return id_D + self.tower(torch.cat(facts, -1))


class InputFeatures(nn.Module):
    """F_k (§3.2): the concatenation of embedded categorical and normalised numeric facts of interaction k."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.several = {**dict.fromkeys(spec.categorical, False), **dict.fromkeys(spec.multi_label, True)}
        self.embed = nn.ModuleDict(
            {name: TokenEmbedding(vocabulary.size(name), spec.dim_token) for name in self.several}
        )
        self.dim = spec.dim + len(self.several) * spec.dim_token + 2 * len(spec.numeric)

    def forward(self, title_BLD: Tensor, batch: Batch) -> Tensor:
        """F_k of every position: (B, L, self.dim).

        Args:
            title_BLD: vectors of the titles.
            batch: the rows.
        """
        facts = [self.embed[name](batch.tokens[name], several) for name, several in self.several.items()]
        return torch.cat([title_BLD, *facts, batch.numeric_BLF], -1)
