"""Intents of the next session. Not in the paper, whose heads predict the next interaction: mostly of the same session.

The heads read E^intent after the last interaction before a session, and how long after it the session begins. They
learn from the first target of each session.

Shape suffixes: N sessions, D width, C classes of an intent.
"""

from torch import Tensor, nn

from intentrec.model.encoder import duration_buckets
from intentrec.model.features import TIME_BUCKETS
from intentrec.model.spec import ModelSpec


class NextSession(nn.Module):
    """A head for each intent of a spec, with so many classes each."""

    def __init__(self, spec: ModelSpec, classes: list[int]) -> None:
        super().__init__()
        self.names = [intent.name for intent in spec.intents]
        self.gap = nn.Embedding(TIME_BUCKETS, spec.dim)
        nn.init.normal_(self.gap.weight, std=0.02)
        self.hidden = nn.Sequential(nn.Linear(spec.dim, spec.dim), nn.GELU(), nn.Dropout(spec.dropout))
        self.heads = nn.ModuleList(nn.Linear(spec.dim, count) for count in classes)

    def forward(self, intent_ND: Tensor, seconds_N: Tensor) -> dict[str, Tensor]:
        """Logits (N, C) by intent.

        Args:
            intent_ND: E^intent.
            seconds_N: from T_k to the session.
        """
        x_ND = self.hidden(intent_ND + self.gap(duration_buckets(seconds_N)))
        return {name: head(x_ND) for name, head in zip(self.names, self.heads, strict=True)}
