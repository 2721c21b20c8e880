"""Titles that come back. Not in the paper; built where the spec's `history_path` asks for it.

People return to titles, and a user vector as wide as the encoder cannot say which thirty of a thousand titles a user
knows: added up, their embeddings drown one another. So every title also has a *code*, a long random direction that
only this title has, and the user vector holds the sum of the codes of the history, each as strongly as E^item asks
for. The product of the two is then large for the titles of the history and small noise for all others, and it is
still a dot product. A title released after training has a code like any other (`intentrec.model.codes`).

Shape suffixes: B rows, L positions, D width of E^item, R width of a code, H heads, K width of a head.
"""

from torch import Tensor, nn

from intentrec.model.clock import AgoBias


class HistoryPath(nn.Module):
    """The sum of the history's codes, weighed by head: gate_h(E^item_k) x sigmoid(score_h(k, i)).

    A sigmoid, not a softmax: that a title is known does not make another one less so, and a long history must not
    thin out. A gate may be negative, for "something new".
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.ago = AgoBias(heads)
        self.gate = nn.Linear(dim, heads)
        nn.init.ones_(self.gate.bias)  # known titles first: a better start than knowing nothing

    def forward(self, item_BLD: Tensor, code_BLR: Tensor, ago_BLL: Tensor, causal_BLL: Tensor) -> Tensor:
        """(B, L, R)."""
        q_BHLK, k_BHLK = (
            side(item_BLD).unflatten(-1, (self.heads, -1)).transpose(1, 2) for side in (self.query, self.key)
        )
        score_BHLL = q_BHLK @ k_BHLK.mT * q_BHLK.shape[-1] ** -0.5 + self.ago(ago_BLL, causal_BLL)
        gate_BHL1 = self.gate(item_BLD).transpose(1, 2).unsqueeze(-1)
        return (gate_BHL1 * score_BHLL.sigmoid()).sum(1) @ code_BLR
