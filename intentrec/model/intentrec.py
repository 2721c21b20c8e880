"""IntentRec (Oh et al., "IntentRec: Predicting User Session Intent with Hierarchical Multi-Task Learning").

Read it beside §3 of the paper; names follow its symbols. One code path serves V0 to V3 and any set of intents and
windows: what a variant lacks is not built. Eq. 3 and 4 are in `network` and `loss`, which the baselines share. What
leads from E^item to logits, FC_item included, is in `parts`.

Shape suffixes: B rows, L positions, F width of F_k, X width of F_k (+) S_k, D width (dim), P width of the intent
embedding Z (dim_intent), M intents, C classes of an intent. Position k, from 0, predicts interaction k + 1.
"""

import torch
from torch import Tensor, nn

from intentrec.model.embeddings import InputFeatures, TitleEmbedding
from intentrec.model.encoder import Encoder, ago_buckets, causal_mask, masked_buckets, window_mask
from intentrec.model.features import Batch
from intentrec.model.network import Output
from intentrec.model.next_session import NextSession
from intentrec.model.own_titles import OwnTitles
from intentrec.model.parts import NetworkWithParts
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary


class IntentMixture(nn.Module):
    """Eq. 2: project each predicted distribution, weigh the projections by attention, add them up."""

    def __init__(self, classes: list[int], dim_intent: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(c, dim_intent) for c in classes)
        self.attend = nn.Linear(dim_intent, len(classes))  # FC_att of R^{d_proj x M}

    def forward(self, p: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Z (B, L, P) and the attention weights (B, L, M) of distributions (B, L, C) in the order of the intents."""
        projected_BLMP = torch.stack([project(p_BLC) for project, p_BLC in zip(self.project, p, strict=True)], -2)
        # alpha_i is the i-th output of FC_att on Proj_i(p_i): the diagonal of its (M inputs) x (M outputs).
        alpha_BLM = (projected_BLMP * self.attend.weight).sum(-1) + self.attend.bias
        attention_BLM = alpha_BLM.softmax(-1)
        return (attention_BLM.unsqueeze(-1) * projected_BLMP).sum(-2), attention_BLM


class IntentRec(NetworkWithParts):
    """The model of a spec and a vocabulary."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary) -> None:
        super().__init__(spec)
        self.titles = TitleEmbedding(spec, vocabulary)
        self.features = InputFeatures(spec, vocabulary)
        # Eq. 1. One block: through two, a band mask would reach beyond the window. No gap embedding: that of the first
        # interaction in the window would tell when the one before it was.
        self.short_term = nn.ModuleDict({h: Encoder(self.features.dim, spec, 1, gap=False) for h in spec.windows})
        width = self.features.dim + len(spec.windows) * spec.dim
        classes = [len(vocabulary.labels(intent)) for intent in spec.intents]
        if spec.hierarchical:
            self.intent_encoder = Encoder(width, spec, spec.layers)
            self.mixture = IntentMixture(classes, spec.dim_intent)
            width += spec.dim_intent
        self.heads = nn.ModuleList(nn.Linear(spec.dim, c) for c in classes)  # FC_i
        if spec.next_session:
            self.next_session = NextSession(spec, classes)
        self.item_encoder = Encoder(width, spec, spec.layers)
        self.to_item = nn.Linear(spec.dim, spec.dim)  # FC_item
        self.add_parts(spec, vocabulary)

    def forward(self, batch: Batch) -> Output:
        """Predict the next intents and the next item at every position."""
        return self.next_item(*self.encoded(batch))

    def encoded(self, batch: Batch) -> tuple[Output, dict[str, Tensor], OwnTitles | None]:
        """What the next item is predicted from at every position: the arguments of `next_item`."""
        ago_BLL = ago_buckets(batch.time_BL)
        bucket_BLL = masked_buckets(ago_BLL, causal_mask(batch))
        # §3.2: F_k (+) S_k
        f_BLF = self.features(self.titles(batch.title_BL, batch.tokens), batch)
        s = [
            encode(f_BLF, batch, masked_buckets(ago_BLL, window_mask(batch, h)))
            for h, encode in self.short_term.items()
        ]
        x_BLX = torch.cat([f_BLF, *s], -1)
        z_BLP, attention_BLM = None, None
        if self.spec.hierarchical:
            # §3.3: E^intent, p^intent_i = softmax(FC_i(E^intent)), Z
            intent_BLD = self.intent_encoder(x_BLX, batch, bucket_BLL)
            logits = self._intents(intent_BLD)
            p = _softmax(logits)
            z_BLP, attention_BLM = self.mixture(list(p.values()))
            # §3.4: F_k (+) S_k (+) Z_k, E^item
            encoded_BLD = self.item_encoder(torch.cat([x_BLX, z_BLP], -1), batch, bucket_BLL)
        else:
            intent_BLD = encoded_BLD = self.item_encoder(x_BLX, batch, bucket_BLL)
            logits = self._intents(encoded_BLD)
            p = _softmax(logits)
        own_BLL = self.own_titles(encoded_BLD, batch, ago_BLL, bucket_BLL)
        of_session = intent_BLD if self.spec.next_session else None
        return Output(encoded_BLD, logits, of_session, z_BLP, attention_BLM), p, own_BLL

    def _intents(self, x_BLD: Tensor) -> dict[str, Tensor]:
        return {intent.name: head(x_BLD) for intent, head in zip(self.spec.intents, self.heads, strict=True)}


def _softmax(logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """p^intent (B, L, C) by intent, from the heads' logits."""
    return {name: logit_BLC.softmax(-1) for name, logit_BLC in logits.items()}
