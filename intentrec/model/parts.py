"""The parts of a network beside its encoder and its title vectors. They are not in the paper.

A spec turns each of them on: logit biases of the user's own titles and of titles near them, and channels of user and
item vectors for facts of titles. IntentRec has them, and so may a baseline, for a fair comparison.

Shape suffixes: B rows, L positions, D width of E^item, E width of user and item vectors, C classes of an intent, I
titles.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from intentrec.model.dated_facts import DatedFacts
from intentrec.model.features import Batch, Items
from intentrec.model.logit_bias import Compatibility, HistoryPath, NeighbourPath
from intentrec.model.network import Network, Output
from intentrec.model.own_titles import DecayedCounts, OwnTitleBiases, OwnTitles, TitleState
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary


class NetworkWithParts(Network):
    """A network that encodes a row as E^item (B, L, D), and predicts from it with the parts that its spec turns on."""

    to_item: nn.Module  # FC_item, up to the tied title vectors

    def add_parts(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        """Make the parts. A constructor calls this last, so that the start of the others does not depend on them."""
        self.history = HistoryPath(spec.dim, spec.heads) if spec.history_path else None
        self.counts = DecayedCounts(spec.dim) if spec.decayed_counts else None
        self.state = TitleState(spec.dim) if spec.title_state else None
        if spec.neighbours:
            self.neighbours = NeighbourPath(spec.dim, vocabulary.size("title_id"), spec.neighbours)
        if spec.dated_facts:
            self.dated = DatedFacts(spec.dim)
        self.compatible = Compatibility(spec, vocabulary) if spec.compatibility else None

    @property
    def own_title_biases(self) -> OwnTitleBiases:
        """The parts that give logit biases to the user's own titles."""
        return OwnTitleBiases(self.history, self.counts, self.state, self.compatible)

    def own_titles(self, item_BLD: Tensor, batch: Batch, ago_BLL: Tensor, bucket_BLL: Tensor) -> OwnTitles | None:
        """Facts about the user's own titles at every position; None where no part needs them.

        Args:
            item_BLD: E^item.
            batch: the rows.
            ago_BLL: what `encoder.ago_buckets` returns.
            bucket_BLL: what `encoder.masked_buckets` returns for everything up to k.
        """
        biases = self.own_title_biases
        return biases.facts(item_BLD, batch, ago_BLL, bucket_BLL) if biases else None

    def next_item(self, output: Output, p: dict[str, Tensor], own_BLL: OwnTitles | None) -> Output:
        """User vectors and logit biases at every position.

        Args:
            output: with E^item (B, L, D) in the place of the user vectors.
            p: distributions (B, L, C) by intent.
            own_BLL: what `own_titles` returns.
        """
        return replace(
            output,
            item_BLD=self.user_vectors(output.item_BLD, p),
            bias_BLL=None if own_BLL is None else self.own_title_biases.bias(output.item_BLD, p, own_BLL),
            neighbour_weight_BLW=None if self.neighbours is None else self.neighbours(output.item_BLD),
        )

    def user_vectors(self, item: Tensor, p: dict[str, Tensor]) -> Tensor:
        """User vectors (..., E), from E^item (..., D) and distributions (..., C) by intent."""
        return torch.cat(list(self.user_channels(item, p).values()), -1)

    def user_channels(self, item: Tensor, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """The channels of user vectors, by the part of the model that they belong to; `vectors` are those of FC_item.

        Channels of item vectors have the same order. Arguments as of `user_vectors`.
        """
        channels = {"vectors": self.to_item(item)}
        if self.compatible is not None and self.compatible.fact:
            channels["compatibility"] = torch.cat(self.compatible.user(p), -1)
        if self.dated is not None:
            channels["dated_facts"] = self.dated(item)
        return channels

    def item_vectors(self, items: Items) -> Tensor:
        """Output vectors (I, E) of titles, known to the vocabulary or not."""
        channels = [self.titles(items.title_I, items.tokens)]
        channels += [] if self.compatible is None else self.compatible.item(items)
        return torch.cat(channels, -1)
