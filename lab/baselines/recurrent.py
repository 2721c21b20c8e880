"""LSTM and GRU with intent heads.

LSTM: Hochreiter and Schmidhuber, "Long short-term memory", 1997. GRU: Cho et al., "Learning phrase representations
using RNN encoder-decoder", 2014. Both read items as in GRU4Rec (Hidasi et al., 2016), but with the softmax over all
titles, as for every model here, instead of pairwise losses.

Shape suffixes: B rows, L positions, D width.
"""

from torch import Tensor, nn

from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary
from lab.baselines.base import Baseline


class Recurrent(Baseline):
    """An embedding, recurrent layers and dropout. Recurrent layers read in order and need no positions."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary, positions=False)
        kind = nn.LSTM if spec.variant == "lstm" else nn.GRU
        between = spec.dropout if spec.layers > 1 else 0.0
        self.layers = kind(spec.dim, spec.dim, spec.layers, batch_first=True, dropout=between)

    def encode(self, batch: Batch) -> Tensor:
        """Hidden states of the last layer: (B, L, D)."""
        hidden_BLD, _ = self.layers(self.embed(batch))
        return self.dropout(hidden_BLD)
