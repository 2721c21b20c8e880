"""Intents of the next session. Not in the paper, whose heads predict the next interaction: mostly of the same session.

The heads read E^intent after the last interaction before a session, how long after it the session begins, and how
often the row has each label up to there. They learn from the first target of each session.

Shape suffixes: B rows, L positions, G labels of an interaction, N sessions, D width, C classes of an intent, M intents,
S decays.
"""

import torch
from torch import Tensor, nn

from intentrec.model.encoder import duration_buckets
from intentrec.model.features import TIME_BUCKETS, Batch
from intentrec.model.spec import ModelSpec

DECAYS = (0.5, 0.95)  # of a label's count per interaction: nearly the last label, and the user's habit
SMOOTHING = 0.5  # interactions that stand for all labels alike, in a count
START = 0.5  # weight of each logarithm, before anything is learned


def log_shares(label_BLG: Tensor, row_N: Tensor, k_N: Tensor, classes: int) -> Tensor:
    """log of the share of each label among those up to a position: (S, N, C), a count per decay.

    Args:
        label_BLG: labels of an intent, -1 for none.
        row_N: row of each position.
        k_N: the position in its row.
        classes: of the intent.
    """
    label_NLG = label_BLG[row_N]
    ago_NL = k_N[:, None] - torch.arange(label_NLG.shape[1], device=k_N.device)
    known_NLG = (ago_NL >= 0)[..., None] & (label_NLG >= 0)
    found = []
    for decay in DECAYS:
        counted_NLG = known_NLG * (decay ** ago_NL.clamp(min=0).float())[..., None]
        count_NC = torch.full((len(row_N), classes), SMOOTHING / classes, device=k_N.device)
        count_NC.scatter_add_(-1, label_NLG.clamp(min=0).flatten(1), counted_NLG.flatten(1))
        found.append((count_NC / count_NC.sum(-1, keepdim=True)).log())
    return torch.stack(found)


class NextSession(nn.Module):
    """A head for each intent of a spec, with so many classes each."""

    def __init__(self, spec: ModelSpec, classes: list[int]) -> None:
        super().__init__()
        self.names = [intent.name for intent in spec.intents]
        self.gap = nn.Embedding(TIME_BUCKETS, spec.dim)
        nn.init.normal_(self.gap.weight, std=0.02)
        self.hidden = nn.Sequential(nn.Linear(spec.dim, spec.dim), nn.GELU(), nn.Dropout(spec.dropout))
        self.heads = nn.ModuleList(nn.Linear(spec.dim, count) for count in classes)
        self.share_MS = nn.Parameter(torch.full((len(classes), len(DECAYS)), START))

    def forward(
        self, intent_BLD: Tensor, batch: Batch, row_N: Tensor, k_N: Tensor, time_N: Tensor
    ) -> dict[str, Tensor]:
        """Logits (N, C) by intent.

        Args:
            intent_BLD: E^intent.
            batch: the rows.
            row_N: row of each session.
            k_N: the last position before it.
            time_N: when it begins, in seconds since 1970.
        """
        gap_N = duration_buckets(time_N - batch.time_BL[row_N, k_N])
        x_ND = self.hidden(intent_BLD[row_N, k_N] + self.gap(gap_N))
        found = {}
        for name, head, share_S in zip(self.names, self.heads, self.share_MS, strict=True):
            logit_NC = head(x_ND)
            shares_SNC = log_shares(batch.label[name], row_N, k_N, logit_NC.shape[-1])
            found[name] = logit_NC + (share_S[:, None, None] * shares_SNC).sum(0)
        return found
