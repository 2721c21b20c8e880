"""The parts that baselines share: inputs, tied title vectors at the output, and intent heads.

In their papers the baselines see titles only (an id-only spec): the title's vector times sqrt(dim), and a learned
position where the paper has one. With facts, a baseline has the inputs of IntentRec-V0 in the same form: F_k through a
fully connected layer and normalisation, and the time in place of the position. A title's vector then includes the
metadata tower, at the input and at the output. GRU and SASRec may also have the parts that IntentRec has beside its
encoder (`intentrec.model.parts`).

Shape suffixes: B rows, L positions, D width (dim), I titles. Position k, from 0, predicts interaction k + 1.
"""

from abc import abstractmethod

from torch import Tensor, nn

from intentrec.model.embeddings import InputFeatures, TitleEmbedding
from intentrec.model.encoder import RelativeTimeBias, TimeEmbedding, ago_buckets, causal_mask, masked_buckets
from intentrec.model.features import Batch
from intentrec.model.network import Output
from intentrec.model.parts import NetworkWithParts
from intentrec.model.spec import ModelSpec
from intentrec.model.vocabulary import Vocabulary


class Inputs(nn.Module):
    """The embedding of an interaction: its content, and its position or time."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary, positions: bool) -> None:
        super().__init__()
        self.scale = spec.dim**0.5
        self.features: InputFeatures | None = None
        self.time: TimeEmbedding | None = None
        self.position: nn.Embedding | None = None
        if not spec.id_only:
            self.features = InputFeatures(spec, vocabulary)
            self.reduce = nn.Sequential(nn.Linear(self.features.dim, spec.dim), nn.LayerNorm(spec.dim))
            self.time = TimeEmbedding(spec.dim, gap=True)
        elif positions:
            self.position = nn.Embedding(spec.length, spec.dim)
            nn.init.normal_(self.position.weight, std=0.02)

    def content(self, title_BLD: Tensor, batch: Batch) -> Tensor:
        """The embedding of title and facts: (B, L, D)."""
        if self.features is None:
            return title_BLD * self.scale
        return self.reduce(self.features(title_BLD, batch))

    def position_or_time(self, batch: Batch) -> Tensor | float:
        """The embedding of the time (B, L, D) or of the position from the row's start (L, D); 0 if there is neither.

        Raises:
            ValueError: rows are longer than the spec says.
        """
        if self.time is not None:
            return self.time(batch)
        if self.position is None:
            return 0.0
        width = batch.title_BL.shape[1]
        if width > self.position.num_embeddings:
            raise ValueError(f"rows of {width} interactions; the model has {self.position.num_embeddings} positions")
        return self.position.weight[:width]


class CausalMask(nn.Module):
    """Attention masks of causal baselines; with facts among the inputs they include V0's bias by time."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.ago = None if spec.id_only else RelativeTimeBias(spec.heads)

    def forward(self, batch: Batch, allowed_BLL: Tensor | None = None) -> Tensor | None:
        """A mask for `transformer.Attention`.

        Args:
            batch: the rows.
            allowed_BLL: bool, whether query k (second) may attend to key i (third); None: to every i <= k.
        """
        if self.ago is None:
            return None if allowed_BLL is None else allowed_BLL.unsqueeze(0)
        allowed_BLL = causal_mask(batch) if allowed_BLL is None else allowed_BLL
        return self.ago(masked_buckets(ago_buckets(batch.time_BL), allowed_BLL))


class Baseline(NetworkWithParts):
    """A causal baseline: `encode`, then a fully connected layer up to the tied title vectors, and one per intent."""

    def __init__(self, spec: ModelSpec, vocabulary: Vocabulary, positions: bool) -> None:
        super().__init__(spec)
        self.titles = TitleEmbedding(spec, vocabulary)
        self.inputs = Inputs(spec, vocabulary, positions)
        self.dropout = nn.Dropout(spec.dropout)
        self.to_item: nn.Module = nn.Linear(spec.dim, spec.dim)
        self.heads = nn.ModuleList(nn.Linear(spec.dim, len(vocabulary.labels(intent))) for intent in spec.intents)
        self.add_parts(spec, vocabulary)

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """The encoding of the row up to interaction k: (B, L, D)."""

    def embed(self, batch: Batch) -> Tensor:
        """Interactions as the encoder reads them: (B, L, D)."""
        title_BLD = self.titles(batch.title_BL, batch.tokens)
        return self.dropout(self.inputs.content(title_BLD, batch) + self.inputs.position_or_time(batch))

    def forward(self, batch: Batch) -> Output:
        """Predict the next item and, where the spec has intents, each of them, at every position."""
        x_BLD, own_BLL = self.encode(batch), None
        if self.spec.own_titles:
            ago_BLL = ago_buckets(batch.time_BL)
            own_BLL = self.own_titles(x_BLD, batch, ago_BLL, masked_buckets(ago_BLL, causal_mask(batch)))
        return self.next_item(Output(x_BLD, self.intents(x_BLD)), {}, own_BLL)

    def intents(self, x: Tensor) -> dict[str, Tensor]:
        """The logits (..., C) of each intent, from encodings (..., D)."""
        return {intent.name: head(x) for intent, head in zip(self.spec.intents, self.heads, strict=True)}
