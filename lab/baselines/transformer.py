"""The Transformer with intent heads (Vaswani et al., "Attention is all you need", 2017): its decoder side alone.

As there: embeddings times sqrt(dim), post-norm blocks, ReLU, an inner layer four times as wide. Positions are learned,
which the paper found to do as well as sinusoids.

Shape suffixes: B rows, L positions, D width.
"""

from torch import Tensor, nn

from intentrec.model.features import Batch
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary
from lab.baselines.base import Baseline, CausalMask
from lab.baselines.post_norm import PostNormBlock


class Transformer(Baseline):
    """Post-norm blocks under a causal mask."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec, vocabulary, positions=True)
        self.mask = CausalMask(spec)
        self.blocks = nn.ModuleList(
            PostNormBlock(spec.dim, spec.heads, 4 * spec.dim, spec.dropout, nn.ReLU) for _ in range(spec.layers)
        )

    def encode(self, batch: Batch) -> Tensor:
        """(B, L, D)."""
        x_BLD, mask_HBLL = self.embed(batch), self.mask(batch)
        for block in self.blocks:
            x_BLD = block(x_BLD, mask_HBLL)
        return x_BLD
